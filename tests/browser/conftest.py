"""One browser for all tests, and a console per test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from prosopon.deployments.state.galleries.face_archive import ArchivedFace
from tests.benchmarks.serving import Server, serving_at
from tests.browser.chromium import browser
from tests.browser.console import Console, console, folder_of_shots
from tests.conformance.facecheck_client import fill_archive
from tests.support.grafana import grafana
from tests.support.in_process import Listening

PEOPLE = 60
OpenConsole = Callable[..., Console]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture(scope="package")
def shots() -> Path | None:
    return folder_of_shots()


@pytest.fixture(scope="package")
def monitoring() -> Iterator[str]:
    """The URL of what stands for Grafana and Prometheus."""
    with grafana() as url:
        yield url


@pytest.fixture(scope="package")
def index(tmp_path_factory: pytest.TempPathFactory, london: list[Path], monitoring: str) -> Iterator[Server]:
    """A server that searches, with Ray's dashboard, which knows of a Grafana; its index holds one picture of each of
    some people."""
    home = tmp_path_factory.mktemp("index")
    pages = [(path, ArchivedFace(f"https://example.org/{path.stem}")) for path in london[:PEOPLE]]
    fill_archive(home, pages)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_GRAFANA_HOST", monitoring)
        environment.setenv("RAY_PROMETHEUS_HOST", monitoring)
        with serving_at(home, {"apis": ["facecheck"]}, dashboard=True) as server:
            yield server


@pytest.fixture
def open_console(chromium: Any, shots: Path | None, request: pytest.FixtureRequest) -> Iterator[OpenConsole]:
    """Opens consoles of the session's server, or of the one given as `at`; they are checked when the test is over."""
    with ExitStack() as stack:

        def open_one(at: Listening | None = None, **context: Any) -> Console:
            server = at or request.getfixturevalue("server")
            return stack.enter_context(console(chromium, server, shots, **context))

        yield open_one
