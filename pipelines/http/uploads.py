"""Pictures in request bodies: multipart files or base64 in JSON, bounded before they are held."""

import base64
import binascii
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

OVERHEAD = 64 * 1024
"""Bytes that part headers, other fields and JSON syntax may add to a body."""


class BodyError(Exception):
    """The body cannot be read as what its Content-Type says."""


class BodyTooLarge(BodyError):
    """The body is longer than the pictures it may carry."""


class MissingPicture(BodyError):
    """A picture's part or field is missing or empty."""

    def __init__(self, name: str, *, multipart: bool, empty: bool = False) -> None:
        super().__init__(f"'{name}' is {'empty' if empty else 'missing'}")
        self.name, self.multipart, self.empty = name, multipart, empty


@dataclass(frozen=True, slots=True)
class Upload:
    """data: the file's bytes. filename: as the client named it; None for base64."""

    data: bytes
    filename: str | None = None


class _InMemoryParser(MultiPartParser):
    # The body is bounded already: what fits is not worth a temporary file.
    spool_max_size = 64 * 1024 * 1024


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    declared = request.headers.get("content-length", "")
    message = f"the request is longer than {limit} bytes"
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(message)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise BodyTooLarge(message)
        yield chunk


def is_multipart(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises `BodyTooLarge`."""
    return b"".join([chunk async for chunk in _bounded(request, limit)])


async def read_form(request: Request, limit: int, max_files: int = 16) -> FormData:
    """A multipart form. Raises `BodyError` where it is malformed, `BodyTooLarge` past the limit."""
    parser = _InMemoryParser(
        request.headers, _bounded(request, limit), max_files=max_files, max_fields=64, max_part_size=OVERHEAD
    )
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise BodyError(error.message) from error
    except (KeyError, ValueError, AssertionError) as error:
        raise BodyError(f"malformed multipart body: {error}") from error


async def read_json(request: Request, limit: int) -> Any:
    """A JSON document. Raises `BodyError` where it is not JSON, `BodyTooLarge` past the limit."""
    try:
        return orjson.loads(await read_body(request, limit))
    except orjson.JSONDecodeError as error:
        raise BodyError(f"the body is not JSON: {error}") from error


def decode_base64(name: str, text: object) -> bytes:
    """Bytes of a base64 field, with or without a ``data:...;base64,`` prefix. Raises `BodyError` naming the field."""
    if text is None or text == "":
        raise MissingPicture(name, multipart=False, empty=text == "")
    if not isinstance(text, str):
        raise BodyError(f"'{name}' must be a base64 string")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BodyError(f"'{name}' is not base64: {error}") from error


def check_size(what: str, picture: bytes, max_bytes: int) -> None:
    """Raises `BodyTooLarge`, which says what is too large."""
    if len(picture) > max_bytes:
        raise BodyTooLarge(f"{what} has {len(picture):,} bytes; at most {max_bytes:,} are accepted")


async def read_pictures(request: Request, names: Sequence[str], max_bytes: int) -> list[Upload]:
    """The named pictures of a body, in the order of `names`.

    max_bytes: of one picture. Raises `MissingPicture`, `BodyTooLarge`, `BodyError`.
    """
    # Twice the pictures, so that one that is a little too large is named instead of the whole body.
    limit = len(names) * max_bytes * 2 + OVERHEAD
    if is_multipart(request):
        form = await read_form(request, limit)
        uploads = [await _part(form, name) for name in names]
    else:
        document = await read_json(request, limit)
        if not isinstance(document, dict):
            raise BodyError("the body must be multipart/form-data or a JSON object")
        uploads = [Upload(decode_base64(name, document.get(name))) for name in names]
    for name, upload in zip(names, uploads, strict=True):
        check_size(f"'{name}'", upload.data, max_bytes)
    return uploads


async def _part(form: FormData, name: str) -> Upload:
    part = form.get(name)
    if not isinstance(part, UploadFile):
        raise MissingPicture(name, multipart=True)
    data = await part.read()
    if not data:
        raise MissingPicture(name, multipart=True, empty=True)
    return Upload(data, part.filename or "")
