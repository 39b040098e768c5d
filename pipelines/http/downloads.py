"""Something that was made as an HTTP answer: validators, 304, and ranges (RFC 9110, sections 8.8, 13 and 14)."""

import re

from starlette.requests import Request
from starlette.responses import Response

from prosopon.deployments.state.blobs import Blob

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
"""Of more digits than any file has, so that it is none that can be satisfied: the whole is sent."""


def etag_of(key: str) -> str:
    """A strong validator out of the key that names everything that decides the bytes."""
    return f'"{key[:32]}"'


def not_modified(request: Request, etag: str, cache_control: str) -> Response | None:
    """The answer 304, where the client has it already."""
    known = request.headers.get("if-none-match")
    if known is None:
        return None
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    if etag not in tags and "*" not in tags:
        return None
    return Response(status_code=304, headers={"ETag": etag, "Cache-Control": cache_control})


def download(request: Request, blob: Blob, etag: str, cache_control: str) -> Response:
    """The bytes, or the one range of them that is asked for; 416 where it lies past the end."""
    headers = {"ETag": etag, "Cache-Control": cache_control, "Accept-Ranges": "bytes"}
    size = len(blob.data)
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None or asked.group() == "bytes=-" or request.headers.get("if-range", etag) != etag:
        return Response(blob.data, 200, headers, blob.media_type)
    start, end = _bounds(asked[1], asked[2], size)
    if start >= size or end < start:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return Response(blob.data[start : end + 1], 206, headers, blob.media_type)


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:  # the last so many bytes
        return (max(0, size - int(last)), size - 1) if int(last) else (size, size)
    return int(first), min(int(last), size - 1) if last else size - 1
