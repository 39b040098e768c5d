"""What the five APIs share in HTTP, seen on an application of three routes."""

import base64
import itertools
import json
import tracemalloc
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp

from prosopon.configs.settings import Settings
from prosopon.deployments.serving.calls import ModelFailed, Overloaded, TooManyRequests, Unavailable
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import StateError, SubjectNotFound
from prosopon.deployments.state.keys import Key, KeyStore
from prosopon.models.pictures.decoding import ImageError
from prosopon.pipelines.http.application import ApiApp, api_app
from prosopon.pipelines.http.bodies import BodyError, BodyTooLarge, embeddings_body, json_body
from prosopon.pipelines.http.downloads import download
from prosopon.pipelines.http.errors import first_problem
from prosopon.pipelines.http.forms import Upload, parse_multipart
from prosopon.pipelines.http.keys import Authenticator, KeyRefused, MalformedKey, NoKey, WrongScope, caller
from prosopon.pipelines.http.limits import RateLimit
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.http.uploads import MissingPicture, NotBase64, decode_base64, picture
from prosopon.pipelines.ingress import Dispatcher


class Name(BaseModel):
    subject: str


class Vectors(BaseModel):
    embeddings: list[list[float]]


DIM, MOST = 512, 256
router = api_router()


@router.post("/v9/faces")
async def add(
    subject: Annotated[str, Query()],
    file: Annotated[Upload, picture("file")],
    key: Annotated[Key, caller("recognition")],
    limit: int = 7,
) -> dict[str, Any]:
    return {
        "subject": subject,
        "limit": limit,
        "bytes": len(file.data),
        "key": key.name,
        "file": file.filename,
    }


@router.post("/v9/subjects")
async def create(body: Annotated[Name, json_body(Name)], key: Annotated[Key, caller("recognition")]) -> Name:
    return body


@router.post("/v9/vectors")
async def compare(
    body: Annotated[Vectors, embeddings_body(Vectors, DIM, MOST)], key: Annotated[Key, caller("recognition")]
) -> int:
    return len(body.embeddings)


@router.get("/v9/flags")
async def flags(rawlandmarks: bool = False, limit: int = 7) -> dict[str, Any]:
    return {"rawlandmarks": rawlandmarks, "limit": limit}


@router.get("/v9/bug")
async def bug(kind: str) -> Response:
    raise SubjectNotFound("Zoë") if kind == "subject" else ZeroDivisionError


def said(status: int) -> Any:
    return lambda error: JSONResponse({"error": type(error).__name__, "message": str(error)}, status)


ERRORS: dict[type[Exception], Any] = {
    **dict.fromkeys((NoKey, MalformedKey), said(401)), KeyRefused: said(403), StateError: said(503),
    RequestValidationError: lambda error: JSONResponse({"problem": first_problem(error).name}, 400),
    HTTPException: lambda error: JSONResponse({"status": error.status_code}, error.status_code),
    BodyError: said(400), BodyTooLarge: said(413), SubjectNotFound: said(404), ImageError: said(400),
    TooManyRequests: said(429), Overloaded: said(503), Unavailable: said(503), ModelFailed: said(500),
    Exception: said(500),
}  # fmt: skip


@dataclass
class Served:
    keys: Authenticator
    settings: Settings = field(default_factory=Settings)


@pytest.fixture
def store(tmp_path: Any) -> KeyStore:
    return KeyStore(Records(f"sqlite:///{tmp_path / 'records.db'}"))


@pytest.fixture
def app(store: KeyStore) -> ApiApp:
    app = api_app(
        "compreface",
        "Test",
        "1",
        services=Served(Authenticator(store)),
        errors=ERRORS,
        flags=("rawlandmarks",),
    )
    app.include_router(router)
    return app


@pytest.fixture
def key(store: KeyStore) -> str:
    return store.create("Ann", ["recognition"])[1]


async def ask(app: ASGIApp, method: str, url: str, **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await client.request(method, url, **options)


@pytest.mark.anyio
async def test_a_request_without_a_key_is_refused_before_its_body_is_read(
    app: ApiApp, store: KeyStore
) -> None:
    other = store.create("other", ["detection"])[1]

    async def body() -> Any:
        raise AssertionError("the body was read")
        yield b""

    for given, status in ((None, 401), ("text", 401), (str(uuid.uuid4()), 403), (other, 403)):
        for path, kind in (
            ("/v9/faces", "multipart/form-data; boundary=x"),
            ("/v9/subjects", "application/json"),
        ):
            headers = {"content-type": kind} | ({"x-api-key": given} if given else {})
            answer = await ask(app, "POST", path, content=body(), headers=headers)
            assert answer.status_code == status, (given, answer.text)


@pytest.mark.anyio
async def test_form_fields_are_parameters_that_the_query_wins_over(app: ApiApp, key: str) -> None:
    form = {"files": {"file": ("a.jpg", b"12345")}, "headers": {"x-api-key": key}}
    answer = await ask(app, "POST", "/v9/faces?limit=3", data={"subject": "Bo & Zoë", "limit": "4"}, **form)
    assert answer.json() == {"subject": "Bo & Zoë", "limit": 3, "bytes": 5, "key": "Ann", "file": "a.jpg"}
    answer = await ask(app, "POST", "/v9/faces?limit=&subject=Bo", data={"limit": "x"}, **form)
    assert (answer.status_code, answer.json()) == (400, {"problem": "limit"})
    answer = await ask(app, "POST", "/v9/faces?limit=", **form)
    assert (answer.status_code, answer.json()) == (400, {"problem": "subject"})


@pytest.mark.anyio
async def test_the_first_file_of_a_name_is_taken_and_more_are_told(app: ApiApp, key: str) -> None:
    boundary, head = "frontier", "Content-Disposition: form-data; name="
    parts = [
        f'{head}"file"\r\n\r\ntext before',
        f'{head}"file"; filename="blob"\r\nContent-Type: image/jpeg\r\n\r\nABC',
        f'{head}"file"; filename="other"\r\n\r\nABCDEF',
        f'{head}"file"\r\n\r\ntext after',
    ]
    body = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n"
    headers = {"x-api-key": key, "content-type": f"multipart/form-data; boundary={boundary}"}
    answer = await ask(app, "POST", "/v9/faces?subject=a", content=body.encode(), headers=headers)
    assert (answer.json()["bytes"], answer.json()["file"]) == (3, "blob")
    assert answer.headers["x-notice"] == "2 files are named file; the first was taken"


@pytest.mark.anyio
async def test_bodies_of_names_are_bounded_objects(app: ApiApp, key: str) -> None:
    headers = {"x-api-key": key, "content-type": "application/json"}
    bodies = {
        b'{"subject": "Zo\xc3\xab", "other": 1}': 200,
        b"[1]": 400,
        b'"text"': 400,
        b"{": 400,
        b"": 400,
        b'{"subject": [1]}': 400,
        b"[" * 60_000: 413,
        json.dumps({"subject": "a" * 70_000}).encode(): 413,
        b"[" + b",".join(itertools.repeat(b"[1]", 15_000)) + b"]": 413,
    }
    for body, status in bodies.items():
        answer = await ask(app, "POST", "/v9/subjects", content=body, headers=headers)
        assert answer.status_code == status, (body[:40], answer.text)


@pytest.mark.anyio
async def test_embeddings_are_bounded_by_their_number_and_before_they_are_parsed(
    app: ApiApp, key: str
) -> None:
    headers = {"x-api-key": key, "content-type": "application/json"}
    most = json.dumps({"embeddings": [[-1.2345678901234567e-123] * DIM] * MOST}).encode()
    answer = await ask(app, "POST", "/v9/vectors", content=most, headers=headers)
    assert (answer.status_code, answer.json()) == (200, MOST)
    ones = b'{"embeddings": [' + b"[1]," * (len(most) // 4 - 10) + b"[1]]}"
    tracemalloc.start()
    answer = await ask(app, "POST", "/v9/vectors", content=ones, headers=headers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code == 413
    assert peak < 4 * len(ones), "as lists they would be 60 times as much"


@pytest.mark.anyio
async def test_paths_and_parameters_may_be_written_loosely(app: ApiApp) -> None:
    for url in (
        "/v9/flags",
        "/v9/flags/",
        "//v9///flags//",
        "/v9/flags?limit=",
        "/v9/flags?limit&rawlandmarks=",
    ):
        assert (await ask(app, "GET", f"http://here{url}")).json()["limit"] == 7, url
    assert (await ask(app, "GET", "/v9/flags?rawlandmarks")).json()["rawlandmarks"] is True


@pytest.mark.anyio
async def test_head_is_where_get_is(app: ApiApp) -> None:
    answer = await ask(app, "HEAD", "/v9/flags/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len((await ask(app, "GET", "/v9/flags")).content)
    assert (await ask(app, "HEAD", "/v9/subjects")).status_code == 405


@pytest.mark.anyio
async def test_every_error_has_the_form_of_the_api_and_lets_other_origins_read_it(app: ApiApp) -> None:
    for method, url, status in (
        ("GET", "/v9/nothing", 404),
        ("PATCH", "/v9/flags", 405),
        ("GET", "/v9/bug?kind=subject", 404),
        ("GET", "/v9/bug?kind=other", 500),
    ):
        answer = await ask(app, method, url)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
        assert answer.headers["access-control-allow-origin"] == "*", url


@pytest.mark.anyio
async def test_preflights_are_answered_as_the_settings_say(app: ApiApp, store: KeyStore) -> None:
    asked = {
        "origin": "https://a.example",
        "access-control-request-method": "PUT",
        "access-control-request-headers": "x-api-key,x-mine",
    }
    answer = await ask(app, "OPTIONS", "/v9/subjects", headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
    assert {"PUT", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    assert {"x-api-key", "content-type", "x-mine"} <= set(
        answer.headers["access-control-allow-headers"].split(", ")
    )

    some = Settings(cors={"compreface": ("https://a.example",)})
    closed = api_app("compreface", "Test", "1", services=Served(Authenticator(store), some), errors=ERRORS)
    for origin, allowed in (("https://a.example", "https://a.example"), ("https://b.example", None)):
        for method in ("OPTIONS", "GET"):
            answer = await ask(closed, method, "/v9/flags", headers={"origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert answer.headers["vary"] == "Origin"


def test_bodies_that_are_read_by_dependencies_are_in_the_document(app: ApiApp) -> None:
    paths = app.openapi()["paths"]
    assert set(paths["/v9/faces"]["post"]["requestBody"]["content"]) == {
        "multipart/form-data",
        "application/json",
    }
    schema = paths["/v9/subjects"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["subject"]
    assert paths["/v9/subjects"]["post"]["security"] == [{"APIKeyHeader": []}]


def test_a_table_that_leaves_something_unanswered_is_refused(store: KeyStore) -> None:
    for kind in (KeyRefused, ModelFailed, Exception):
        table = {other: row for other, row in ERRORS.items() if other is not kind}
        with pytest.raises(LookupError, match=kind.__name__):
            api_app("compreface", "Test", "1", services=Served(Authenticator(store)), errors=table)


def test_multipart_that_is_cut_off_anywhere_is_an_error() -> None:
    data = b"\xff\xd8\r\n--a\r\n\r\n-\r\n"
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body = head + data + b"\r\n--b--"
    assert [upload.data for upload in parse_multipart(body, b"b", 1).files("file")] == [data]
    for length in range(len(body)):
        with pytest.raises(BodyError):
            parse_multipart(body[:length], b"b", 1)


def test_base64_is_read_in_either_alphabet_and_without_padding() -> None:
    data = bytes(range(256)) * 3 + b"\xff"
    plain, url_safe = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    for text in (plain, url_safe, plain.rstrip("="), url_safe.rstrip("="), f"data:image/png;base64,{plain}",
                 "\n".join(plain[i : i + 76] for i in range(0, len(plain), 76))):  # fmt: skip
        assert decode_base64("img", text) == data
    for text in ("a", "abc$", "ab\u00e9d"):
        with pytest.raises(NotBase64):
            decode_base64("img", text)
    with pytest.raises(MissingPicture):
        decode_base64("img", "")


def test_the_scope_that_is_missing_is_named() -> None:
    assert "'trueface'" in str(WrongScope("trueface"))


@pytest.mark.parametrize(
    "range", ["bytes=" + "1" * 5000 + "-", "bytes=-" + "1" * 5000, "bytes=0-" + "9" * 5000]
)
def test_a_range_of_5000_digits_is_no_range(range: str) -> None:
    request = Request({"type": "http", "method": "GET", "headers": [(b"range", range.encode())]})
    answer = download(request, Blob(b"0123", "image/jpeg"), '"a"', "no-cache")
    assert (answer.status_code, answer.body) == (200, b"0123")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/api/v1/detection/detect", "compreface"),
        ("//api//v1/detection", "compreface"),
        ("/api/v1", "compreface"),
        ("/api/v1x", "checkface"),
        ("/api/search", "facecheck"),
        ("/api/search/", "facecheck"),
        ("/api/searching", "checkface"),
        ("/api/face", "checkface"),
        ("/api/facesearch", "checkface"),
        ("/api/status", "checkface"),
        ("/status/", "checkface"),
        ("/v1/enroll", "trueface"),
        ("/v1foo", "none"),
        ("/api/aifaceswap/v1/faceswap", "none"),
        ("/openapi/compreface.json", "compreface"),
        ("/openapi/compreface.jsonx", "none"),
        ("/" + "a/" * 30_000, "none"),
    ],
)
async def test_a_path_belongs_to_the_api_that_has_its_beginning(path: str, api: str) -> None:
    """aifaceswap is not served here: its paths are nobody's, and no text of CheckFace's."""
    apps = {name: PlainTextResponse(name) for name in ("compreface", "facecheck", "checkface", "trueface")}
    dispatcher = Dispatcher(apps, PlainTextResponse("none"))  # type: ignore[arg-type]
    transport = httpx.ASGITransport(dispatcher)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        assert (await client.get(f"http://here{path}")).text == api


@pytest.mark.anyio
async def test_a_key_that_asks_too_often_is_told_when_to_come_back(app: ApiApp, store: KeyStore) -> None:
    now = [0.0]
    limit = RateLimit(2, 3, lambda: now[0])
    served = Dispatcher({}, app, limit)
    first, second = (store.create(name, ["recognition"])[1] for name in ("Ann", "Bob"))

    async def statuses(key: str, count: int) -> list[int]:
        body = {"subject": "Zoë"}
        return [
            (await ask(served, "POST", "/v9/subjects", json=body, headers={"x-api-key": key})).status_code
            for _ in range(count)
        ]

    assert await statuses(first, 5) == [200, 200, 200, 429, 429]
    assert await statuses(second, 3) == [200, 200, 200], "one key's requests are not another's"
    answer = await ask(served, "POST", "/v9/subjects", json={"subject": "a"}, headers={"x-api-key": first})
    assert answer.json()["error"] == "TooManyRequests"
    now[0] = 1.0
    assert await statuses(first, 3) == [200, 200, 429], "two a second"


@pytest.mark.anyio
async def test_where_no_key_is_asked_for_an_address_is_counted(app: ApiApp) -> None:
    served = Dispatcher({}, app, RateLimit(1, 2, lambda: 0.0))
    for client, expected in (("192.0.2.1", [200, 200, 429]), ("192.0.2.2", [200, 200, 429])):
        transport = httpx.ASGITransport(served, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as asking:
            assert [(await asking.get("/v9/flags")).status_code for _ in range(3)] == expected


def test_requests_are_not_counted_unless_it_is_asked_for() -> None:
    assert Settings().http.requests_per_second is None
    limit = RateLimit(None, 1, lambda: 0.0)
    for _ in range(100):
        limit.charge("anybody")


def test_who_is_refused_is_told_when_the_next_request_may_come() -> None:
    limit = RateLimit(0.1, 1, lambda: 0.0)
    limit.charge("anybody")
    with pytest.raises(TooManyRequests) as refused:
        limit.charge("anybody")
    assert refused.value.retry_after == 10


@pytest.mark.anyio
async def test_a_body_that_is_cut_off_is_no_fault_of_the_server(app: ApiApp, key: str) -> None:
    came = iter([{"type": "http.request", "body": b'{"sub', "more_body": True}, {"type": "http.disconnect"}])
    said: list[Any] = []

    async def receive() -> Any:
        return next(came)

    async def send(message: Any) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v9/subjects",
        "raw_path": b"/v9/subjects",
        "query_string": b"",
        "headers": [(b"x-api-key", key.encode()), (b"content-type", b"application/json")],
    }
    await app(scope, receive, send)
    assert said[0]["status"] == 400 and json.loads(said[1]["body"])["error"] == "BodyError"
