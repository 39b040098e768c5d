"""Below a path of another server's: behind a proxy that shows this one at `/faces`, with or without that beginning."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from prosopon.configs.settings import HttpSettings
from prosopon.pipelines.http.routing import without_prefix
from tests.conformance.client import new_key
from tests.support.in_process import InProcess, in_process

PUBLIC = "https://example.org/apps/faces"
PREFIX = "/apps/faces"


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, models_mirror: None) -> Iterator[InProcess]:
    args = {"apis": ["compreface", "aifaceswap"], "http": {"public_url": PUBLIC}}
    with in_process(tmp_path_factory.mktemp("behind"), args) as running:
        yield running


@pytest.fixture
def client(behind: InProcess) -> Iterator[httpx.Client]:
    with behind.connect() as client:
        yield client


def test_every_address_of_a_page_lies_below_the_prefix_and_is_there(client: httpx.Client) -> None:
    for page in ("/console", "/docs/compreface"):
        text = client.get(PREFIX + page).text
        local = set(re.findall(r'(?:src|href|data-document)="(/[^"]*)"', text))
        assert len(local) > 5
        for address in local:
            assert address.startswith(f"{PREFIX}/"), address
            assert client.get(address).status_code == 200, address


def test_redirects_and_lists_of_documents_stay_below_the_prefix(client: httpx.Client) -> None:
    at_home = client.get(f"{PREFIX}/", headers={"Accept": "text/html"})
    assert at_home.headers["location"] == f"{PREFIX}/console"
    assert client.get(f"{PREFIX}/docs").headers["location"].startswith(f"{PREFIX}/console#")
    config = client.get(f"{PREFIX}/console/config.json").json()
    named = [api[place] for api in config["apis"] for place in ("documentation", "openapi")]
    named += client.get(f"{PREFIX}/nothing").json()["documentation"]
    assert len(named) == 6
    for address in named:
        assert client.get(address).status_code == 200, address


@pytest.mark.parametrize("api", ["compreface", "aifaceswap"])
def test_a_document_names_the_prefix_as_its_server(client: httpx.Client, api: str) -> None:
    assert client.get(f"{PREFIX}/openapi/{api}.json").json()["servers"] == [{"url": PREFIX}]


def test_routes_answer_whether_the_proxy_keeps_the_prefix_or_takes_it_off(
    client: httpx.Client, behind: InProcess, london: list[Path]
) -> None:
    client.headers["x-api-key"] = new_key(behind, "recognition")
    files = {"file": ("face.jpg", london[0].read_bytes())}
    for subject, before in (("Ann%2FLee", PREFIX), ("Bob", "")):
        path = f"{before}/api/v1/recognition/faces?subject={subject}"
        assert client.post(path, files=files).status_code == 201
    assert set(client.get("/api/v1/recognition/subjects").json()["subjects"]) == {"Ann/Lee", "Bob"}
    assert client.delete(f"{PREFIX}/api/v1/recognition/subjects/Ann%2FLee").json() == {"subject": "Ann/Lee"}
    assert client.get("/apps/facesapi/v1/recognition/subjects").status_code == 404


def test_a_results_url_is_the_public_one_whatever_the_host_header_says(
    client: httpx.Client, behind: InProcess, london: list[Path]
) -> None:
    client.headers["Authorization"] = f"Bearer {new_key(behind, 'aifaceswap')}"
    client.headers["Host"] = "elsewhere.example"
    path, data = f"{PREFIX}/api/aifaceswap/v1", london[0].read_bytes()
    files = [(name, (london[0].name, data)) for name in ("source_image", "face_image")]
    accepted = client.post(f"{path}/faceswap", files=files)
    assert accepted.status_code == 200, accepted.text
    task = f"{path}/task/{accepted.json()['data']['task_id']}"
    while (done := client.get(task).json()["data"])["success"] is None:
        pass
    assert done["result_image"].startswith(f"{PUBLIC}/api/aifaceswap/v1/result/")
    assert client.get(done["result_image"].removeprefix("https://example.org")).status_code == 200


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/faces/api/face/", "/api/face/"),
        ("/faces", "/"),
        ("/faces/", "/"),
        ("/faces//api", "//api"),
        ("/facesapi", "/facesapi"),
        ("/api/faces/x", "/api/faces/x"),
    ],
)
def test_only_a_whole_beginning_is_taken_off(path: str, expected: str) -> None:
    scope = {"type": "http", "path": path, "raw_path": path.encode()}
    assert without_prefix(scope, "/faces")["path"] == expected


@pytest.mark.parametrize(
    "url", ["example.org", "https://example.org/", "https://e/a b", 'https://e/"><script>']
)
def test_a_public_url_is_an_address_without_a_slash_at_its_end(url: str) -> None:
    with pytest.raises(ValidationError):
        HttpSettings(public_url=url)
