"""What clients of aifaceswap send: JSON, forms or multipart, each field in any of the ways that clients write it."""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request

from prosopon.pipelines.http.bodies import BodyError, documented, read_json_object
from prosopon.pipelines.http.forms import is_form, read_form
from prosopon.pipelines.http.uploads import PICTURE_FILE
from prosopon.pipelines.services import Served

_SUFFIX = re.compile(r"\[\d*\]$")
_NUMBER = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_MAX_TEXT = 256 * 1024
_MAX_WHOLE_PICTURES = 8
"""How many files of the largest size one body may hold."""


class FieldError(BodyError):
    """A field is missing, or not what it should be. The message names it."""


@dataclass(frozen=True, slots=True)
class PictureField:
    """A file's bytes, or a URL."""

    data: bytes = b""
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
    if is_form(request):
        form = await read_form(request, max_bytes + _MAX_TEXT, max_files)
        for name, item in form.items:
            fields.add(name, item if isinstance(item, str) else item.data)
    else:
        for name, value in (await read_json_object(request, _MAX_TEXT)).items():
            fields.add(name, value)
    return fields


def sent(*names: str, files: int | None = None) -> Any:
    """The parameter of a route that takes these fields: ``Annotated[Fields, sent("img", files=1)]``.

    names: of `_FIELDS`. files: how many pictures they have at most; None is as the settings say.
    """

    async def read(request: Request, services: Served) -> Fields:
        most = files or services.settings.swap.max_faces + 1
        whole, settings = min(most, _MAX_WHOLE_PICTURES), services.settings
        most_bytes = 2 * (whole * settings.images.max_bytes + settings.swap.films.max_bytes)
        return await read_fields(request, most_bytes, most + 1)

    return documented(read, _content(*names))


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


_URL = {"type": "string", "format": "uri"}
_INDEX = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0},
    "minItems": 1,
    "uniqueItems": True,
    "description": "which face each new one replaces, as `extract_face` counts them",
    "examples": [[0]],
}
_PICTURES = {
    "source_image": "the picture whose faces are replaced",
    "face_image": "the new face, the biggest of its picture",
    "img": "the picture",
}
_WEBHOOK = {
    **_URL,
    "description": "is posted what `task` answers, once the task has ended",
    "examples": ["https://example.org/swapped"],
}


def _picture_schemas(description: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of a URL, and of a file."""
    url = {**_URL, "description": f"{description}: its URL", "examples": ["https://example.org/ann.jpg"]}
    return url, {**PICTURE_FILE, "description": description}


def _several(one: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": one, "minItems": 1, "description": "the new faces"}


_NEW_URL, _NEW_FILE = _picture_schemas("a new face, the biggest of its picture")
_FIELDS: dict[str, tuple[str, dict[str, Any], dict[str, Any], bool]] = {
    # field: its name, its schema in JSON, in multipart, and whether it is required
    **{name: (name, *_picture_schemas(told), True) for name, told in _PICTURES.items()},
    "face_images": ("face_image", _several(_NEW_URL), _several(_NEW_FILE), True),
    "index": ("index", _INDEX, _INDEX, True),
    "webhook": ("webhook", _WEBHOOK, _WEBHOOK, False),
}


def _content(*names: str) -> dict[str, Any]:
    """OpenAPI's content of a body that is JSON with URLs, or multipart with files (or URLs in their place)."""
    fields = [_FIELDS[name] for name in names]
    required = [name for name, *_, needed in fields if needed]
    return {
        media_type: {
            "schema": {
                "type": "object",
                "required": required,
                "properties": {name: schemas[which] for name, *schemas, _ in fields},
            }
        }
        for which, media_type in enumerate(("application/json", "multipart/form-data"))
    }
