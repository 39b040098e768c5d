"""The console at `/console` and a page per API at `/docs`: files for a browser, which calls the public routes itself.

Nothing is built and nothing comes from elsewhere. Files are read once and served from memory. Their addresses carry a
digest of them all, so browsers keep them for ever and never mix two versions; the pages that name them are asked for
anew each time and answered with 304 where they are unchanged.
"""

import gzip
import hashlib
import html
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from prosopon.configs.settings import Api, Settings
from prosopon.pipelines.http.downloads import etag_of, not_modified
from prosopon.pipelines.http.installation import describe

_FILES = Path(__file__).parent.parent / "console"
_SWAGGER_FILES = ("swagger-ui.css", "swagger-ui-bundle.js")
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_ANEW = "no-cache"
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI draws its own icons with style attributes.
_SWAGGER_POLICY = _POLICY.replace(
    "default-src 'self'", "default-src 'self'; style-src 'self' 'unsafe-inline'"
)
_MIN_COMPRESSED = 512

mimetypes.add_type("text/javascript", ".js")


@dataclass(frozen=True, slots=True)
class _File:
    """digest: of the body, in hexadecimal; compressed: gzip, or None where that gains nothing."""

    body: bytes
    media_type: str
    digest: str
    compressed: bytes | None

    @classmethod
    def of(cls, body: bytes, media_type: str) -> "_File":
        compressed = gzip.compress(body, mtime=0) if len(body) >= _MIN_COMPRESSED else body
        digest = hashlib.sha256(body).hexdigest()
        return cls(body, media_type, digest, compressed if len(compressed) < len(body) else None)

    def response(self, request: Request, cache_control: str, policy: str = _POLICY) -> Response:
        zipped = self.compressed if "gzip" in request.headers.get("accept-encoding", "") else None
        etag = etag_of(f"gzip-{self.digest}" if zipped else self.digest)
        answer = not_modified(request, etag, cache_control)
        if answer is None:
            answer = Response(zipped or self.body, media_type=self.media_type)
            if zipped:
                answer.headers["Content-Encoding"] = "gzip"
        answer.headers.update(
            {
                "ETag": etag,
                "Cache-Control": cache_control,
                "Vary": "Accept-Encoding",
                "Content-Security-Policy": policy,
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
            }
        )
        return answer


@cache
def _files() -> dict[str, _File]:
    """Path below `/console/assets/<digest>/` -> file."""
    from swagger_ui_bundle import swagger_ui_path

    paths = {path.relative_to(_FILES).as_posix(): path for path in _FILES.rglob("*.*") if path.is_file()}
    paths |= {f"swagger/{name}": Path(str(swagger_ui_path)) / name for name in _SWAGGER_FILES}
    return {
        name: _File.of(path.read_bytes(), mimetypes.guess_type(name)[0] or "application/octet-stream")
        for name, path in sorted(paths.items())
    }


@cache
def _digest() -> str:
    digest = hashlib.sha256()
    for name, file in _files().items():
        digest.update(f"{name} {file.digest}\n".encode())
    return digest.hexdigest()[:16]


@cache
def _page(name: str, prefix: str, api: str = "") -> _File:
    """A page with its placeholders filled: ``{base}`` before each path, ``{assets}``, ``{modules}`` to be loaded ahead,
    ``{api}``."""
    assets = f"{prefix}/console/assets/{_digest()}"
    modules = [f"{assets}/{path}" for path in _files() if path.startswith(("lib/", "parts/", "pages/"))]
    links = "\n".join(f'<link rel="modulepreload" href="{module}">' for module in modules)
    text = _files()[name].body.decode()
    values = {"{modules}": links, "{assets}": assets, "{base}": prefix, "{api}": html.escape(api)}
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return _File.of(text.encode(), "text/html; charset=utf-8")


def routes(settings: Settings) -> list[BaseRoute]:
    """`/console`, `/docs/<api>`, and `/` for browsers."""
    installation = _File.of(describe(settings).model_dump_json().encode(), "application/json")
    prefix = settings.http.prefix
    _page("index.html", prefix)

    async def root(request: Request) -> Response:
        """A browser is shown the console; other clients learn what is served, as at any unknown path."""
        if "text/html" not in request.headers.get("accept", ""):
            raise HTTPException(404)
        return RedirectResponse(f"{prefix}/console", 307)

    async def console(request: Request) -> Response:
        return _page("index.html", prefix).response(request, _ASK_ANEW)

    async def config(request: Request) -> Response:
        return installation.response(request, _ASK_ANEW)

    async def asset(request: Request) -> Response:
        file = _files().get(request.path_params["path"])
        if file is None:
            raise HTTPException(404)
        # During a rolling update a page of one version may ask a replica of the other.
        current = request.path_params["digest"] == _digest()
        return file.response(request, _FOR_EVER if current else _ASK_ANEW)

    async def documentation(request: Request) -> Response:
        api: Api = request.path_params["api"]
        if api not in settings.apis:
            raise HTTPException(404)
        return _page("docs.html", prefix, api).response(request, _ASK_ANEW, _SWAGGER_POLICY)

    async def all_documentation(_: Request) -> Response:
        return RedirectResponse(f"{prefix}/console#/models", 307)

    return [
        Route("/", root),
        Route("/console", console),
        Route("/console/", console),
        Route("/console/config.json", config),
        Route("/console/assets/{digest}/{path:path}", asset),
        Route("/docs", all_documentation),
        Route("/docs/{api}", documentation),
    ]
