"""The page Swap does its main job against the running server."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from prosopon.deployments.state.keys import SCOPES
from tests.benchmarks.serving import Server
from tests.browser.conftest import OpenConsole
from tests.browser.console import PHONE, Console
from tests.browser.test_console_accessibility import findings
from tests.conformance.client import new_key
from tests.support.films import moved, mp4

_PATIENCE = 120_000


def download(console: Console, folder: Path) -> Image.Image:
    console.page.get_by_role("heading", name="The result").wait_for(timeout=_PATIENCE)
    with console.page.expect_download() as saved:
        console.page.get_by_role("button", name="Download").click()
    path = folder / saved.value.suggested_filename
    saved.value.save_as(path)
    return Image.open(path).convert("RGB")


def changed(before: Path, after: Image.Image) -> tuple[int, int, int, int]:
    """The part of the picture in which anything is visibly another."""
    difference = ImageChops.difference(Image.open(before).convert("RGB"), after).convert("L")
    box = difference.point(lambda value: 255 if value > 24 else 0).getbbox()
    assert box is not None
    return box


def test_a_face_is_put_into_a_picture_and_the_rest_stays(
    open_console: OpenConsole, server: Server, london: list[Path], tmp_path: Path
) -> None:
    console = open_console()
    console.sign_in(new_key(server, *SCOPES))
    console.visit("Swap")
    console.choose("The picture to change", london[8])
    console.choose("The face to put in", london[12])
    console.page.get_by_text("Costs 2 points.").first.wait_for()
    console.page.get_by_role("button", name="Swap", exact=True).click()
    result = download(console, tmp_path)
    assert result.size == Image.open(london[8]).size
    x1, _, x2, _ = changed(london[8], result)
    assert 100 < x1 < x2 < 540, "the face is in the middle of its portrait"
    seam = console.page.get_by_label("Before and after")
    seam.fill("80")
    split = console.page.locator(".compare").evaluate(
        "view => getComputedStyle(view).getPropertyValue('--split')"
    )
    assert split == "80%"
    seam.fill("50")
    console.shot("swap")


def test_a_film_shows_how_far_it_is_and_plays(
    open_console: OpenConsole, server: Server, london: list[Path], tmp_path: Path
) -> None:
    portrait = np.asarray(Image.open(london[8]).convert("RGB").resize((320, 320)))
    moments = [40 * number for number in range(40)]
    film = tmp_path / "film.mp4"
    film.write_bytes(mp4(moved(portrait, len(moments), (0.5, 0)), moments))
    console = open_console()
    page = console.page
    console.sign_in(new_key(server, *SCOPES))
    console.visit("Swap")
    console.choose("The picture to change", film)
    page.get_by_label("film.mp4").wait_for()  # Its first frame.
    console.choose("The face to put in", london[12])
    page.get_by_text("and more by the film's length").wait_for()
    page.get_by_role("button", name="Swap", exact=True).click()
    page.get_by_text(re.compile(r"Frame by frame: \d+ %, about \d+ s left")).wait_for(timeout=_PATIENCE)
    console.shot("swap_film_under_way")
    page.get_by_role("heading", name="The result").wait_for(timeout=_PATIENCE)
    length = page.get_by_label("The film after").evaluate(
        "film => film.duration || new Promise(known => { film.onloadedmetadata = () => known(film.duration); })"
    )
    assert length == pytest.approx(1.6, abs=0.1)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download").click()
    assert saved.value.suggested_filename == "swapped.mp4"
    console.shot("swap_film")


def test_faces_are_found_by_number_and_one_of_them_is_replaced(
    open_console: OpenConsole, server: Server, london: list[Path], group_picture: Path, tmp_path: Path
) -> None:
    console = open_console()
    page = console.page
    console.sign_in(new_key(server, *SCOPES))
    console.visit("Swap")
    console.choose("The picture to change", group_picture)
    page.get_by_role("button", name="Find its faces").click()
    page.get_by_label("For face 6").wait_for(timeout=_PATIENCE)
    boxes = page.locator(".annotated .box")
    assert boxes.count() == 6
    lefts = [box.bounding_box()["x"] for box in boxes.all()]
    assert lefts == sorted(lefts), "faces are counted from the left"
    console.page.get_by_label("For face 2", exact=True).set_input_files(london[20])
    page.get_by_text("Costs 3 points.").wait_for()
    page.get_by_role("button", name="Swap", exact=True).click()
    result = download(console, tmp_path)
    console.shot("swap_group")
    x1, _, x2, _ = changed(group_picture, result)
    share = (x2 - x1) / result.width
    assert share < 0.3, "one face of six"


def test_twenty_faces_fit_a_screen(
    open_console: OpenConsole, server: Server, london: list[Path], tmp_path: Path
) -> None:
    crowd = Image.new("RGB", (1600, 1280))
    for place, path in enumerate(london[:20]):
        crowd.paste(Image.open(path).convert("RGB").resize((320, 320)), (place % 5 * 320, place // 5 * 320))
    crowd.save(tmp_path / "crowd.jpg")
    console = open_console(viewport={"width": 1280, "height": 720})
    page = console.page
    console.sign_in(new_key(server, *SCOPES))
    console.visit("Swap")
    console.choose("The picture to change", tmp_path / "crowd.jpg")
    page.get_by_role("button", name="Find its faces").click()
    page.get_by_label("For face 20", exact=True).wait_for(timeout=_PATIENCE)
    page.get_by_label("For face 7", exact=True).set_input_files(london[30])
    button = page.get_by_role("button", name="Swap", exact=True)
    page.get_by_text("Costs 3 points.").wait_for()
    console.shot("swap_twenty")
    page.evaluate("scrollTo(0, 0)")
    free = page.locator(".request-bar").bounding_box()["y"]
    for seen in (page.get_by_label("For face 20", exact=True), button):
        box = seen.bounding_box()
        assert box["y"] + box["height"] <= free
    page.get_by_role("button", name=f"Remove {london[30].name}").click()
    assert button.is_disabled()


def test_a_picture_without_a_face_is_told_and_can_be_replaced(
    open_console: OpenConsole, server: Server, london: list[Path], tmp_path: Path
) -> None:
    wall = tmp_path / "wall.png"
    Image.new("RGB", (400, 300), "lightgray").save(wall)
    console = open_console(viewport=PHONE, color_scheme="dark")
    console.sign_in(new_key(server, *SCOPES))
    console.visit("Swap")
    console.choose("The picture to change", wall)
    console.choose("The face to put in", london[12])
    console.page.get_by_role("button", name="Swap", exact=True).click()
    alert = console.page.get_by_role("alert")
    alert.wait_for(timeout=_PATIENCE)
    assert "No face is found in source_image." in alert.inner_text()
    console.shot("phone_dark_swap_error")
    assert not console.overflows()
    console.choose("The picture to change", london[8])
    console.page.get_by_role("button", name="Swap", exact=True).click()
    assert download(console, tmp_path).size == Image.open(london[8]).size


def test_a_key_without_points_is_told_so(
    open_console: OpenConsole, server: Server, london: list[Path]
) -> None:
    console = open_console()
    console.expected = {402}
    console.sign_in(new_key(server, *SCOPES, credits=1))
    console.visit("Swap")
    console.choose("The picture to change", london[8])
    console.page.get_by_role("button", name="Find its faces").click()
    alert = console.page.get_by_role("alert")
    alert.wait_for()
    assert "does not have enough points" in alert.inner_text()
    assert "balance" in alert.inner_text()


def test_usage_tells_what_swaps_cost_and_what_is_left(
    open_console: OpenConsole, server: Server, london: list[Path], tmp_path: Path
) -> None:
    wall = tmp_path / "wall.png"
    Image.new("RGB", (400, 300), "lightgray").save(wall)
    console = open_console()
    console.sign_in(new_key(server, *SCOPES, credits=10))
    console.visit("Swap")
    console.choose("The picture to change", wall)
    console.choose("The face to put in", london[12])
    console.page.get_by_role("button", name="Swap", exact=True).click()
    console.page.get_by_text("No face is found in source_image.").wait_for(timeout=_PATIENCE)
    console.choose("The picture to change", london[8])
    console.page.get_by_role("button", name="Swap", exact=True).click()
    console.page.get_by_role("heading", name="The result").wait_for(timeout=_PATIENCE)
    console.visit("Usage")
    figures = console.page.locator(".figures")
    figures.get_by_text("credits", exact=True).wait_for()
    text = " ".join(figures.inner_text().split())
    assert "8 credits" in text
    assert "2 points paid by this page" in text, "what failed has been given back"
    console.page.get_by_text("paid from the same credits").wait_for()
    console.shot("usage_swaps")


def test_usage_tells_a_key_for_swaps_alone_what_is_left(open_console: OpenConsole, server: Server) -> None:
    console = open_console(viewport=PHONE)
    console.sign_in(new_key(server, "aifaceswap", credits=10))
    console.visit("Usage")
    console.page.get_by_text("It is for aifaceswap.").wait_for()
    assert console.page.locator(".figures").inner_text().split() == ["10", "credits"]
    console.shot("phone_usage_swap_alone")
    assert not console.overflows()


def test_axe_finds_nothing_serious_in_a_swap(
    open_console: OpenConsole, server: Server, london: list[Path], group_picture: Path
) -> None:
    # The rules are a script that the console's policy rightly keeps out.
    console = open_console(bypass_csp=True)
    console.sign_in(new_key(server, *SCOPES))
    console.visit("Swap")
    console.choose("The picture to change", group_picture)
    console.page.get_by_role("button", name="Find its faces").click()
    console.page.get_by_label("For face 6").wait_for(timeout=_PATIENCE)
    console.page.get_by_label("For face 2", exact=True).set_input_files(london[20])
    console.page.get_by_role("button", name="Swap", exact=True).click()
    console.page.get_by_role("heading", name="The result").wait_for(timeout=_PATIENCE)
    assert findings(console) == []
