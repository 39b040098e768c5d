"""Latents from elsewhere: given as numbers, or recovered from a photograph."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Request
from starlette.responses import HTMLResponse, PlainTextResponse

from prosopon.models.generation.latents import checked
from prosopon.pipelines.apis.checkface.wire import Encoded, NewLatent
from prosopon.pipelines.http.bodies import SMALL, BodyError, documented, json_body, read_body
from prosopon.pipelines.http.forms import Form, is_multipart, read_form
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.http.uploads import PICTURE_FILE, MissingPicture, check_size
from prosopon.pipelines.services import Served

FIELD = "usrimg"
_MAX_LATENT_BYTES = 2 * 1024 * 1024
_FALSE = ("false", "0", "no", "off", "")
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


@dataclass(frozen=True, slots=True)
class Photograph:
    """align: whether the face is to be looked for, turned and cut out."""

    image: bytes
    align: bool = True


async def _photograph(request: Request, services: Served) -> Photograph:
    """The file `usrimg`, or else the first; `tryalign` false takes a picture that is cut as the generator's are."""
    if not is_multipart(request):
        raise BodyError(f"the body must be multipart/form-data with the file '{FIELD}'")
    most = services.settings.photographs.max_bytes
    form = await read_form(request, most + SMALL)
    texts = [text for _, text in form.texts("tryalign")] or ["true"]
    return Photograph(_file(form, most), texts[-1].strip().lower() not in _FALSE)


async def _photograph_or_raw(request: Request, services: Served) -> bytes:
    if is_multipart(request):
        return (await _photograph(request, services)).image
    return await read_body(request, services.settings.photographs.max_bytes)


def _file(form: Form, most: int) -> bytes:
    file = form.file(FIELD) or next(iter(form.files()), None)
    if file is None:
        raise MissingPicture(FIELD, multipart=True)
    check_size("the picture", file.data, most)
    return file.data


def _form(**others: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": [FIELD], "properties": {FIELD: PICTURE_FILE, **others}}
    return {"multipart/form-data": {"schema": schema}}


_ALIGN = {
    "type": "boolean",
    "default": True,
    "description": "find, turn and cut the face; false: the picture is cut as the generator's are",
    "examples": [True],
}
Raw = Annotated[bytes, documented(_photograph_or_raw, {**_form(), "image/*": {"schema": PICTURE_FILE}})]
Sent = Annotated[Photograph, documented(_photograph, _form(tryalign=_ALIGN))]

router = api_router(tags=["latents"])


@router.post("/registerlatent/", response_class=PlainTextResponse)
async def registerlatent(
    services: Served, new: Annotated[NewLatent, json_body(NewLatent, _MAX_LATENT_BYTES)]
) -> str:
    """Keep a latent; the answer is its guid, in plain text."""
    return str(await services.generation.register(checked(new.latent), new.type))


@router.post("/recoverlatent/", response_class=PlainTextResponse)
async def recoverlatent(services: Served, image: Raw) -> str:
    """The latent whose face is that of a picture, the request's body or its first file; its guid in plain text."""
    return str((await services.generation.invert(image)).latent)


@router.post("/encodeimage/")
async def encodeimage(services: Served, sent: Sent) -> Encoded:
    """The same of the file `usrimg`; `tryalign` false takes a picture that is cut as the generator's are."""
    found = await services.generation.invert(sent.image, sent.align)
    return Encoded(guid=str(found.latent), did_align=found.aligned)


@router.get("/encodeimage/", response_class=HTMLResponse)
async def form() -> str:
    """A page with a form for `encodeimage`."""
    return _FORM
