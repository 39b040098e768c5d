"""Request bodies: bounded by bytes and by values, and parsed off the event loop."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson
from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request

SMALL = 64 * 1024
"""Bytes of a body that carries names and numbers alone; also what headers of parts and other fields may add to
pictures."""
_VALUES = 20_000
_INLINE = 16 * 1024
"""A body of so many bytes is parsed in less time than a change of threads takes."""
_PIECE = 1 << 20
_PARSERS = ThreadPoolExecutor(2, thread_name_prefix="bodies")

Result = TypeVar("Result")


class BodyError(Exception):
    """The body cannot be read as what its Content-Type says."""


class BodyTooLarge(BodyError):
    """The body is longer than the pictures it may carry."""


async def off_the_loop(size: int, function: Callable[..., Result], *args: Any) -> Result:
    """function(*args) in one of two threads; here, where so few bytes are concerned that it is not worth it."""
    if size <= _INLINE:
        return function(*args)
    return await asyncio.get_running_loop().run_in_executor(_PARSERS, function, *args)


async def bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes. Raises `BodyTooLarge`, where a length is declared before anything is read, and `BodyError`
    for one that is cut off: its sender may still listen."""
    declared = request.headers.get("content-length", "")
    message = f"the request is longer than {limit} bytes"
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise BodyTooLarge(message)
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                raise BodyTooLarge(message)
            yield chunk
    except ClientDisconnect:
        raise BodyError("the request ended before its body was there") from None


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises `BodyTooLarge`."""
    return b"".join([chunk async for chunk in bounded(request, limit)])


async def read_json(request: Request, limit: int = SMALL, values: int = _VALUES) -> Any:
    """A JSON document. Raises `BodyError` where it is not JSON, `BodyTooLarge` past the limit or with more values."""
    body = await read_body(request, limit)
    return await off_the_loop(len(body), _parse_json, body, values)


async def read_json_object(request: Request, limit: int = SMALL, values: int = _VALUES) -> dict[str, Any]:
    """The same, which must be an object."""
    document = await read_json(request, limit, values)
    if not isinstance(document, dict):
        raise BodyError("the body must be a JSON object")
    return document


AN_ID = "6b135f5b-a365-4522-b1f1-4c9ac2dd0728"
"""As OpenAPI's documents show one."""


def documented(read: Callable[..., Any], content: dict[str, Any]) -> Any:
    """The parameter of a route that `read` makes of the request. content: OpenAPI's, of the body, by its media type;
    the definitions that its schemas bring with them (``$defs``) become the document's."""
    read.body = {"required": True, "content": content}  # type: ignore[attr-defined]
    return Depends(read)


def json_body(model: Any, limit: int = SMALL, values: int = _VALUES) -> Any:
    """The parameter of a route whose body is JSON of a pydantic model or any other type:
    ``Annotated[SubjectName, json_body(SubjectName)]``. It is in the OpenAPI document.

    limit: in bytes; values: how many numbers, texts, lists and objects it may have. What is wrong in it is a
    `RequestValidationError` whose place begins with ``body``, what is no JSON a `BodyError`.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(model)

    def parse(body: bytes) -> Any:
        try:
            return adapter.validate_python(_parse_json(body, values))
        except ValidationError as error:
            problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
            raise RequestValidationError(problems) from None

    async def read(request: Request) -> Any:
        body = await read_body(request, limit)
        return await off_the_loop(len(body), parse, body)

    return documented(read, json_content(adapter))


def embeddings_body(model: Any, dim: int, most: int) -> Any:
    """`json_body` for so many embeddings at most, with every number written as long as programs write them."""
    return json_body(model, SMALL + most * dim * 26, _VALUES + most * (dim + 1))


def json_content(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """OpenAPI's content of a body."""
    return {"application/json": {"schema": adapter.json_schema(ref_template="#/components/schemas/{model}")}}


def _parse_json(body: bytes, values: int) -> Any:
    # Each value but the first follows one of these. A parser would make 60 times as much of "[1],[1],[1]" as it has
    # bytes. Counted in pieces, so that other threads get their turns.
    found = 0
    for start in range(0, len(body), _PIECE):
        found += sum(map(body[start : start + _PIECE].count, (b",", b"[", b"{", b":")))
        if found > values:
            raise BodyTooLarge(f"the body has more than {values} values")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BodyError(f"the body is not JSON: {error}") from None
