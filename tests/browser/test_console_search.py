"""The page Search does its main job against a running server with an index."""

import json
import re
from pathlib import Path

from PIL import Image

from prosopon.deployments.state.keys import SCOPES
from tests.benchmarks.serving import Server
from tests.browser.conftest import PEOPLE, OpenConsole
from tests.browser.console import PHONE, Console
from tests.browser.test_console_accessibility import findings
from tests.conformance.client import new_key
from tests.conformance.facecheck_client import new_token
from tests.paths import smiling


def search(console: Console, *pictures: Path) -> None:
    console.choose("Pictures of one person", *pictures)
    console.page.get_by_role("button", name="Search", exact=True).click()
    console.page.get_by_role("heading", name=re.compile(r"\d+ results?|Nothing alike")).wait_for()


def test_a_person_is_found_first_in_the_highest_band_and_paid_for(
    open_console: OpenConsole, index: Server, london: list[Path]
) -> None:
    _, token = new_token(index.home, credits=10)
    console = open_console(index)
    page = console.page
    console.sign_in(token)
    console.visit("Search")
    page.get_by_text(f"{PEOPLE} faces are indexed. 10 credits left.").wait_for()
    search(console, smiling(london[3]))
    best = page.locator(".result").first
    score = int(best.locator("b").inner_text())
    link = best.get_by_role("link")
    assert link.get_attribute("href") == f"https://example.org/{london[3].stem}"
    assert link.get_attribute("rel") == "noopener noreferrer"
    assert best.locator("img").evaluate("async image => { await image.decode(); return image.naturalWidth; }")
    band = page.locator(".band").first.get_attribute("aria-label")
    least = int(re.search(r"(\d+) to", band).group(1))  # type: ignore[union-attr]
    assert score >= least >= 70
    page.get_by_text("7 credits left").wait_for()
    assert page.locator(".result").all_inner_texts() == sorted(
        page.locator(".result").all_inner_texts(), key=lambda text: -int(text.split()[0])
    )
    console.shot("search")
    best.get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("link").get_attribute("href") == f"https://example.org/{london[3].stem}"
    dialog.get_by_role("button", name="Close").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as JSON").click()
    exported = json.loads(Path(download.value.path()).read_text())
    assert exported[0]["score"] == score and len(exported) == page.locator(".result").count()


def test_three_pictures_make_one_search_and_a_fourth_is_refused(
    open_console: OpenConsole, index: Server, london: list[Path]
) -> None:
    _, token = new_token(index.home)
    console = open_console(index, viewport=PHONE, color_scheme="dark")
    console.sign_in(token)
    console.visit("Search")
    console.choose("Pictures of one person", london[5], smiling(london[5]), london[5])
    console.choose("Pictures of one person", london[6])
    console.page.get_by_text("There are 3 pictures already").wait_for()
    console.page.get_by_role("button", name="Search", exact=True).click()
    console.page.get_by_role("heading", name=re.compile(r"\d+ result")).wait_for()
    assert console.page.locator(".chosen figure").count() == 6, "three chosen, three faces found in them"
    assert not console.overflows()
    console.shot("phone_dark_search")


def test_what_cannot_be_searched_is_told_and_costs_nothing(
    open_console: OpenConsole, index: Server, london: list[Path], tmp_path: Path
) -> None:
    wall = tmp_path / "wall.png"
    Image.new("RGB", (400, 300), "lightgray").save(wall)
    _, token = new_token(index.home, credits=2)
    console = open_console(index)
    page = console.page
    console.sign_in(token)
    console.visit("Search")
    page.get_by_text("No credits are left for a search.").wait_for()
    console.choose("Pictures of one person", wall)
    page.get_by_role("button", name="Search", exact=True).click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "no face" in alert.inner_text().lower()
    page.get_by_role("button", name="Remove wall.png").click()
    console.choose("Pictures of one person", london[4])
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("Add to this key's balance").wait_for()
    assert page.get_by_role("button", name="Remove").count() == 1, "the picture is kept"


def test_axe_finds_nothing_serious_in_results(
    open_console: OpenConsole, index: Server, london: list[Path]
) -> None:
    _, token = new_token(index.home)
    # The rules are a script that the console's policy rightly keeps out.
    console = open_console(index, bypass_csp=True)
    console.sign_in(token)
    console.visit("Search")
    search(console, smiling(london[3]))
    assert findings(console) == []


def test_a_folder_from_the_browser_fills_the_index(
    open_console: OpenConsole, server: Server, london: list[Path], tmp_path: Path
) -> None:
    """On the session's server, whose index nobody else fills."""
    album = tmp_path / "album"
    (album / "ann b").mkdir(parents=True)
    (album / ".thumbnails").mkdir()
    for path in (album / "ann b" / "one.jpg", album / ".thumbnails" / "one.jpg"):
        path.write_bytes(london[40].read_bytes())
    Image.new("RGB", (400, 300), "lightgray").save(album / "wall.png")
    (album / "broken.jpg").write_bytes(b"no picture")
    (album / "notes.txt").write_text("whom we met")

    console = open_console(viewport=PHONE)
    page = console.page
    console.expected = {400}
    console.sign_in(new_key(server, *SCOPES))
    console.visit("Search")
    adding = page.locator("details", has_text="Add pictures to the index")
    page.get_by_text(re.compile(r"\d+ faces are indexed")).wait_for()
    if adding.get_attribute("open") != "":
        adding.locator("summary").click()
    page.get_by_label("Where these pictures are on the web").fill("https://example.org/people")
    page.get_by_label("Choose a folder").set_input_files(album)
    told = adding.locator(".notice")
    told.wait_for()
    assert told.inner_text() == (
        "1 face of 1 picture added; 1 without a face; 1 with a problem; 2 left out: no pictures, or hidden."
    )
    assert adding.locator(".problems").inner_text().startswith("album/broken.jpg: ")
    assert not console.overflows()
    console.shot("phone_filling")

    search(console, smiling(london[40]))
    place = "https://example.org/people/album/ann%20b/one.jpg"
    assert page.locator(".result").first.get_by_role("link").get_attribute("href") == place

    page.get_by_label("Choose a folder").set_input_files(album)
    adding.get_by_text("0 faces of 0 pictures added; 2 there already; 1 with a problem").wait_for()


def test_who_may_search_alone_is_not_offered_to_fill_the_index(
    open_console: OpenConsole, index: Server
) -> None:
    _, token = new_token(index.home)
    console = open_console(index)
    console.sign_in(token)
    console.visit("Search")
    console.page.get_by_text("faces are indexed").wait_for()
    assert console.page.get_by_text("Add pictures to the index").count() == 0
    files = {"file": b"no matter what"}
    refused = index.connect().post(
        "/admin/index", params={"url": "a.jpg"}, files=files, headers={"x-api-key": token}
    )
    assert refused.status_code == 401
