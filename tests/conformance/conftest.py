"""Servers in this process: for CompreFace and Trueface, for CheckFace and aifaceswap, and for FaceCheck, whose index is
filled before it starts. Pictures outside for aifaceswap."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from prosopon.deployments.state.galleries.face_archive import ArchivedFace
from tests.conformance.facecheck_client import FaceCheckClient, fill_archive, new_token
from tests.loopback import Loopback, loopback
from tests.paths import smiling
from tests.support.in_process import InProcess, OverHttp, in_process, over_http

PEOPLE = 24
PAGE = "https://example.org/team"


def archived(london: list[Path]) -> list[tuple[Path, ArchivedFace]]:
    """Neutral portraits, each on a page of its own, but for two on one page; of the first person, the smiling one as
    well, under the same group."""
    faces = [(path, ArchivedFace(f"https://example.org/{path.stem}")) for path in london[:PEOPLE]]
    faces[0] = (london[0], ArchivedFace("https://example.org/a", group="first"))
    faces.append((smiling(london[0]), ArchivedFace("https://example.org/b", group="first")))
    faces[1:3] = [(path, ArchivedFace(PAGE)) for path in london[1:3]]
    return faces


@pytest.fixture(scope="session")
def faces_in_process(tmp_path_factory: pytest.TempPathFactory, models_mirror: None) -> Iterator[InProcess]:
    """CompreFace and Trueface in this process, over an empty state; every test uses keys and subjects of its own."""
    with in_process(tmp_path_factory.mktemp("faces"), {"apis": ["compreface", "trueface"]}) as running:
        yield running


@pytest.fixture(scope="session")
def makers_in_process(tmp_path_factory: pytest.TempPathFactory, models_mirror: None) -> Iterator[OverHttp]:
    """CheckFace and aifaceswap in this process, over an empty state; set as the session's server is."""
    args = {
        "apis": ["checkface", "aifaceswap"],
        "fetch": {"allow": ["127.0.0.1"], "seconds": 3},
        "webhooks": {"first_pause_seconds": 1},
        "generation": {"inversion_steps": 3},
    }
    with over_http(tmp_path_factory.mktemp("makers"), args) as running:
        yield running


@pytest.fixture(scope="package")
def facecheck_server(
    tmp_path_factory: pytest.TempPathFactory, london: list[Path], models_mirror: None
) -> Iterator[OverHttp]:
    home = tmp_path_factory.mktemp("facecheck")
    fill_archive(home, archived(london))
    # The original document does not allow null: with it as a validator, absent outputs are left out.
    with over_http(home, {"apis": ["facecheck"], "facecheck": {"null_output": False}}) as server:
        yield server


@pytest.fixture
def client(facecheck_server: OverHttp) -> FaceCheckClient:
    """With a token of its own, without limit."""
    _, token = new_token(facecheck_server.home)
    return FaceCheckClient(facecheck_server.connect(), token)


@pytest.fixture
def charged(facecheck_server: OverHttp) -> FaceCheckClient:
    """With a token that has ten credits."""
    _, token = new_token(facecheck_server.home, credits=10)
    return FaceCheckClient(facecheck_server.connect(), token)


@pytest.fixture(scope="module")
def web(london: list[Path], group_picture: Path) -> Iterator[Loopback]:
    """Six faces and a group at addresses outside; it records the webhooks that a module's tests cause."""
    with loopback() as outside:
        for number, path in enumerate(london[:6]):
            outside.add(f"/face{number}", path.read_bytes())
        outside.add("/group", group_picture.read_bytes())
        yield outside
