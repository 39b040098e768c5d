"""What clients of aifaceswap send: JSON, forms or multipart, each field in any of the ways that clients write it."""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.datastructures import UploadFile
from starlette.requests import Request

from prosopon.pipelines.http.uploads import BodyError, is_multipart, read_body, read_form, read_json

_SUFFIX = re.compile(r"\[\d*\]$")
_NUMBER = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_MAX_TEXT = 256 * 1024


class FieldError(BodyError):
    """A field is missing, or not what it should be. The message names it."""


@dataclass(frozen=True, slots=True)
class PictureField:
    """A file's bytes, or a URL."""

    data: bytes | None = None
    url: str | None = None


@dataclass(slots=True)
class Fields:
    """The values of each field in the order in which they were sent. ``name[]`` and ``name[0]`` are ``name``."""

    values: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, name: str, value: Any) -> None:
        self.values.setdefault(_SUFFIX.sub("", name), []).append(value)

    def picture(self, name: str) -> PictureField:
        """The one picture of a field."""
        found = self.pictures(name)
        if len(found) > 1:
            raise FieldError(f"'{name}' must be one picture, not {len(found)}")
        return found[0]

    def pictures(self, name: str) -> list[PictureField]:
        """The pictures of a field, one or more."""
        found = [_picture(name, value) for value in _flat(self.values.get(name, []))]
        if not found:
            raise FieldError(f"'{name}' is missing")
        return found

    def numbers(self, name: str) -> list[int]:
        """Whole numbers: a JSON list, a repeated field, or a list with commas."""
        parts: list[object] = []
        for value in _flat(self.values.get(name, [])):
            parts += value.split(",") if isinstance(value, str) else [value]
        if not parts:
            raise FieldError(f"'{name}' is missing")
        return [_number(name, part) for part in parts]

    def text(self, name: str) -> str | None:
        """Text, or None where it is missing, null or empty."""
        values = [value for value in self.values.get(name, []) if value not in (None, "")]
        if not values:
            return None
        if len(values) > 1 or not isinstance(values[0], str):
            raise FieldError(f"'{name}' must be one string")
        return values[0].strip() or None


async def read_fields(request: Request, max_bytes: int, max_files: int) -> Fields:
    """The body's fields. max_bytes: of all files together. Raises `BodyError`, `BodyTooLarge`."""
    fields = Fields()
    if is_multipart(request):
        form = await read_form(request, max_bytes + _MAX_TEXT, max_files)
        for name, value in form.multi_items():
            fields.add(name, await value.read() if isinstance(value, UploadFile) else value)
    elif request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        body = await read_body(request, _MAX_TEXT)
        try:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=256)
        except ValueError as error:
            raise BodyError(f"malformed form: {error}") from error
        for name, text in pairs:
            fields.add(name, text)
    else:
        document = await read_json(request, _MAX_TEXT)
        if not isinstance(document, dict):
            raise BodyError("the body must be a JSON object or multipart/form-data")
        for name, value in document.items():
            fields.add(name, value)
    return fields


def _flat(values: Iterable[object]) -> list[Any]:
    """Lists, also those that are JSON in a string, with their items in place; null is nothing."""
    found: list[Any] = []
    for value in values:
        if isinstance(value, str) and value.lstrip().startswith("["):
            with contextlib.suppress(orjson.JSONDecodeError):
                value = orjson.loads(value)
        if isinstance(value, list):
            found += [item for item in value if item is not None]
        elif value is not None:
            found.append(value)
    return found


def _picture(name: str, value: object) -> PictureField:
    if isinstance(value, bytes):
        if not value:
            raise FieldError(f"'{name}' is empty")
        return PictureField(data=value)
    if not isinstance(value, str):
        raise FieldError(f"'{name}' must be a URL or a file")
    if not value.strip():
        raise FieldError(f"'{name}' is empty")
    return PictureField(url=value.strip())


def _number(name: str, part: object) -> int:
    if isinstance(part, int) and not isinstance(part, bool):
        return part
    if isinstance(part, str) and _NUMBER.fullmatch(part.strip()):
        return int(part)
    raise FieldError(f"'{name}' must be a list of whole numbers, not {str(part)[:40]!r}")
