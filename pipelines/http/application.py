"""What the applications of all APIs have in common."""

from collections.abc import Callable, Iterable
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from prosopon.configs.settings import Api

INTERNAL = "internal error; the server's log has the details"


class ApiApp(FastAPI):
    """FastAPI whose document leaves out the status 422: wrong parameters are answered in the API's own form.

    read_by_hand: bodies that no route declares, which the document describes all the same.
    """

    read_by_hand: tuple[type[BaseModel], ...] = ()

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            for path in document["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            schemas.update((body.__name__, body.model_json_schema()) for body in self.read_by_hand)
        return super().openapi()


def api_app(
    api: Api,
    title: str,
    version: str,
    *,
    expected: Iterable[type[Exception]],
    answer: Callable[[Exception], Response],
    bug: Exception,
    **options: Any,
) -> ApiApp:
    """An application without routes, which answers every error in the API's own form.

    expected: errors that `answer` puts into that form; bug: what it is given in place of any other, which is logged.
    options: `FastAPI`'s. The OpenAPI document is at ``/openapi/{api}.json``, its page in the console.
    """
    app = ApiApp(
        title=title,
        version=version,
        openapi_url=f"/openapi/{api}.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        **options,
    )

    async def on_error(_: Request, error: Exception) -> Response:
        return answer(error)

    async def on_bug(_: Request, error: Exception) -> Response:
        return answer(bug)

    for kind in expected:
        app.add_exception_handler(kind, on_error)
    app.add_exception_handler(Exception, on_bug)
    return app
