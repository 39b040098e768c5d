"""What the console is made of: files of this installation alone, kept by browsers while they are the same."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from prosopon.configs.settings import ModelSettings, Settings
from prosopon.pipelines.http import pages as console
from tests.paths import ROOT

FILES = Path(console.__file__).parent.parent / "console"


class Client:
    """Asks the console's routes, without a server."""

    def __init__(self, settings: Settings) -> None:
        self._transport = httpx.ASGITransport(Starlette(routes=console.routes(settings)))

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://console") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(ask())


@pytest.fixture
def client() -> Client:
    return Client(Settings(apis=("compreface", "checkface")))


def assets_of(page: httpx.Response) -> list[str]:
    return re.findall(r'(?:src|href)="(/console/assets/[^"]+)"', page.text)


def test_a_browser_that_asks_for_the_root_is_shown_the_console(client: Client) -> None:
    answer = client.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["location"]) == (307, "/console")
    assert client.get("/", headers={"Accept": "application/json"}).status_code == 404


def test_the_page_is_asked_for_anew_and_what_it_names_is_kept_for_ever(client: Client) -> None:
    page = client.get("/console")
    assert page.headers["cache-control"] == "no-cache"
    again = client.get("/console", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    names = assets_of(page)
    assert len(names) > 20
    for name in names:
        answer = client.get(name)
        assert answer.status_code == 200, name
        assert "immutable" in answer.headers["cache-control"]


def test_compressed_and_plain_are_one_file_with_two_validators(client: Client) -> None:
    name = next(name for name in assets_of(client.get("/console")) if name.endswith("/app.js"))
    zipped = client.get(name, headers={"Accept-Encoding": "gzip"})
    plain = client.get(name, headers={"Accept-Encoding": "identity"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert zipped.content == plain.content
    assert zipped.headers["etag"] != plain.headers["etag"]
    assert plain.headers["vary"] == "Accept-Encoding"
    assert plain.headers["content-type"].startswith("text/javascript")


def test_a_page_of_another_version_gets_the_files_but_does_not_keep_them(client: Client) -> None:
    answer = client.get("/console/assets/0123456789abcdef/app.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    "path", ["..%2Fconsole.py", "css/..%2F..%2Fconsole.py", "%2e%2e/%2e%2e/pyproject.toml", "none.js", ""]
)
def test_nothing_but_the_files_of_the_console_is_served(client: Client, path: str) -> None:
    assert client.get(f"/console/assets/0/{path}").status_code == 404


def test_the_policy_allows_no_other_host_and_no_inline_script(client: Client) -> None:
    for path in ("/console", "/docs/compreface"):
        policy = client.get(path).headers["content-security-policy"]
        directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert directives["default-src"] == "'self'"
        assert directives["img-src"] == "'self' data: blob:"
        assert "script-src" not in directives
        assert "http" not in policy


def test_no_file_names_another_host() -> None:
    for path in FILES.rglob("*.*"):
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path.name


def test_every_file_is_part_of_the_package() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["prosopon.pipelines"]
    packaged = {path for pattern in patterns for path in FILES.parent.glob(pattern)}
    assert {path for path in FILES.rglob("*") if path.is_file()} <= packaged


def test_documents_exist_for_what_is_served_alone(client: Client) -> None:
    assert "swagger-ui-bundle.js" in client.get("/docs/checkface").text
    assert client.get("/docs/facecheck").status_code == 404
    assert client.get("/docs/%3Cscript%3E").status_code == 404


def test_everybody_may_know_what_is_served_and_not_where_it_lies(tmp_path: Path) -> None:
    mine = tmp_path / "secret" / "mine.onnx"
    mine.parent.mkdir()
    mine.write_bytes(b"of the operator")
    models = ModelSettings(overrides={"detector": str(mine)})
    client = Client(Settings(apis=("compreface",), models=models))
    text = client.get("/console/config.json").text
    assert "secret" not in text
    document = client.get("/console/config.json").json()
    assert [api["name"] for api in document["apis"]] == ["compreface"]
    roles = {model["role"]: model for model in document["models"]}
    assert roles["detector"]["name"] == "mine.onnx"
    assert roles["embedder"]["licence"] == "Apache-2.0"
    assert roles["landmarks"]["commercial"] is True
    assert roles["embedder"]["device"] == "CPU"
