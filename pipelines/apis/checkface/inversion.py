"""CheckFace's two ways to ask for the latent of a photograph."""

from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from prosopon.configs.settings import ImageLimits
from prosopon.pipelines.graphs.generation import Generation
from prosopon.pipelines.http.uploads import (
    OVERHEAD,
    BodyError,
    MissingPicture,
    check_size,
    is_multipart,
    read_body,
    read_form,
)

FIELD = "usrimg"

_FORM = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Encode an image</title>
<form method="post" enctype="multipart/form-data">
<p><label>A picture of a face <input type="file" name="{FIELD}" accept="image/*" required></label></p>
<input type="hidden" name="tryalign" value="false">
<p><label><input type="checkbox" name="tryalign" value="true" checked> find, turn and cut the face</label></p>
<p><button>Encode</button></p>
</form>
</html>
"""


class Encoded(BaseModel):
    """guid: takes part wherever a guid does. did_align: whether the face was looked for, turned and cut out."""

    guid: str
    did_align: bool


def add_routes(app: FastAPI, generation: Generation, limits: ImageLimits) -> None:
    """`recoverlatent` and `encodeimage`. Errors are raised as the pipeline raises them."""

    async def recoverlatent(request: Request) -> Response:
        """The latent whose face is that of a picture, the request's body or its first file; its guid in plain text."""
        if is_multipart(request):
            image = await _picture(await _form(request, limits), limits)
        else:
            image = await read_body(request, limits.max_bytes)
        return PlainTextResponse(str((await generation.invert(image)).latent))

    async def encodeimage(request: Request) -> Encoded:
        """The same of the file `usrimg`; `tryalign` false takes a picture that is cut as the generator's are."""
        if not is_multipart(request):
            raise BodyError(f"the body must be multipart/form-data with the file '{FIELD}'")
        form = await _form(request, limits)
        align = str(form.get("tryalign", "true")).strip().lower() not in ("false", "0", "no", "off", "")
        found = await generation.invert(await _picture(form, limits), align)
        return Encoded(guid=str(found.latent), did_align=found.aligned)

    async def form() -> Response:
        """A page with a form for `encodeimage`."""
        return HTMLResponse(_FORM)

    recovering = _body({"multipart/form-data": {"schema": _schema()}, "image/*": {"schema": _BINARY}})
    encoding = _body(
        {"multipart/form-data": {"schema": _schema(tryalign={"type": "boolean", "default": True})}}
    )
    for slash, shown in (("/", True), ("", False)):
        register = partial(app.add_api_route, tags=["latents"], include_in_schema=shown)
        register(f"/api/recoverlatent{slash}", recoverlatent, methods=["POST"], openapi_extra=recovering)
        register(f"/api/encodeimage{slash}", encodeimage, methods=["POST"], openapi_extra=encoding)
        register(f"/api/encodeimage{slash}", form, methods=["GET"])


_BINARY = {"type": "string", "format": "binary"}


def _schema(**others: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "required": [FIELD], "properties": {FIELD: _BINARY, **others}}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


async def _form(request: Request, limits: ImageLimits) -> FormData:
    return await read_form(request, limits.max_bytes + OVERHEAD)


async def _picture(form: FormData, limits: ImageLimits) -> bytes:
    """The file `usrimg`, or else the first file."""
    files = [form.get(FIELD), *form.values()]
    part = next((file for file in files if isinstance(file, UploadFile)), None)
    if part is None:
        raise MissingPicture(FIELD, multipart=True)
    data = await part.read()
    check_size("the picture", data, limits.max_bytes)
    return data
