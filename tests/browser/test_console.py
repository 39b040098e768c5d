"""Each page of the console does its main job against the running server."""

import json
import re
import shlex
import subprocess
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from prosopon.deployments.state.keys import SCOPES
from tests.benchmarks.serving import Server
from tests.browser.conftest import OpenConsole
from tests.browser.console import PHONE, Console
from tests.conformance.client import Client, new_key
from tests.paths import smiling
from tests.weights import default_embedder

NO_SUCH_KEY = "01234567-89ab-4def-8123-456789abcdef"


@pytest.fixture
def key(server: Server) -> str:
    return new_key(server, *SCOPES)


def knowing(server: Server, key: str, people: dict[str, Path]) -> Client:
    client = Client(httpx.Client(base_url=server.url, timeout=60), key)
    for name, picture in people.items():
        client.enrol(name, picture)
    return client


# ------------------------------------------------------------------------------------------------------ signing in


def test_a_browser_at_the_root_lands_on_the_console(open_console: OpenConsole) -> None:
    console = open_console()
    console.page.goto(console.server.url)
    console.page.get_by_role("heading", level=1).wait_for()
    assert console.page.url.startswith(f"{console.server.url}/console")
    console.shot("welcome")


def test_signing_in_says_what_is_wrong_with_a_key_and_keeps_a_good_one_in_the_tab(
    open_console: OpenConsole, key: str
) -> None:
    console = open_console()
    console.expected = {401}
    page = console.page
    console.open("people")
    entry, button = page.get_by_label("API key"), page.get_by_role("button", name="Sign in")
    entry.fill("letmein")
    button.click()
    assert "keys look like" in page.get_by_role("alert").inner_text()
    entry.fill(NO_SUCH_KEY)
    button.click()
    page.get_by_text("This server does not accept this key").wait_for()
    assert entry.input_value() == NO_SUCH_KEY, "what was typed is kept"
    console.shot("sign_in")

    entry.fill(key)
    button.click()
    page.get_by_role("heading", level=1, name="People").wait_for()
    assert page.evaluate("[sessionStorage.length > 0, JSON.stringify(localStorage).includes('-')]") == [
        True,
        False,
    ]
    page.reload()
    page.get_by_role("heading", level=1, name="People").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", level=1, name="Sign in").wait_for()
    assert key not in page.evaluate("JSON.stringify(sessionStorage)")


def test_a_key_for_verification_alone_opens_verify(
    open_console: OpenConsole, server: Server, london: list[Path]
) -> None:
    console = open_console()
    console.expected = {400, 401, 403, 404}
    console.sign_in(new_key(server, "verification"))
    console.visit("People")
    assert "does not open this service" in console.page.get_by_role("alert").inner_text()
    console.visit("Verify")
    console.choose("The person", london[3])
    console.choose("To compare with", smiling(london[3]))
    console.page.get_by_text("one person", exact=True).wait_for()


# ------------------------------------------------------------------------------------------------ recognition


def test_recognise_draws_boxes_with_names_and_says_what_the_plugins_say(
    open_console: OpenConsole, server: Server, key: str, london: list[Path]
) -> None:
    knowing(server, key, {"Ada": london[0], "Grace": london[1]})
    console = open_console()
    console.sign_in(key)
    console.visit("Recognise")
    console.choose("A picture to recognise", smiling(london[0]))
    box = console.page.get_by_role("button", name="Face 1: Ada")
    box.wait_for()
    found = console.page.get_by_role("listitem").filter(
        has=console.page.get_by_role("heading", name="1. Ada")
    )
    text = found.inner_text()
    for word in ("known", "Grace", "Age", "Gender", "Mask", "Pose"):
        assert word in text
    box.hover()
    assert "strong" in found.get_attribute("class")
    assert "-F file=@" in console.curl()
    assert key not in console.curl(), "the key is not on display"

    # The box lies where the API says that the face is.
    picture, frame = console.page.locator(".annotated").bounding_box(), box.bounding_box()
    assert picture["x"] <= frame["x"]
    assert frame["x"] + frame["width"] <= picture["x"] + picture["width"] + 1
    assert 0.15 < frame["width"] / picture["width"] < 0.8

    console.shot("recognise")

    # A stricter or looser view of the same answer asks the server nothing.
    console.choose("A picture to recognise", london[2])
    console.page.get_by_role("heading", name="1. unknown").wait_for()
    slider = console.page.get_by_label("Known from similarity")
    slider.fill("0")
    console.page.get_by_role("heading", name=re.compile(r"1\. (Ada|Grace)")).wait_for()
    slider.fill("0.5")
    console.page.get_by_role("heading", name="1. unknown").wait_for()


def test_recognise_finds_everybody_in_a_group_and_obeys_the_limit(
    open_console: OpenConsole, server: Server, key: str, group_picture: Path
) -> None:
    console = open_console()
    console.sign_in(key)
    console.visit("Recognise")
    console.page.get_by_label("Landmarks").check()
    console.choose("A picture to recognise", group_picture)
    console.page.get_by_role("heading", name="6. unknown").wait_for()
    assert console.page.locator(".annotated .box").count() == 6
    assert console.page.locator(".annotated circle").count() == 30
    console.shot("recognise_group")
    console.page.get_by_label("Most faces").fill("2")
    console.page.get_by_role("button", name="Recognise", exact=True).click()
    console.until("() => document.querySelectorAll('.annotated .box').length === 2")


def test_an_error_is_told_in_a_sentence_and_nothing_that_was_entered_is_lost(
    open_console: OpenConsole, key: str, tmp_path: Path, london: list[Path]
) -> None:
    empty = tmp_path / "wall.png"
    Image.new("RGB", (400, 300), "lightgray").save(empty)
    console = open_console()
    console.expected = {400}
    console.sign_in(key)
    console.visit("Recognise")
    console.page.get_by_label("Least face probability").fill("0.8")
    console.choose("A picture to recognise", london[5])
    console.page.get_by_role("heading", name="1. unknown").wait_for()
    console.choose("A picture to recognise", empty)
    alert = console.page.get_by_role("alert")
    alert.wait_for()
    assert "No face was found in the picture." in alert.inner_text()
    assert "code 28" in alert.locator("details").inner_html()
    assert console.page.get_by_label("Least face probability").input_value() == "0.8"
    assert "wall.png: " in alert.inner_text(), "which picture it was"
    assert console.page.get_by_role("heading", name="1. unknown").count() == 0, "that was another picture"
    console.shot("recognise_error")
    console.page.get_by_role("button", name="Try again").click()
    console.page.get_by_text("No face was found in the picture.").wait_for()


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(
    open_console: OpenConsole, key: str, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(b"\x89PNG" + b"\0" * (6 * 1024 * 1024))
    console = open_console()
    console.sign_in(key)
    console.visit("Recognise")
    console.choose("A picture to recognise", large)
    console.page.get_by_text("the server accepts 5.0 MB").wait_for()


def test_a_large_rotated_picture_is_shown_small_and_upright_with_its_box_on_the_face(
    open_console: OpenConsole, key: str, tmp_path: Path, london: list[Path]
) -> None:
    turned = tmp_path / "turned.jpg"
    upright = Image.open(london[2]).resize((2000, 2000)).crop((0, 0, 2000, 1800))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.rotate(90, expand=True).save(turned, exif=exif, quality=90)
    console = open_console()
    console.sign_in(key)
    console.visit("Recognise")
    console.choose("A picture to recognise", turned)
    box = console.page.get_by_role("button", name="Face 1: unknown")
    box.wait_for()
    size = console.page.locator(".annotated canvas").evaluate("canvas => [canvas.width, canvas.height]")
    assert max(size) == 1400
    assert size[0] > size[1]
    picture, frame = console.page.locator(".annotated").bounding_box(), box.bounding_box()
    middle = (frame["x"] + frame["width"] / 2 - picture["x"]) / picture["width"]
    assert 0.4 < middle < 0.6
    console.shot("recognise_rotated")


def test_work_can_be_stopped_and_the_page_stays_usable(
    open_console: OpenConsole, key: str, london: list[Path]
) -> None:
    console = open_console()
    console.sign_in(key)
    console.visit("Recognise")
    # The answer is held back for as long as the test wants.
    console.page.route("**/recognize*", lambda route: None)
    console.choose("A picture to recognise", london[4])
    stop = console.page.get_by_role("button", name="Stop")
    stop.wait_for()
    console.page.get_by_label("Names per face").fill("5")
    stop.click()
    stop.wait_for(state="detached")
    console.page.unroute("**/recognize*")
    console.page.get_by_role("button", name="Recognise", exact=True).click()
    console.page.get_by_role("heading", name="1. unknown").wait_for()


# ------------------------------------------------------------------------------------------------------ people


def test_people_are_added_renamed_merged_and_deleted(
    open_console: OpenConsole, server: Server, key: str, london: list[Path]
) -> None:
    console = open_console()
    page = console.page
    console.sign_in(key)
    console.visit("People")
    page.get_by_text("Nobody is known yet").wait_for()
    name = page.get_by_label("New person")
    name.fill("Ada/Lovelace & co")
    name.press("Enter")
    page.get_by_role("heading", name="Ada/Lovelace & co").wait_for()
    console.choose("Add pictures of this person", london[0], smiling(london[0]))
    page.get_by_role("heading", name="2 examples").wait_for()
    console.until("() => document.querySelectorAll('.examples canvas').length === 2")
    console.shot("people")

    page.get_by_label("Name", exact=True).fill("Ada")
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("heading", name="Ada", exact=True).wait_for()
    client = Client(httpx.Client(base_url=server.url, timeout=60), key)
    assert client.get("/recognition/subjects").json() == {"subjects": ["Ada"]}

    client.enrol("Countess", london[1])
    page.reload()
    page.get_by_role("button", name="Countess").click()
    page.get_by_role("heading", name="1 example", exact=True).wait_for()
    page.get_by_label("Name", exact=True).fill("Ada")
    page.get_by_role("button", name="Rename").click()
    dialog = page.get_by_role("dialog")
    assert "Ada is there already" in dialog.inner_text()
    console.shot("people_merge")
    dialog.get_by_role("button", name="Cancel").click()
    assert page.get_by_label("Name", exact=True).input_value() == "Ada"
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("dialog").get_by_role("button", name="Merge").click()
    page.get_by_role("heading", name="3 examples").wait_for()

    page.get_by_role("button", name="Delete example 1").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("heading", name="2 examples").wait_for()
    page.get_by_role("button", name="Delete person").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_text("Nobody is known yet").wait_for()
    assert client.get("/recognition/subjects").json() == {"subjects": []}


def test_a_picture_that_is_refused_does_not_keep_the_others_out(
    open_console: OpenConsole, key: str, london: list[Path], group_picture: Path
) -> None:
    console = open_console()
    console.expected = {400}
    console.sign_in(key)
    console.visit("People")
    console.page.get_by_label("New person").fill("Grace")
    console.page.get_by_role("button", name="Add", exact=True).click()
    console.choose("Add pictures of this person", group_picture, london[1])
    alert = console.page.get_by_role("alert")
    alert.wait_for()
    assert "More than one face" in alert.inner_text()
    assert "1 of 2 pictures were added; refused: t1.jpg" in alert.inner_text()
    console.page.get_by_role("heading", name="1 example", exact=True).wait_for()


def test_many_examples_are_paged(
    open_console: OpenConsole, server: Server, key: str, london: list[Path]
) -> None:
    client = Client(httpx.Client(base_url=server.url, timeout=60), key)
    for picture in london[:14]:
        client.enrol("Everybody", picture)
    console = open_console()
    console.sign_in(key)
    console.visit("People")
    console.page.get_by_role("button", name="Everybody").click()
    console.page.get_by_text("Page 1 of 2").wait_for()
    assert console.page.get_by_role("button", name="Earlier").is_disabled()
    console.page.get_by_role("button", name="Later").click()
    console.page.get_by_text("Page 2 of 2").wait_for()
    assert console.page.locator(".examples figure").count() == 2


# ------------------------------------------------------------------------------------------------------ verify


def test_verify_tells_one_person_from_two(open_console: OpenConsole, key: str, london: list[Path]) -> None:
    console = open_console()
    console.sign_in(key)
    console.visit("Verify")
    console.choose("The person", london[6])
    console.choose("To compare with", smiling(london[6]))
    console.page.get_by_text("one person", exact=True).wait_for()
    same = float(console.page.locator(".verdict b").inner_text())
    console.shot("verify")
    console.choose("To compare with", london[7])
    console.page.get_by_text("different people", exact=True).wait_for()
    assert same > 0.8 > 0.5 > float(console.page.locator(".verdict b").inner_text())


# ------------------------------------------------------------------------------------------------------- faces


def test_text_becomes_a_face_and_the_slider_shows_what_lies_between(open_console: OpenConsole) -> None:
    console = open_console()
    page = console.page
    console.open("faces")
    morph = page.locator(".morph img")
    morph.wait_for()
    first = page.locator(".ends .card:first-child img")
    size = first.evaluate("async image => { await image.decode(); return image.naturalWidth; }")
    assert size == 300

    def change(act: Any) -> None:
        shown = morph.get_attribute("src")
        act()
        console.until("old => document.querySelector('.morph img').src !== old", shown)

    slider = page.get_by_label("Between the two")
    change(lambda: slider.fill("0"))
    assert morph.get_attribute("alt") == "The face at 0 % of the way"
    assert mean_difference(console, morph, first) < 3, "0 % is the first face"
    change(lambda: slider.fill("24"))
    assert mean_difference(console, morph, first) > 10
    change(lambda: slider.fill("12"))
    change(lambda: page.get_by_label("From", exact=True).fill("Prosopon"))
    console.until("() => document.querySelector('.ends img').alt.includes('Prosopon')")
    console.shot("faces")


def test_the_address_of_a_morph_makes_it_again(open_console: OpenConsole) -> None:
    console = open_console()
    page = console.page
    console.open("faces?from=value%3AAlder&to=seed%3A7&at=6")
    morph = page.locator(".morph img")
    morph.wait_for()
    assert page.get_by_label("From", exact=True).input_value() == "Alder"
    assert page.get_by_label("To", exact=True).input_value() == "7"
    assert morph.get_attribute("alt") == "The face at 25 % of the way"
    # What lies between is sketched at once, and the address follows.
    sketched = page.evaluate("""() => {
        const slider = document.querySelector('.morph input[type=range]');
        slider.value = 20;
        slider.dispatchEvent(new Event('input'));
        const rough = document.querySelector('.rough');
        return !rough.hidden && rough.getContext('2d').getImageData(150, 150, 1, 1).data[3];
    }""")
    assert sketched == 255
    morph.wait_for()
    assert page.url.endswith("at=20")


def mean_difference(console: Console, one: Any, other: Any) -> float:
    pixels = """async image => {
        await image.decode();
        const canvas = new OffscreenCanvas(64, 64);
        canvas.getContext('2d').drawImage(image, 0, 0, 64, 64);
        return Array.from(canvas.getContext('2d').getImageData(0, 0, 64, 64).data);
    }"""
    a, b = one.evaluate(pixels), other.evaluate(pixels)
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / len(a)


def test_a_wrong_seed_is_told_and_the_last_face_stays(open_console: OpenConsole) -> None:
    console = open_console()
    console.expected = {400}
    console.open("faces")
    end = console.page.locator(".ends .card").first
    end.locator("img").wait_for()
    shown = end.locator("img").get_attribute("src")
    end.get_by_label("Named by").select_option("seed")
    console.page.get_by_text("must be an integer").first.wait_for()
    assert end.locator("img").get_attribute("src") == shown


@pytest.mark.parametrize("format", ["mp4", "gif", "webp"])
def test_a_film_is_made_shown_and_downloaded(open_console: OpenConsole, format: str, tmp_path: Path) -> None:
    console = open_console()
    page = console.page
    console.open("faces")
    page.get_by_label("Format").select_option(format)
    for label, value in (("Frames", "8"), ("Frames a second", "8"), ("Pixels", "128")):
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Make the film").click()
    button = page.get_by_role("button", name=f"Download {format}")
    button.wait_for()
    with page.expect_download() as download:
        button.click()
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    assert saved.suffix == f".{format}"
    if format == "mp4":
        assert saved.read_bytes()[4:8] == b"ftyp"
        console.until("() => document.querySelector('.film video').currentTime > 0.05")
        console.shot("faces_film")
    else:
        with Image.open(saved) as film:
            assert (getattr(film, "n_frames", 1), film.size) == (8, (128, 128))


def test_a_film_tells_how_far_it_is_in_every_tab_that_asks_for_it(
    open_console: OpenConsole, key: str
) -> None:
    consoles = [open_console(), open_console()]
    consoles[0].sign_in(key)
    seed = str(uuid.uuid4().int % 10**8)
    for console in consoles:
        console.open(f"faces?from=value:Ann&to=seed:{seed}")
        console.page.get_by_label("Pixels", exact=True).fill("512")
        console.page.get_by_label("Frames", exact=True).fill("48")
        console.page.get_by_role("button", name="Make the film").click()
    for console in consoles:
        told = console.page.get_by_text(re.compile(r"^Frame by frame: \d+ %, about \d+ s left$"))
        told.wait_for()
        bar = console.page.get_by_role("progressbar")
        assert 0 < float(bar.evaluate("bar => bar.value")) < 1
    consoles[0].shot("faces_film_under_way")
    for console in consoles:
        console.page.locator(".film video").wait_for(timeout=120_000)
    page = consoles[0].page
    asked = page.evaluate(
        "performance.getEntriesByType('resource').filter(one => one.name.includes('/progress/')).length"
    )
    assert asked > 2
    consoles[0].visit("Usage")
    page.get_by_role("heading", name="Calls of this page").wait_for()
    assert page.get_by_text("GET /api/mp4/progress/").count() < asked, "one question, one line"


def test_a_picture_becomes_a_latent_that_morphs(open_console: OpenConsole, london: list[Path]) -> None:
    console = open_console()
    page = console.page
    console.open("faces")
    page.locator(".morph img").wait_for()
    console.choose("A picture of a face", london[10])
    page.get_by_role("button", name="Find its latent").click()
    page.get_by_text("generated from its latent").wait_for(timeout=240_000)
    guid = page.locator("p", has_text="Its latent").locator("code").inner_text()
    pair = page.locator(".pair img")
    assert pair.nth(1).evaluate("async image => { await image.decode(); return image.naturalWidth; }") == 512
    console.shot("faces_inversion")
    shown = page.locator(".morph img").get_attribute("src")
    page.get_by_role("button", name="Use as the first face").click()
    console.until("old => document.querySelector('.morph img').src !== old", shown)
    assert page.get_by_label("From", exact=True).input_value() == guid
    assert page.locator(".ends select").first.input_value() == "guid"


# ------------------------------------------------------------------------------------- installation, usage, curl


def test_models_names_every_role_with_its_licence(open_console: OpenConsole) -> None:
    console = open_console()
    console.open("models")
    table = console.page.get_by_role("region", name="Models by role").inner_text()
    for words in ("embedder", default_embedder(), "Apache-2.0", "not for commercial use", "CPU"):
        assert words in table
    console.shot("models")


def test_usage_counts_what_the_key_holds_and_what_the_page_has_asked(
    open_console: OpenConsole, server: Server, key: str, london: list[Path]
) -> None:
    knowing(server, key, {"Ada": london[0], "Grace": london[1]})
    console = open_console()
    console.sign_in(key)
    console.visit("Usage")
    figures = console.page.locator(".figures")
    figures.get_by_text("people", exact=True).wait_for()
    text = re.sub(r"\s+", " ", figures.inner_text())
    assert "2 people" in text
    assert "2 examples" in text
    rows = console.page.get_by_role("region", name="Calls of this page").get_by_role("row")
    assert rows.filter(has_text="GET /api/v1/recognition/subjects").count() >= 1
    console.shot("usage")


def test_the_line_of_curl_does_what_the_console_did(
    open_console: OpenConsole, server: Server, key: str, london: list[Path]
) -> None:
    knowing(server, key, {"Ada": london[0]})
    console = open_console(permissions=["clipboard-read", "clipboard-write"])
    console.sign_in(key)
    console.visit("Recognise")
    picture = smiling(london[0])
    console.choose("A picture to recognise", picture)
    console.page.get_by_role("heading", name="1. Ada").wait_for()
    console.page.get_by_role("button", name="Copy the curl line").click()
    console.page.get_by_text("Copied", exact=True).wait_for()
    line = console.page.evaluate("navigator.clipboard.readText()")
    assert key in line
    answer = subprocess.run(
        [*shlex.split(line), "-s"], cwd=picture.parent, capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout)["result"][0]["subjects"][0]["subject"] == "Ada"


def test_no_name_breaks_out_of_the_line_of_curl(
    open_console: OpenConsole, key: str, london: list[Path], tmp_path: Path
) -> None:
    name = """O'Brien "$(id)" `ls`; \\ & co"""
    picture = tmp_path / "a b;c,d'e\"f.jpg"
    picture.write_bytes(london[9].read_bytes())
    console = open_console(permissions=["clipboard-read", "clipboard-write"])
    console.sign_in(key)
    console.visit("People")
    console.page.get_by_label("New person").fill(name)
    console.page.get_by_role("button", name="Add", exact=True).click()
    console.page.get_by_role("heading", name=name).wait_for()
    console.choose("Add pictures of this person", picture)
    console.page.get_by_role("heading", name="1 example", exact=True).wait_for()
    console.visit("Usage")
    rows = console.page.get_by_role("region", name="Calls of this page").get_by_role("row")
    for call, folder, answer in (
        ("POST /api/v1/recognition/subjects", tmp_path, {"code": 43}),
        ("POST /api/v1/recognition/faces", tmp_path, {"subject": name}),
    ):
        row = rows.filter(has_text=call).first
        row.get_by_role("button").click()
        row.get_by_text("Copied").wait_for()
        line = console.page.evaluate("navigator.clipboard.readText()")
        ran = subprocess.run(f"{line} -s", shell=True, cwd=folder, capture_output=True, text=True, check=True)
        assert answer.items() <= json.loads(ran.stdout).items()


def test_every_api_has_a_page_of_documents_from_this_server_alone(open_console: OpenConsole) -> None:
    console = open_console()
    apis = httpx.get(f"{console.server.url}/console/config.json").json()["apis"]
    assert len(apis) >= 3
    for api in apis:
        console.page.goto(f"{console.server.url}{api['documentation']}")
        console.page.locator(".swagger-ui .opblock").first.wait_for()
        console.shot(f"docs_{api['name']}")
        console.check()


@pytest.mark.parametrize(
    ("api", "path"), [("compreface", "/api/v1/recognition/subjects"), ("trueface", "/v1/collection")]
)
def test_a_key_that_the_documents_are_given_once_goes_with_every_call(
    open_console: OpenConsole, key: str, api: str, path: str
) -> None:
    console = open_console()
    page = console.page
    page.goto(f"{console.server.url}/docs/{api}")
    page.get_by_role("button", name="Authorize", exact=True).click()
    dialog = page.locator(".dialog-ux")
    dialog.locator("input").fill(key)
    console.shot(f"docs_{api}_authorize")
    dialog.get_by_role("button", name="Apply credentials").click()
    dialog.get_by_role("button", name="Close", exact=True).click()
    operation = page.locator(".opblock-get").filter(has=page.locator(f"[data-path='{path}']"))
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    assert not operation.get_by_text("x-api-key").is_visible(), "nothing asks for the key once more"
    operation.get_by_role("button", name="Execute").click()
    operation.locator(".live-responses-table .response-col_status", has_text="200").wait_for()
    console.shot(f"docs_{api}_executed")


# ------------------------------------------------------------------------------------------- phones and themes


def test_every_page_fits_a_phone_in_either_theme(
    open_console: OpenConsole, server: Server, key: str, london: list[Path]
) -> None:
    knowing(server, key, {"Ada": london[0]})
    for scheme in ("light", "dark"):
        console = open_console(viewport=PHONE, color_scheme=scheme, has_touch=True)
        console.sign_in(key)
        assert not console.overflows()
        for title in (
            "Recognise",
            "Unknown",
            "People",
            "Verify",
            "Search",
            "Faces",
            "Swap",
            "Models",
            "Usage",
        ):
            console.visit(title)
            if title == "Recognise":
                console.choose("A picture to recognise", smiling(london[0]))
                console.page.get_by_role("heading", name="1. Ada").wait_for()
            if title == "Faces":
                console.page.locator(".morph img").wait_for()
            assert not console.overflows(), title
            console.shot(f"phone_{scheme}_{title.lower()}")


def test_a_chosen_theme_wins_over_the_systems_and_lasts(open_console: OpenConsole) -> None:
    console = open_console(color_scheme="light")
    console.open()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = console.page.evaluate(ground)
    console.page.get_by_role("button", name="Dark theme").click()
    dark = console.page.evaluate(ground)
    assert dark != light
    console.page.reload()
    console.page.get_by_role("button", name="Light theme").wait_for()
    assert console.page.evaluate(ground) == dark
    console.shot("welcome_dark")


def test_a_server_that_is_gone_is_told_and_the_key_is_kept(
    open_console: OpenConsole, server: Server, key: str, london: list[Path]
) -> None:
    console = open_console()
    console.sign_in(key)
    console.visit("Recognise")
    console.page.context.set_offline(True)
    console.choose("A picture to recognise", london[0])
    console.page.get_by_text("The server cannot be reached.").wait_for()
    console.page.context.set_offline(False)
    console.page.get_by_role("button", name="Try again").click()
    console.page.get_by_role("heading", name="1. unknown").wait_for()
