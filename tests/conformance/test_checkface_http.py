"""CheckFace as a good citizen of the web: validators, caches, ranges, CORS, one computation for all, overload."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from prosopon.configs.settings import Settings
from tests.benchmarks.serving import Server
from tests.conformance.checkface_client import leave, refusals, settled

FACE = "/api/face/?value=example&dim=50"
FILM = "/api/mp4/?from_value=example&to_value=yeet&dim=64&num_frames=8"


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


A_PICTURE = 0.1
"""Seconds of a processor that a picture of 1024 px takes at the least."""


def generating(server: Server) -> float:
    """Seconds of a processor that the Generator has used."""
    return server.processor_seconds()["Generator"]


def film(value: str, dim: int = 32, frames: int = 40) -> str:
    return f"/api/mp4/?from_value={value}&to_value=end&dim={dim}&num_frames={frames}"


@pytest.mark.parametrize(
    "path",
    ["/api/face/?value=cached&dim=1024", "/api/mp4/?from_value=cached&to_value=b&dim=64&num_frames=8"],
)
def test_the_same_request_gives_the_same_bytes_from_a_cache(
    server: Server, api: httpx.Client, path: str
) -> None:
    first = api.get(path)
    before = generating(server)
    second = api.get(path)
    assert generating(server) - before < A_PICTURE, "nothing is generated"
    assert first.content == second.content and first.headers["etag"] == second.headers["etag"]
    assert "max-age" in first.headers["cache-control"] and "public" in first.headers["cache-control"]


def test_values_and_their_seeds_share_results(api: httpx.Client) -> None:
    by_seed = api.get("/api/face/?seed=78062172&dim=50")
    assert by_seed.headers["etag"] == api.get(FACE).headers["etag"]
    assert api.get("/api/face/?value=example&dim=51").headers["etag"] != by_seed.headers["etag"]


def test_who_has_it_already_is_told_so(api: httpx.Client) -> None:
    etag = api.get(FACE).headers["etag"]
    for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = api.get(FACE, headers={"If-None-Match": condition})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert api.get(FACE, headers={"If-None-Match": '"other"'}).status_code == 200


def test_head_has_the_headers_of_get(api: httpx.Client) -> None:
    for path in (FACE, FILM):
        whole, head = api.get(path), api.head(path)
        assert head.status_code == 200 and head.content == b""
        for name in ("content-length", "content-type", "etag", "accept-ranges"):
            assert head.headers[name] == whole.headers[name]


def test_ranges_of_a_film(api: httpx.Client) -> None:
    whole = api.get(FILM).content
    size = len(whole)
    for asked, start, end in (
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, size - 1),
        ("bytes=-50", size - 50, size - 1),
        ("bytes=0-", 0, size - 1),
        (f"bytes=10-{size + 1000}", 10, size - 1),
        (f"bytes=-{size + 1000}", 0, size - 1),
    ):
        answer = api.get(FILM, headers={"Range": asked})
        assert answer.status_code == 206, asked
        assert answer.headers["content-range"] == f"bytes {start}-{end}/{size}"
        assert answer.content == whole[start : end + 1]


def test_ranges_past_the_end_and_nonsense(api: httpx.Client) -> None:
    whole = api.get(FILM)
    size = len(whole.content)
    for asked in (f"bytes={size}-", "bytes=-0", "bytes=9-3"):
        answer = api.get(FILM, headers={"Range": asked})
        assert answer.status_code == 416, asked
        assert answer.headers["content-range"] == f"bytes */{size}"
    for asked in ("bytes=-", "pages=1-2", "bytes=a-b", "bytes=0-1,5-6"):
        assert api.get(FILM, headers={"Range": asked}).status_code == 200, asked


def test_a_range_of_another_version_is_not_mixed_in(api: httpx.Client) -> None:
    etag = api.get(FILM).headers["etag"]
    current = api.get(FILM, headers={"Range": "bytes=0-9", "If-Range": etag})
    outdated = api.get(FILM, headers={"Range": "bytes=0-9", "If-Range": '"old"'})
    assert (current.status_code, outdated.status_code) == (206, 200)


def test_every_origin_may_ask(api: httpx.Client) -> None:
    origin = {"Origin": "https://example.com"}
    for answer in (api.get(FACE, headers=origin), api.get(FACE), api.get("/api/face/?seed=x")):
        assert answer.headers["access-control-allow-origin"] == "*"
    preflight = api.options(
        "/api/registerlatent/",
        headers={
            **origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )
    assert preflight.status_code == 204
    assert "content-type" in preflight.headers["access-control-allow-headers"].split(", ")
    assert "POST" in preflight.headers["access-control-allow-methods"]


def test_concurrent_identical_requests_wait_for_one_computation(server: Server) -> None:
    path = film(f"shared-{uuid.uuid4()}", frames=10)

    async def scenario() -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
            started = generating(server)
            await client.get(film(f"alone-{uuid.uuid4()}", frames=10))
            alone = generating(server) - started
            answers = await asyncio.gather(*(client.get(path) for _ in range(20)))
            together = generating(server) - started - alone
        assert {answer.status_code for answer in answers} == {200}, "20 computations would be refused"
        assert len({answer.content for answer in answers}) == 1
        assert together < 3 * alone

    asyncio.run(scenario())


async def made(client: httpx.AsyncClient, path: str) -> None:
    """Return once some pictures of the film are made and others are not: how soon depends on the machine."""
    asked = path.replace("/mp4/", "/mp4/progress/")
    for _ in range(600):
        told = (await client.get(asked)).json()
        assert told["state"] in ("absent", "making"), "the film is to be long enough to be met in the making"
        if told["made"] > 0:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("no picture was made")


def test_when_the_client_leaves_the_work_stops(server: Server, api: httpx.Client) -> None:
    path = film(f"left-{uuid.uuid4()}", dim=512, frames=200)

    async def scenario() -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
            asking = asyncio.create_task(client.get(path))
            await made(client, path)
            await leave(asking)

    asyncio.run(scenario())
    assert settled(api)
    told = api.get(path.replace("/mp4/", "/mp4/progress/")).json()
    assert (told["state"], told["pictures"]) == ("absent", 101), "it is made no further"


def test_how_far_a_film_is(server: Server, api: httpx.Client) -> None:
    path = film(f"followed-{uuid.uuid4()}", dim=64, frames=40)
    asked = path.replace("/mp4/", "/mp4/progress/")
    absent = {"state": "absent", "made": 0, "pictures": 21}  # 40 frames there and back.
    assert api.get(asked).json() == absent

    async def scenario() -> list[dict[str, Any]]:
        told = []
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
            making = asyncio.create_task(client.get(path))
            while not making.done():
                told.append((await client.get(asked)).json())
                await asyncio.sleep(0.05)
            assert (await making).status_code == 200
        return told

    told = asyncio.run(scenario())
    counted = [one["made"] for one in told if one["state"] == "making"]
    assert counted == sorted(counted) and len(set(counted)) > 2 and counted[-1] <= 21
    assert api.get(asked).json() == {"state": "ready", "made": 21, "pictures": 21}
    assert api.get(asked.replace("/mp4/", "/gif/")).json() == absent, "another film"
    assert api.get(asked.replace("/mp4/", "/avi/")).status_code == 400


def test_when_one_of_two_clients_leaves_the_other_gets_the_film(server: Server) -> None:
    path = film(f"shared-{uuid.uuid4()}", dim=64, frames=60)

    async def scenario() -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
            patient, leaving = (asyncio.create_task(client.get(path)) for _ in range(2))
            await made(client, path)
            await leave(leaving)
            assert (await patient).status_code == 200

    asyncio.run(scenario())


def test_more_films_than_the_server_takes_are_refused_at_once(server: Server, api: httpx.Client) -> None:
    """50 clients ask for 200 frames of 1024 pixels each: a bounded number waits, the others have answers before."""
    limits = Settings().deployments.video_encoder
    bound = limits.max_ongoing_requests + limits.max_queued_requests

    async def scenario() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=120) as client:
            paths = [film(f"flood-{number}-{uuid.uuid4()}", dim=1024, frames=200) for number in range(50)]
            return await refusals(map(client.get, paths), 50 - bound)

    for answer in asyncio.run(scenario()):
        assert int(answer.headers["retry-after"]) > 0
        assert "try again" in answer.json()["error"]
    assert settled(api), "those who waited have left"
    assert api.get(f"/api/face/?value={uuid.uuid4()}&dim=20").status_code == 200
