"""Ray's dashboard, as the start of a server tells of it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.benchmarks.serving import Server
from tests.browser.console import DESKTOP

_SHOWN = re.compile(r"dashboard +(http://127\.0\.0\.1:\d+), Ray's; its token is in (\S+)")


@dataclass(frozen=True)
class Shown:
    """What the start of a server says of the dashboard."""

    address: str
    token: Path


@pytest.fixture
def shown(index: Server) -> Shown:
    said = _SHOWN.search(index.log.read_text())
    assert said, "the start says where it is, and how one signs in"
    return Shown(said[1], Path(said[2]))


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    opened = chromium.new_page(viewport=DESKTOP)
    yield opened
    opened.close()


def sign_in(page: Any, shown: Shown) -> None:
    page.goto(f"{shown.address}/#/serve")
    page.get_by_text("Authentication Token Required").wait_for()
    assert page.get_by_text("FaceIndex").count() == 0, "nothing is shown before"
    page.get_by_placeholder("Enter your authentication token").fill(shown.token.read_text())
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("FaceIndex").first.wait_for()


def test_the_dashboard_opens_with_the_token_and_shows_every_deployment_healthy(
    page: Any, shown: Shown, shots: Path | None
) -> None:
    assert shown.token.stat().st_mode & 0o77 == 0, "the token is its owner's alone"
    sign_in(page, shown)
    table = page.get_by_role("row").filter(has_text="View config")
    # Deployments are told one to a line, behind the application that they are of.
    rows = [row for row in table.all_inner_texts() if "RUNNING" not in row]
    names = {"Detector", "FaceIndex", "Ingress"}
    assert {name for name in names if any(name in row for row in rows)} == names
    assert all("HEALTHY" in row and "UNHEALTHY" not in row for row in rows), rows
    if shots:
        page.screenshot(path=shots / "ray_dashboard.png")


def test_the_dashboard_embeds_panels_that_the_configured_grafana_is_given(
    page: Any, shown: Shown, monitoring: str, shots: Path | None
) -> None:
    sign_in(page, shown)
    headers = {"Authorization": f"Bearer {shown.token.read_text().strip()}"}
    told = httpx.get(f"{shown.address}/api/grafana_health", headers=headers).json()["data"]
    assert told["grafanaHost"] == monitoring
    # What a Grafana reads that follows Ray's folder.
    (file,) = Path(f"/tmp/ray/{told['sessionName']}").glob(
        "metrics/grafana/dashboards/serve_grafana_dashboard.json"
    )
    given = json.loads(file.read_text())
    frames = page.frame_locator("iframe")
    frames.first.get_by_text("panel").wait_for()
    embedded = [urlsplit(frame.url) for frame in page.frames if frame.url.startswith(f"{monitoring}/d-solo/")]
    assert len(embedded) >= 3, "requests, errors and times of the application"
    panels = {panel["id"] for panel in _panels(given)}
    for address in embedded:
        assert address.path.split("/")[2] == given["uid"]
        assert int(parse_qs(address.query)["panelId"][0]) in panels
    if shots:
        page.screenshot(path=shots / "ray_dashboard_grafana.png", full_page=True)


def _panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Of its rows, too."""
    return [one for panel in dashboard["panels"] for one in (panel, *panel.get("panels", []))]
