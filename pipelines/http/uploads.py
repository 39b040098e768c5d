"""Pictures in request bodies: files of a form or base64 in JSON, bounded before they are held."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from fastapi import Depends
from starlette.requests import Request

from prosopon.pipelines.http import forms
from prosopon.pipelines.http.bodies import SMALL, BodyError, BodyTooLarge, off_the_loop, read_json_object
from prosopon.pipelines.http.forms import Form, Upload, is_form, is_multipart, notice

PICTURE_FILE = {
    "type": "string",
    "format": "binary",
    "description": "a picture: JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP, TIFF",
}
"""OpenAPI's schema of a picture as a file."""
PICTURE_BASE64 = {"type": "string", "format": "byte", "description": "the same as base64, or as a data URI"}
_URL_SAFE = str.maketrans("-_", "+/", " \t\r\n\v\f")


class MissingPicture(BodyError):
    """A picture's part or field is missing or empty."""

    def __init__(self, name: str, *, multipart: bool, empty: bool = False) -> None:
        super().__init__(f"'{name}' is {'empty' if empty else 'missing'}")
        self.name, self.multipart, self.empty = name, multipart, empty


class NotBase64(BodyError):
    """A field is text and not base64."""


def pictures(*names: str, max_bytes: int | None = None) -> Any:
    """The parameter of a route that needs these pictures: ``Annotated[list[Upload], pictures("source", "target")]``,
    in the order of the names. They are in the OpenAPI document.

    Files of a form, or base64 in a JSON object; the first file of a name is taken, whatever else has the name. The
    form's texts are parameters (`ApiRoute`). max_bytes: of one; None is as the settings say.
    Raises `MissingPicture`, `NotBase64`, `BodyTooLarge`, `BodyError`.
    """

    def limit(request: Request) -> int:
        most: int = max_bytes or request.app.state.services.settings.images.max_bytes
        return most

    async def read(request: Request) -> list[Upload]:
        return await read_pictures(request, names, limit(request))

    async def fields(request: Request) -> list[tuple[str, str]]:
        if not is_form(request):
            return []
        return (await forms.read_form(request, _limit(names, limit(request)))).texts()

    read.fields = fields  # type: ignore[attr-defined]
    read.body = picture_content(*names)  # type: ignore[attr-defined]
    return Depends(read)


def picture(name: str, max_bytes: int | None = None) -> Any:
    """`pictures` for one: ``Annotated[Upload, picture("file")]``."""
    several = pictures(name, max_bytes=max_bytes).dependency

    async def read(request: Request) -> Upload:
        (upload,) = await several(request)
        return upload  # type: ignore[no-any-return]

    read.fields, read.body = several.fields, several.body  # type: ignore[attr-defined]
    return Depends(read)


def picture_content(*names: str) -> dict[str, Any]:
    """OpenAPI's requestBody of pictures, as files or as base64."""
    files = dict.fromkeys(names, PICTURE_FILE)
    texts = dict.fromkeys(names, PICTURE_BASE64)
    schemas = {"multipart/form-data": files, "application/json": texts}
    content = {
        media: {"schema": {"type": "object", "properties": properties, "required": list(names)}}
        for media, properties in schemas.items()
    }
    return {"required": True, "content": content}


def decode_base64(name: str, text: object) -> bytes:
    """Bytes of a base64 field, with or without a ``data:...;base64,`` prefix, in either alphabet of RFC 4648, with or
    without padding. Raises `BodyError` naming the field."""
    if text is None or text == "":
        raise MissingPicture(name, multipart=False, empty=text == "")
    if not isinstance(text, str):
        raise NotBase64(f"'{name}' must be a base64 string")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    text = text.translate(_URL_SAFE) if not text.isascii() or set("-_ \t\r\n\v\f") & set(text) else text
    text = text.rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotBase64(f"'{name}' is not base64: {error}") from error


def check_size(what: str, picture: bytes, max_bytes: int) -> None:
    """Raises `BodyTooLarge`, which says what is too large."""
    if len(picture) > max_bytes:
        raise BodyTooLarge(f"{what} has {len(picture):,} bytes; at most {max_bytes:,} are accepted")


def _limit(names: Sequence[str], max_bytes: int) -> int:
    """Twice the pictures, so that one that is a little too large is named instead of the whole body."""
    return len(names) * max_bytes * 2 + SMALL


async def read_pictures(request: Request, names: Sequence[str], max_bytes: int) -> list[Upload]:
    """The named pictures of a body, in the order of `names`.

    max_bytes: of one picture. Raises `MissingPicture`, `NotBase64`, `BodyTooLarge`, `BodyError`.
    """
    limit = _limit(names, max_bytes)
    if is_multipart(request):
        sent = await forms.read_form(request, limit)
        uploads = [_part(request, sent, name) for name in names]
    else:
        document = await read_json_object(request, limit)
        uploads = [
            Upload(await off_the_loop(_length(document.get(name)), decode_base64, name, document.get(name)))
            for name in names
        ]
    for name, upload in zip(names, uploads, strict=True):
        check_size(f"'{name}'", upload.data, max_bytes)
    return uploads


def _length(value: object) -> int:
    return len(value) if isinstance(value, str) else 0


def _part(request: Request, sent: Form, name: str) -> Upload:
    upload = sent.file(name)
    if upload is None:
        raise MissingPicture(name, multipart=True, empty=[text for _, text in sent.texts(name)] == [""])
    if not upload.data:
        raise MissingPicture(name, multipart=True, empty=True)
    if (count := len(sent.files(name))) > 1:
        notice(request, f"{count} files are named {name}; the first was taken")
    return upload
