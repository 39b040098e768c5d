"""Ray's dashboard, as the start of a server tells of it."""

import re
from pathlib import Path
from typing import Any

from tests.benchmarks.serving import Server
from tests.browser.console import DESKTOP

_SHOWN = re.compile(r"dashboard +(http://127\.0\.0\.1:\d+), Ray's; its token is in (\S+)")


def test_the_dashboard_opens_with_the_token_and_shows_every_deployment_healthy(
    chromium: Any, index: Server, shots: Path
) -> None:
    said = _SHOWN.search(index.log.read_text())
    assert said, "the start says where it is, and how one signs in"
    address, token = said[1], Path(said[2])
    assert token.stat().st_mode & 0o77 == 0, "the token is its owner's alone"
    page = chromium.new_page(viewport=DESKTOP)
    try:
        page.goto(f"{address}/#/serve")
        page.get_by_text("Authentication Token Required").wait_for()
        assert page.get_by_text("FaceIndex").count() == 0, "nothing is shown before"
        page.get_by_placeholder("Enter your authentication token").fill(token.read_text())
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("FaceIndex").first.wait_for()
        table = page.get_by_role("row").filter(has_text="View config")
        # Deployments are told one to a line, behind the application that they are of.
        rows = [row for row in table.all_inner_texts() if "RUNNING" not in row]
        names = {"Detector", "FaceIndex", "Ingress"}
        assert {name for name in names if any(name in row for row in rows)} == names
        assert all("HEALTHY" in row and "UNHEALTHY" not in row for row in rows), rows
        page.screenshot(path=shots / "ray_dashboard.png")
    finally:
        page.close()
