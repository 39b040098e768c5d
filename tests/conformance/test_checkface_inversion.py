"""CheckFace's latents of photographs: what comes back is usable everywhere, and what cannot be inverted is said why."""

import asyncio
import io
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from prosopon.configs.settings import Settings
from tests.benchmarks.serving import Server
from tests.conformance.checkface_client import error_of, leave, refusals, settled

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=180) as client:
        yield client


@pytest.fixture(scope="module")
def photograph(london: list[Path]) -> bytes:
    return london[7].read_bytes()


@pytest.fixture(scope="module")
def guid(api: httpx.Client, photograph: bytes) -> str:
    """Of the photograph, which is inverted once for the whole module."""
    answer = api.post("/api/recoverlatent/", content=photograph, headers={"content-type": "image/jpeg"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def another(photograph: bytes) -> bytes:
    """The same face in a file that has not been inverted yet."""
    return photograph + uuid.uuid4().bytes


def test_the_answer_is_a_guid_in_plain_text(guid: str) -> None:
    assert str(uuid.UUID(guid)) == guid


def test_the_latent_has_512_numbers_for_each_layer(api: httpx.Client, guid: str) -> None:
    document = api.get("/api/hashdata/", params={"guid": guid}).json()
    assert set(document) == {"dlatent"}
    latent = np.array(document["dlatent"])
    assert latent.ndim == 2 and latent.shape[1] == 512 and np.isfinite(latent).all()


@pytest.mark.parametrize(("size", "status"), [(12 << 20, 200), ((16 << 20) + 1, 413)])
def test_photographs_come_as_phones_take_them(
    api: httpx.Client, photograph: bytes, size: int, status: int
) -> None:
    padded = photograph + bytes(size - len(photograph))
    answer = api.post("/api/recoverlatent/", content=padded, headers={"content-type": "image/jpeg"})
    assert answer.status_code == status, answer.text


def test_its_face_is_nearer_to_the_photograph_than_another_is(
    server: Server, api: httpx.Client, guid: str, photograph: bytes
) -> None:
    """By another face API of the same server."""

    def similarity(face: bytes) -> float:
        files = {"source_image": ("a.jpg", photograph), "target_image": ("b.jpg", face)}
        answer = api.post("/api/v1/verification/verify", files=files, headers={"x-api-key": server.key})
        assert answer.status_code == 200, answer.text
        return float(answer.json()["result"][0]["face_matches"][0]["similarity"])

    found = api.get("/api/face/", params={"guid": guid, "dim": 512}).content
    other = api.get("/api/face/", params={"value": "example", "dim": 512}).content
    assert similarity(found) > similarity(other)


def test_it_takes_part_wherever_a_guid_does(api: httpx.Client, guid: str) -> None:
    ends = {"from_guid": guid, "to_value": "example", "dim": 64}
    assert Image.open(io.BytesIO(api.get("/api/face/", params={"guid": guid, "dim": 64}).content)).size == (
        64,
        64,
    )
    for path in ("gif", "webp", "mp4", "morphframe"):
        answer = api.get(f"/api/{path}/", params={**ends, "num_frames": 4})
        assert answer.status_code == 200, path
    assert api.get("/api/linkpreview/", params={"from_guid": guid, "to_guid": guid}).status_code == 200
    mixture = {"num_multi": 2, "guid0": guid, "value1": "example", "dim": 64}
    assert api.get("/api/face/", params=mixture).status_code == 200


def test_the_same_picture_is_not_inverted_again(
    server: Server, api: httpx.Client, guid: str, photograph: bytes
) -> None:
    before = server.processor_seconds()["Inverter"]
    for files in ({"usrimg": ("me.jpg", photograph)}, {"image": ("x.jpg", photograph)}):
        assert api.post("/api/recoverlatent/", files=files).text == guid
    assert api.post("/api/recoverlatent", content=photograph).text == guid
    encoded = api.post("/api/encodeimage/", files={"usrimg": photograph}, data={"tryalign": "true"})
    assert encoded.json() == {"guid": guid, "did_align": True}
    assert server.processor_seconds()["Inverter"] - before < 1, "a search takes several"


def test_the_same_picture_asked_for_at_once_is_inverted_once(server: Server, photograph: bytes) -> None:
    picture = another(photograph)

    async def scenario() -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=180) as client:
            asked = (client.post("/api/recoverlatent/", content=picture) for _ in range(12))
            answers = await asyncio.gather(*asked)
        assert {answer.status_code for answer in answers} == {200}, "twelve inversions would be refused"
        assert len({answer.text for answer in answers}) == 1

    asyncio.run(scenario())


def test_without_alignment_the_picture_is_taken_as_it_is(api: httpx.Client) -> None:
    aligned = api.get("/api/face/", params={"value": "prosopon", "dim": 256, "format": "png"}).content
    answer = api.post("/api/encodeimage/", files={"usrimg": aligned}, data={"tryalign": "false"})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert set(document) == {"guid", "did_align"} and document["did_align"] is False
    made = Image.open(
        io.BytesIO(
            api.get("/api/face/", params={"guid": document["guid"], "dim": 256, "format": "png"}).content
        )
    )
    difference = np.asarray(made, float) - np.asarray(Image.open(io.BytesIO(aligned)), float)
    assert np.abs(difference).mean() < 45


def test_a_browser_gets_a_form(api: httpx.Client) -> None:
    for path in ("/api/encodeimage/", "/api/encodeimage"):
        answer = api.get(path)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
        assert 'name="usrimg"' in answer.text and 'enctype="multipart/form-data"' in answer.text


def test_every_origin_may_ask(api: httpx.Client) -> None:
    answer = api.post("/api/recoverlatent/", content=b"", headers={"Origin": "https://example.com"})
    assert answer.headers["access-control-allow-origin"] == "*"


# --------------------------------------------------------------------------------------------------- bad input


def test_a_picture_without_a_face_is_an_error(api: httpx.Client) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    assert "no face" in error_of(api.post("/api/recoverlatent/", content=png(noise)), 400)
    assert "no face" in error_of(api.post("/api/encodeimage/", files={"usrimg": png(noise)}), 400)


@pytest.mark.parametrize("data", [b"not a picture", b"", b"\xff\xd8\xff\xe0 half a jpeg", b"<svg></svg>"])
def test_what_is_no_picture_is_an_error(api: httpx.Client, data: bytes) -> None:
    assert error_of(api.post("/api/recoverlatent/", content=data), 400)
    assert error_of(api.post("/api/encodeimage/", files={"usrimg": ("a.jpg", data)}), 400)


def test_a_file_that_is_too_large_is_an_error(api: httpx.Client) -> None:
    large = b"\xff" * (Settings().photographs.max_bytes + 200_000)
    assert error_of(api.post("/api/recoverlatent/", content=large), 413)
    assert error_of(api.post("/api/encodeimage/", files={"usrimg": large}), 413)


def test_a_picture_of_too_many_pixels_is_an_error(api: httpx.Client) -> None:
    stream = io.BytesIO()
    Image.new("1", (9000, 9000)).save(stream, "PNG")
    assert "pixels" in error_of(api.post("/api/recoverlatent/", content=stream.getvalue()), 413)


def test_a_missing_file_and_another_kind_of_body_are_errors(api: httpx.Client) -> None:
    assert "usrimg" in error_of(api.post("/api/encodeimage/", data={"usrimg": "text"}), 400)
    assert "usrimg" in error_of(api.post("/api/encodeimage/", files={"other": ("", b"")}), 400)
    assert "usrimg" in error_of(api.post("/api/encodeimage/", json={"usrimg": "text"}), 400)
    assert error_of(api.get("/api/recoverlatent/"), 405)


# ---------------------------------------------------------------------------------------------- manners of work


def test_when_the_client_leaves_the_work_stops_and_others_are_served_meanwhile(
    server: Server, api: httpx.Client, photograph: bytes
) -> None:
    async def scenario() -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=180) as client:
            asking = asyncio.create_task(client.post("/api/recoverlatent/", content=another(photograph)))
            while not (await client.get("/api/queue/")).json()["queue"]:
                assert not asking.done()
                await asyncio.sleep(0.02)
            await leave(asking)

    asyncio.run(scenario())
    assert settled(api, 20)
    assert api.get("/api/face/", params={"value": str(uuid.uuid4()), "dim": 64}).status_code == 200


def test_more_inversions_than_the_server_takes_are_refused_at_once(
    server: Server, api: httpx.Client, photograph: bytes
) -> None:
    limits = Settings().deployments.inverter
    bound = limits.max_ongoing_requests + limits.max_queued_requests

    async def scenario() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
            asking = (
                client.post("/api/recoverlatent/", content=another(photograph)) for _ in range(bound + 10)
            )
            return await refusals(asking, 8)  # Each process keeps to the bound.

    for answer in asyncio.run(scenario()):
        assert int(answer.headers["retry-after"]) > 0 and "try again" in answer.json()["error"]
    assert settled(api, 20), "those who were not refused have left too"
