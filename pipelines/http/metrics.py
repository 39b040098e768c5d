"""`/metrics`: what this node measures, in Prometheus' text format, for who has a key with the scope `admin`."""

import asyncio

import httpx
import ray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from prosopon.pipelines.http.key_routes import may_administer
from prosopon.pipelines.http.keys import Authenticator

_SECONDS = 10


class Metrics:
    """Passes on what Ray's agent of this node has collected from every process on it."""

    def __init__(self, keys: Authenticator) -> None:
        self._keys = keys
        self._client = httpx.AsyncClient(timeout=_SECONDS, trust_env=False)
        self._address: str | None = None

    async def __call__(self, request: Request) -> Response:
        """The key comes as `x-api-key` or as a bearer token, which is what Prometheus sends."""
        if refusal := await may_administer(request, self._keys):
            return refusal
        self._address = self._address or await asyncio.to_thread(_agent)
        try:
            answer = await self._client.get(str(self._address))
        except httpx.TransportError as error:
            message = f"this node's metrics cannot be had: {error}"
            return JSONResponse({"message": message}, 503, {"Retry-After": "5"})
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))


def _agent() -> str:
    here = ray.get_runtime_context().get_node_id()
    node = next(node for node in ray.nodes() if node["NodeID"] == here)
    return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
