"""What has become of tasks, and their results."""

import uuid
from typing import Annotated

from fastapi import Path, Request, Response

from prosopon.deployments.state.errors import TaskNotFound
from prosopon.pipelines.apis.aifaceswap.swaps import Caller
from prosopon.pipelines.apis.aifaceswap.wire import Envelope, Task, described
from prosopon.pipelines.http.bodies import AN_ID
from prosopon.pipelines.http.downloads import download, etag_of, not_modified
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.services import Served

_CACHE_CONTROL = "private, max-age=3600"

TaskId = Annotated[str, Path(description="as the swap was answered", examples=[AN_ID.replace("-", "")])]

router = api_router(tags=["tasks"])


@router.get("/task/{task_id}")
async def task(key: Caller, services: Served, task_id: TaskId) -> Envelope[Task]:
    """What has become of a task."""
    try:
        identity = uuid.UUID(task_id)
    except ValueError:
        raise TaskNotFound(f"no task {task_id[:64]}") from None
    return Envelope(data=described(await services.swaps.find(identity, key.tenant)))


@router.get("/result/{name}", response_class=Response, include_in_schema=False)
async def result(request: Request, services: Served, name: str) -> Response:
    """A result. Its URL is the permission: no key is asked for."""
    blob = await services.swaps.result(name)
    etag = etag_of(blob.sha256)
    response = not_modified(request, etag, _CACHE_CONTROL) or download(request, blob, etag, _CACHE_CONTROL)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
