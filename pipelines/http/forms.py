"""Forms: multipart/form-data (RFC 7578) and application/x-www-form-urlencoded."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from prosopon.pipelines.http.bodies import SMALL, BodyError, bounded, off_the_loop, read_body

NOTICES = "prosopon.notices"
"""Where in the scope the notices are that an answer's header carries."""
_MAX_FIELDS = 256
_MAX_PART_HEADER = 8 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """data: the file's bytes. filename: as the client named it, which may be empty; None for base64.
    media_type: as the client says; None where it does not."""

    data: bytes
    filename: str | None = None
    media_type: str | None = None


@dataclass(slots=True)
class Form:
    """The parts in the order in which they were sent: a text, or a file."""

    items: list[tuple[str, str | Upload]] = field(default_factory=list)

    def texts(self, name: str | None = None) -> list[tuple[str, str]]:
        return [(key, item) for key, item in self.items if isinstance(item, str) and name in (None, key)]

    def text(self, name: str) -> str | None:
        """The first text of that name; empty is none."""
        return next((text for _, text in self.texts(name) if text), None)

    def files(self, name: str | None = None) -> list[Upload]:
        return [item for key, item in self.items if isinstance(item, Upload) and name in (None, key)]

    def file(self, name: str) -> Upload | None:
        """The first file of that name, whatever texts of the same name there are."""
        return next(iter(self.files(name)), None)


def media_type_of(request: Request) -> str:
    """``application/json`` of ``Application/JSON; charset=utf-8``."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_multipart(request: Request) -> bool:
    return media_type_of(request) == "multipart/form-data"


def is_form(request: Request) -> bool:
    return is_multipart(request) or media_type_of(request) == "application/x-www-form-urlencoded"


async def read_form(request: Request, limit: int, max_files: int = 16) -> Form:
    """A form; read once, however often it is asked for. limit: bytes of the whole.

    Raises `BodyError` for what is no form or has more files or fields, `BodyTooLarge` past the limit.
    """
    known: Form | None = getattr(request.state, "form", None)
    if known is None:
        known = request.state.form = await _read(request, limit, max_files)
    return known


async def _read(request: Request, limit: int, max_files: int) -> Form:
    if not is_multipart(request):
        if not is_form(request):
            raise BodyError("the body must be a form")
        body = await read_body(request, min(limit, 4 * SMALL))
        return await off_the_loop(len(body), _parse_urlencoded, body)
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 200:  # At most 70 by RFC 2046, section 5.1.1.
        raise BodyError("multipart/form-data has no boundary")
    body = b"".join([chunk async for chunk in bounded(request, limit)])
    # Bytes are found at gigabytes a second: it is the number of parts that takes time.
    return await off_the_loop(body.count(boundary) * 1024, parse_multipart, body, boundary, max_files)


def _parse_urlencoded(body: bytes) -> Form:
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise BodyError(f"malformed form: {error}") from None
    return Form(list(pairs))


def parse_multipart(body: bytes, boundary: bytes, max_files: int) -> Form:
    """The parts of a body that is there as a whole. Raises `BodyError`.

    A part with a file's name, or with a Content-Type that is not text, is a file.
    """
    form = Form()
    files = 0
    for header, data in _parts(body, boundary):
        name, filename, media_type = _described(header)
        if filename is not None or (media_type or "text/plain").partition("/")[0].strip().lower() != "text":
            files += 1
            form.items.append((name, Upload(data, filename or "", media_type)))
        elif len(data) > SMALL:
            raise BodyError(f"'{name[:64]}' is longer than {SMALL} bytes")
        else:
            form.items.append((name, _decoded(data)))
        if files > max_files or len(form.items) - files > _MAX_FIELDS:
            raise BodyError(f"the form has more than {max_files} files or {_MAX_FIELDS} fields")
    return form


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Header and content of each part (RFC 2046, section 5.1.1)."""
    delimiter = b"\r\n--" + boundary
    first = 0 if body.startswith(delimiter[2:]) else body.find(delimiter) + 2
    if first == 1:
        raise BodyError("malformed multipart body: it does not have its boundary")
    position = first + len(delimiter) - 2
    while not body.startswith(b"--", position):
        start = body.find(b"\r\n", position, position + 128)
        end = body.find(delimiter, start)
        if start < 0 or end < 0 or body[position:start].strip(b" \t"):
            raise BodyError(
                "malformed multipart body: it is cut off, or a boundary is not on a line of its own"
            )
        content = body.find(b"\r\n\r\n", start, min(end, start + _MAX_PART_HEADER)) + 4
        if content == 3:
            raise BodyError("malformed multipart body: a part has no end of its header")
        yield body[start + 2 : content - 4], body[content:end]
        position = end + len(delimiter)


def _described(header: bytes) -> tuple[str, str | None, str | None]:
    """Name, file's name and media type."""
    fields = {}
    for line in header.split(b"\r\n"):
        key, _, value = line.partition(b":")
        fields[key.strip().lower()] = value.strip()
    _, options = parse_options_header(fields.get(b"content-disposition", b""))
    if b"name" not in options:
        raise BodyError("malformed multipart body: a part has no name")
    filename, media_type = options.get(b"filename"), fields.get(b"content-type")
    return (
        _decoded(options[b"name"]),
        None if filename is None else _decoded(filename),
        None if media_type is None else media_type.decode("latin-1"),
    )


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def notice(request: Request, message: str) -> None:
    """Have the answer's header X-Notice say something that a client may want to know."""
    request.scope.setdefault(NOTICES, []).append(message)
