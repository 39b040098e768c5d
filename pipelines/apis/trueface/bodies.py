"""Bodies of Trueface's requests: JSON objects, in some of which pictures are base64, and raw pictures."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel

from prosopon.pipelines.apis.trueface.errors import WrongContentType
from prosopon.pipelines.apis.trueface.wire import OnlyPicture
from prosopon.pipelines.http.bodies import (
    SMALL,
    BodyError,
    documented,
    off_the_loop,
    read_body,
    read_json_object,
)
from prosopon.pipelines.http.forms import media_type_of
from prosopon.pipelines.http.uploads import (
    PICTURE_BASE64,
    PICTURE_FILE,
    MissingPicture,
    check_size,
    decode_base64,
)

MAX_PICTURES = 10
PICTURES = tuple(f"img{number}" for number in range(MAX_PICTURES))
_PICTURE_FIELD = re.compile(r"img(\d+)")
_RAW = "image/"
"""What the type of a raw picture begins with; which format it is its content says."""
_JSON = "application/json"

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Sent(Generic[Body]):
    """A body's fields, and its pictures by their field, in the order of their numbers."""

    fields: Body
    pictures: dict[str, bytes]


def fields(model: type[Body]) -> Any:
    """The parameter of a route that reads no picture: ``Annotated[ToTrain, fields(ToTrain)]``."""

    async def read(request: Request) -> Body:
        return model.model_validate(await _json_object(request, SMALL))

    return documented(read, {_JSON: _schema(model)})


def with_picture(model: type[Body]) -> Any:
    """The parameter of a route that reads the picture img: ``Annotated[Sent[ToMatch], with_picture(ToMatch)]``."""

    async def read(request: Request) -> Sent[Body]:
        max_bytes = _max_bytes(request)
        document = await _json_object(request, _room_for(1, max_bytes))
        given = model.model_validate(document)
        return Sent(given, {"img": await _picture("img", document, max_bytes)})

    return documented(read, {_JSON: _schema(model, ("img",))})


def with_pictures(model: type[Body]) -> Any:
    """The parameter of a route that reads the pictures img0, img1, ..., one to `MAX_PICTURES`."""

    async def read(request: Request) -> Sent[Body]:
        max_bytes = _max_bytes(request)
        document = await _json_object(request, _room_for(MAX_PICTURES, max_bytes))
        given = model.model_validate(document)
        names = sorted(filter(_PICTURE_FIELD.fullmatch, document), key=lambda name: (len(name), name))
        if not names:
            raise MissingPicture("img0", multipart=False)
        if len(names) > MAX_PICTURES:
            raise BodyError(f"{len(names)} pictures were sent; at most {MAX_PICTURES} are accepted")
        return Sent(given, {name: await _picture(name, document, max_bytes) for name in names})

    return documented(read, {_JSON: _schema(model, PICTURES)})


async def _raw_or_json(request: Request) -> bytes:
    max_bytes, kind = _max_bytes(request), media_type_of(request)
    if kind.startswith(_RAW):
        data = await read_body(request, max_bytes)
        if not data:
            raise BodyError("the body is empty")
        return data
    if kind != _JSON:
        raise WrongContentType(
            "the Content-Type must be image/jpeg, image/png, that of another picture, or application/json"
        )
    return await _picture("img", await _json_object(request, _room_for(1, max_bytes)), max_bytes)


def _schema(model: type[BaseModel], pictures: Sequence[str] = ()) -> dict[str, Any]:
    """Of a JSON body with base64 pictures, of which the first is needed, beside the model's fields."""
    schema = model.model_json_schema()
    base64 = dict.fromkeys(pictures, PICTURE_BASE64)
    schema["properties"] = {**schema.get("properties", {}), **base64}
    schema["required"] = [*schema.get("required", ()), *pictures[:1]]
    return {"schema": schema}


_BINARY = {"schema": PICTURE_FILE}

Picture = Annotated[
    bytes,
    documented(
        _raw_or_json, {_JSON: _schema(OnlyPicture, ("img",)), "image/jpeg": _BINARY, "image/png": _BINARY}
    ),
]
"""The parameter of a route that reads one picture alone, as the body or as img in JSON."""


async def _json_object(request: Request, limit: int) -> dict[str, Any]:
    if media_type_of(request) != _JSON:
        raise WrongContentType("the body must be JSON, with the Content-Type application/json")
    return await read_json_object(request, limit)


async def _picture(name: str, document: dict[str, Any], max_bytes: int) -> bytes:
    text = document.get(name)
    size = len(text) if isinstance(text, str) else 0
    data = await off_the_loop(size, decode_base64, name, text)
    check_size(f"'{name}'", data, max_bytes)
    return data


def _max_bytes(request: Request) -> int:
    most: int = request.app.state.services.settings.images.max_bytes
    return most


def _room_for(pictures: int, max_bytes: int) -> int:
    """Twice what base64 needs, so that a picture that is a little too large is named instead of the whole body."""
    return 2 * pictures * max_bytes + SMALL
