"""The ways in which clients write fields."""

import asyncio
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import pytest
from starlette.requests import Request

from prosopon.pipelines.apis.aifaceswap.fields import FieldError, Fields, PictureField, read_fields
from prosopon.pipelines.http.bodies import BodyError, BodyTooLarge

URL = "https://pictures.example/a.png"


def fields(**values: Any) -> Fields:
    made = Fields()
    for name, value in values.items():
        made.add(name, value)
    return made


def sent(limit: int = 1000, **options: Any) -> Fields:
    """What the server reads of a request as httpx sends it."""
    request = httpx.Request("POST", "http://server.example/", **options)
    body = request.read()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(name.lower(), value) for name, value in request.headers.raw]
    scope = {"type": "http", "method": "POST", "headers": headers}
    return asyncio.run(read_fields(Request(scope, receive), limit, 8))


@pytest.mark.parametrize(
    "index", [[0, 2], ["0", "2"], "0,2", " 0 , 2 ", "[0,2]", "[0, 2]", '["0","2"]', ["0,2"]]
)
def test_index_in_all_its_spellings(index: object) -> None:
    assert fields(index=index).numbers("index") == [0, 2]


def test_index_as_repeated_fields() -> None:
    for name in ("index", "index[]"):
        assert sent(data={name: ["0", "2"]}).numbers("index") == [0, 2]
    assert sent(data={"index[0]": "0", "index[1]": "2"}).numbers("index") == [0, 2]
    assert sent(data={"index": ["0", "2"]}, files={"x": b"y"}).numbers("index") == [0, 2]
    assert fields(index=1).numbers("index") == [1]


@pytest.mark.parametrize(
    "index", ["a", "1.5", 1.5, True, [True], {}, [{}], "", "0,", "0x1", "[0,2", "9" * 20, "٣", [[None, {}]]]
)
def test_what_is_no_index_is_named(index: object) -> None:
    with pytest.raises(FieldError, match="index"):
        fields(index=index).numbers("index")


@pytest.mark.parametrize("index", [None, [], "[]", [None]])
def test_a_missing_index_is_named(index: object) -> None:
    with pytest.raises(FieldError, match="'index' is missing"):
        fields(index=index).numbers("index")


def test_pictures_are_urls_or_files_in_their_order() -> None:
    assert sent(json={"face_image": [URL, URL + "2"]}).pictures("face_image") == [
        PictureField(url=URL),
        PictureField(url=URL + "2"),
    ]
    files = [("face_image", b"one"), ("face_image[]", b"two")]
    found = sent(data={"face_image": f" {URL} "}, files=files).pictures("face_image")
    assert found == [PictureField(url=URL), PictureField(data=b"one"), PictureField(data=b"two")]
    assert fields(face_image=orjson.dumps([URL]).decode()).picture("face_image") == PictureField(url=URL)
    assert sent(data={"img": URL}).picture("img") == PictureField(url=URL), "a plain form"


@pytest.mark.parametrize("value", [None, [], "", b"", " ", 5, True, {}, [URL, URL], [[URL]], [5]])
def test_what_is_not_one_picture_is_named(value: object) -> None:
    with pytest.raises(FieldError, match="'img'"):
        fields(img=value).picture("img")


@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_webhook_is_none(value: object) -> None:
    assert fields(webhook=value).text("webhook") is None
    assert fields().text("webhook") is None


@pytest.mark.parametrize("value", [5, [URL], {}, True])
def test_a_webhook_must_be_text(value: object) -> None:
    with pytest.raises(FieldError, match="'webhook'"):
        fields(webhook=value).text("webhook")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"null", b"\xff"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError):
        sent(content=body)


def test_broken_forms_are_refused() -> None:
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (b"--x\r\n\r\nfoo", b"--x--", b""):
        with pytest.raises(BodyError):
            sent(content=body, headers=multipart).picture("img")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with pytest.raises(BodyError):
        sent(content=b"img=\xff", headers=form)
    with pytest.raises(BodyError):
        sent(content=urlencode([("a", "b")] * 300).encode(), headers=form)


def test_long_bodies_are_refused() -> None:
    with pytest.raises(BodyTooLarge):
        sent(json={"img": "x" * 300_000})
    with pytest.raises(BodyTooLarge):
        sent(files={"img": bytes(300_000)}, limit=1000)
