"""A server of its own for FaceCheck, whose index is filled before it starts."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deployments.state.face_archive import ArchivedFace
from tests.benchmarks.serving import Server, start, stop
from tests.conformance.facecheck_client import FaceCheckClient, fill_archive, new_token

PEOPLE = 24
PAGE = "https://example.org/team"


def archived(london: list[Path]) -> list[tuple[Path, ArchivedFace]]:
    """Neutral portraits, each on a page of its own, but for two on one page; of the first person, the smiling one as
    well, under the same group."""
    faces = [(path, ArchivedFace(f"https://example.org/{path.stem}")) for path in london[:PEOPLE]]
    first = london[0]
    smiling = first.with_name(first.name.replace("neutral", "smiling"))
    faces[0] = (first, ArchivedFace("https://example.org/a", group="first"))
    faces.append((smiling, ArchivedFace("https://example.org/b", group="first")))
    faces[1:3] = [(path, ArchivedFace(PAGE)) for path in london[1:3]]
    return faces


@pytest.fixture(scope="package")
def facecheck_server(
    tmp_path_factory: pytest.TempPathFactory, london: list[Path], models_mirror: None
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("facecheck")
    fill_archive(home, archived(london))
    server = start(home, {"apis": ["facecheck"]})
    try:
        yield server
    finally:
        stop(server)


@pytest.fixture
def client(facecheck_server: Server) -> FaceCheckClient:
    """With a token of its own, without limit."""
    _, token = new_token(facecheck_server.home)
    return FaceCheckClient(httpx.Client(base_url=facecheck_server.url, timeout=60), token)


@pytest.fixture
def charged(facecheck_server: Server) -> FaceCheckClient:
    """With a token that has ten credits."""
    _, token = new_token(facecheck_server.home, credits=10)
    return FaceCheckClient(httpx.Client(base_url=facecheck_server.url, timeout=60), token)
