"""FaceCheck as its clients call it: the vendor's example loop, with the settings that a server has by default."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conformance.conftest import archived
from tests.conformance.facecheck_client import fill_archive, new_token
from tests.paths import smiling
from tests.support.in_process import InProcess, in_process


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, london: list[Path], models_mirror: None
) -> Iterator[InProcess]:
    home = tmp_path_factory.mktemp("facecheck-clients")
    fill_archive(home, archived(london))
    with in_process(home, {"apis": ["facecheck"]}) as running:
        yield running


@pytest.fixture
def site(served: InProcess) -> httpx.Client:
    client = served.connect()
    client.headers = httpx.Headers(
        {"accept": "application/json", "Authorization": new_token(served.home, credits=10)[1]}
    )
    return client


def upload(site: httpx.Client, *pictures: Path) -> dict:
    files = [("images", picture.open("rb")) for picture in pictures]
    return site.post("/api/upload_pic", files=files, data={"id_search": ""}).json()


def loop(site: httpx.Client, id_search: str, demo: bool = False) -> tuple[list[dict], str]:
    """What the vendor's page shows: it reads `output` of every answer, asks again, and stops at an error."""
    body = {"id_search": id_search, "with_progress": True, "status_only": False, "demo": demo}
    for _ in range(600):
        response = site.post("/api/search", json=body).json()
        assert not response["error"], response
        if response["output"]:
            return response["output"]["items"], response["message"]
        time.sleep(0.05)
    raise AssertionError("the search did not end")


def test_the_vendors_loop_runs_to_its_end(site: httpx.Client, london: list[Path]) -> None:
    uploaded = upload(site, smiling(london[3]))
    assert not uploaded["error"] and uploaded["output"] is None
    items, _ = loop(site, uploaded["id_search"])
    assert items[0]["url"].endswith(london[3].stem)
    assert site.post("/api/info").json()["remaining_credits"] == 7


def test_a_demo_costs_nothing(site: httpx.Client, london: list[Path]) -> None:
    items, _ = loop(site, upload(site, smiling(london[4]))["id_search"], demo=True)
    assert items and site.post("/api/info").json()["remaining_credits"] == 10


def test_pictures_of_several_people_are_told(site: httpx.Client, london: list[Path]) -> None:
    _, alone = loop(site, upload(site, london[0], smiling(london[0]))["id_search"])
    assert alone == "The search is done."
    _, two = loop(site, upload(site, london[0], london[1])["id_search"])
    assert "different people" in two
    _, one_stranger = loop(site, upload(site, london[2], london[5], smiling(london[2]))["id_search"])
    assert "Picture 2 is unlike the others" in one_stranger
