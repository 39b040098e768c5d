"""What a person does with people in the console: naming faces, adding pictures, and what must not be lost meanwhile."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from prosopon.deployments.state.keys import SCOPES
from tests.benchmarks.serving import Server
from tests.browser.conftest import OpenConsole
from tests.browser.console import PHONE, Console
from tests.conformance.client import Client, new_key, part
from tests.paths import smiling


@pytest.fixture
def client(server: Server) -> Client:
    return Client(httpx.Client(base_url=server.url, timeout=60), new_key(server, *SCOPES))


def people_of(client: Client) -> dict[str, int]:
    """Name -> number of examples."""
    names = client.get("/recognition/subjects").json()["subjects"]
    counts = (
        client.get("/recognition/faces", params={"subject": name}).json()["total_elements"] for name in names
    )
    return dict(zip(names, counts, strict=True))


@pytest.fixture
def people(open_console: OpenConsole, client: Client) -> Console:
    console = open_console()
    console.sign_in(client.key)
    console.visit("People")
    return console


def choose_person(console: Console, name: str) -> None:
    console.page.get_by_role("list", name="Subjects").get_by_role("button", name=name).click()
    console.page.get_by_role("heading", level=2, name=name, exact=True).wait_for()


def press(console: Console, role_within: str, button: str) -> None:
    console.page.get_by_role(role_within).get_by_role("button", name=button).click()


# ------------------------------------------------------------------------------------------------------ naming


def test_faces_are_named_where_they_are_seen(
    open_console: OpenConsole, client: Client, group_picture: Path
) -> None:
    client.enrol("Somebody", Path(group_picture).parent / "Tom_Hanks_54745.png")
    console = open_console()
    console.sign_in(client.key)
    console.visit("Recognise")
    console.choose("A picture to recognise", group_picture)
    page = console.page
    page.get_by_role("heading", name="6. unknown").wait_for()
    left = [box.bounding_box()["x"] for box in page.locator(".annotated .box").all()]
    assert left == sorted(left), "numbered from left to right"

    page.get_by_label("Name of face 2").fill("Monica")
    page.get_by_label("Name of face 2").press("Enter")
    page.get_by_role("heading", name="2. Monica").wait_for()
    page.get_by_role("button", name="Face 2: Monica").wait_for()
    # One of the nearest is a click.
    third = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="3. unknown"))
    third.get_by_role("button", name="Somebody").click()
    page.get_by_role("heading", name="3. Somebody").wait_for()
    assert people_of(client) == {"Somebody": 2, "Monica": 1}
    console.shot("recognise_named")


@pytest.mark.parametrize("window", [PHONE, {"width": 1280, "height": 720}], ids=["phone", "desktop"])
def test_labels_lie_in_the_picture_and_on_no_other(
    open_console: OpenConsole, client: Client, group_picture: Path, window: dict[str, int]
) -> None:
    console = open_console(viewport=window)
    console.sign_in(client.key)
    console.visit("Recognise")
    console.choose("A picture to recognise", group_picture)
    console.page.get_by_role("heading", name="6. unknown").wait_for()
    console.page.wait_for_timeout(300)
    boxes = [label.bounding_box() for label in console.page.locator(".annotated .box span").all()]
    assert len(boxes) == 6

    def apart(a: dict[str, float], b: dict[str, float]) -> bool:
        beside = a["x"] + a["width"] <= b["x"] + 0.5 or b["x"] + b["width"] <= a["x"] + 0.5
        return beside or a["y"] + a["height"] <= b["y"] + 0.5 or b["y"] + b["height"] <= a["y"] + 0.5

    assert all(apart(a, b) for index, a in enumerate(boxes) for b in boxes[:index])
    assert not console.overflows()


def test_two_who_are_both_near_are_both_named(
    open_console: OpenConsole, client: Client, london: list[Path]
) -> None:
    client.enrol("Ada", london[0])
    client.enrol("Countess", london[0])
    console = open_console()
    console.sign_in(client.key)
    console.visit("Recognise")
    console.choose("A picture to recognise", smiling(london[0]))
    names = console.page.get_by_role("heading", name="1. Ada or Countess")
    names = names.or_(console.page.get_by_role("heading", name="1. Countess or Ada"))
    names.wait_for()
    state = console.page.get_by_text("both are near", exact=True)
    state.wait_for()
    name, badge = names.bounding_box(), state.bounding_box()
    assert badge["y"] >= name["y"] + name["height"] - 0.5, "a long name lies beside no badge"


def test_a_stranger_of_a_studio_is_nobody(
    open_console: OpenConsole, client: Client, london: list[Path]
) -> None:
    """One in a hundred pairs of strangers is as near as 0.5: where many are known, somebody is to nearly everybody."""
    known, others = london[:20], london[20:50]
    for number, path in enumerate(known):
        client.enrol(f"Person {number}", path)

    def nearest(path: Path) -> float:
        answer = client.post("/recognition/recognize", files={"file": part(path)}).json()
        return float(answer["result"][0]["subjects"][0]["similarity"])

    stranger = next(path for path in others if 0.5 < nearest(path) < 0.9)
    console = open_console()
    console.sign_in(client.key)
    console.visit("Recognise")
    console.choose("A picture to recognise", stranger)
    console.page.get_by_role("heading", name="1. unknown").wait_for()
    console.choose("A picture to recognise", smiling(known[0]))
    console.page.get_by_role("heading", name="1. Person 0").wait_for()
    console.visit("Unknown")
    console.choose("Photographs", stranger, smiling(known[0]))
    console.page.get_by_text(
        "2 photographs with faces: 1 face of people who are known, 1 face of 1 person who is not."
    ).first.wait_for()


def test_an_old_answer_goes_with_its_picture(
    open_console: OpenConsole, client: Client, london: list[Path]
) -> None:
    console = open_console()
    console.sign_in(client.key)
    console.visit("Recognise")
    console.choose("A picture to recognise", london[0])
    console.page.get_by_role("heading", name="1. unknown").wait_for()
    console.page.route("**/recognize*", lambda route: None)
    console.choose("A picture to recognise", london[1])
    console.page.get_by_role("heading", name="1. unknown").wait_for(state="detached")
    assert console.page.locator(".annotated .box").count() == 0
    console.page.unroute("**/recognize*")


def test_the_verdict_is_seen_without_scrolling(
    open_console: OpenConsole, server: Server, london: list[Path]
) -> None:
    console = open_console(viewport={"width": 1280, "height": 720})
    console.sign_in(new_key(server, *SCOPES))
    console.visit("Verify")
    console.choose("The person", london[6])
    console.choose("To compare with", smiling(london[6]))
    verdict = console.page.get_by_text("one person", exact=True)
    verdict.wait_for()
    assert verdict.bounding_box()["y"] < 600 and console.page.evaluate("scrollY") == 0


# ------------------------------------------------------------------------------------------------- adding pictures


def test_pictures_go_on_while_somebody_else_is_looked_at(
    people: Console, client: Client, london: list[Path]
) -> None:
    for name in ("Ada", "Grace"):
        client.post("/recognition/subjects", json={"subject": name})
    people.page.reload()
    choose_person(people, "Ada")
    # Each picture waits until somebody else, and then another page, is shown.
    held: list[Any] | None = []
    people.page.route(
        "**/recognition/faces?subject=Ada",
        lambda route: route.continue_() if held is None else held.append(route),
    )
    people.choose("Add pictures of this person", london[0], smiling(london[0]), london[0])
    people.until("() => !document.querySelector('.tray').hidden")
    choose_person(people, "Grace")
    people.visit("Verify")
    waiting, held = held, None
    assert waiting
    for route in waiting:
        route.continue_()
    tray = people.page.get_by_role("region", name="Pictures that are added")
    tray.wait_for(state="hidden")
    assert people_of(client) == {"Ada": 3, "Grace": 0}
    people.visit("People")
    choose_person(people, "Ada")
    people.page.get_by_role("heading", name="3 examples").wait_for()


def test_a_picture_that_looks_like_somebody_else_asks(
    people: Console, client: Client, london: list[Path]
) -> None:
    client.enrol("Ada", london[0])
    client.enrol("Grace", london[1])
    people.page.reload()
    choose_person(people, "Ada")
    people.choose("Add pictures of this person", smiling(london[0]), smiling(london[1]))
    alert = people.page.get_by_role("alert")
    alert.wait_for()
    assert f"{smiling(london[1]).name} looks like Grace" in alert.inner_text()
    assert people_of(client) == {"Ada": 2, "Grace": 1}, "what it asks about is not added"
    people.shot("people_looks_like")
    alert.get_by_role("button", name="Add it to Grace").click()
    people.until("() => document.querySelector('.tray').hidden")
    assert people_of(client) == {"Ada": 2, "Grace": 2}


def test_somebody_who_was_deleted_elsewhere_is_not_made_again_unasked(
    people: Console, client: Client, london: list[Path]
) -> None:
    client.enrol("Ada", london[0])
    people.page.reload()
    choose_person(people, "Ada")
    client.delete("/recognition/subjects/Ada")
    people.choose("Add pictures of this person", smiling(london[0]))
    alert = people.page.get_by_role("alert")
    alert.wait_for()
    assert "Ada is not there any more: 1 picture was not added" in alert.inner_text()
    assert people_of(client) == {}
    alert.get_by_role("button", name="Make Ada again").click()
    people.until("() => document.querySelector('.tray').hidden")
    assert people_of(client) == {"Ada": 1}


def test_the_last_example_says_that_the_person_goes_too(
    people: Console, client: Client, london: list[Path]
) -> None:
    client.enrol("Ada", london[0])
    people.page.reload()
    choose_person(people, "Ada")
    people.page.get_by_role("button", name="Delete example 1").click()
    assert "without it Ada is deleted too" in people.page.get_by_role("dialog").inner_text()
    press(people, "dialog", "Cancel")
    assert people_of(client) == {"Ada": 1}
    people.page.get_by_role("button", name="Delete example 1").click()
    press(people, "dialog", "Delete")
    people.page.get_by_text("Nobody is known yet").wait_for()
    assert people_of(client) == {}


def test_a_name_that_is_refused_is_told_where_it_was_typed(
    open_console: OpenConsole, client: Client, london: list[Path]
) -> None:
    for number in range(12):
        client.post("/recognition/subjects", json={"subject": f"Person {number}"})
    console = open_console(viewport={"width": 1280, "height": 720})
    console.expected = {400}
    console.sign_in(client.key)
    console.visit("People")
    console.page.get_by_text("12 people", exact=True).wait_for()
    console.page.get_by_label("New person").fill(".")
    console.page.get_by_label("New person").press("Enter")
    told = console.page.get_by_role("alert")
    told.wait_for()
    box = told.bounding_box()
    assert console.page.evaluate("scrollY") == 0 and box["y"] + box["height"] < 600


# -------------------------------------------------------------------------------------------------------- the list


def test_every_person_has_an_address(people: Console, client: Client, london: list[Path]) -> None:
    name = "Ada/Lovelace & co?"
    client.enrol(name, london[0])
    client.enrol("Grace", london[1])
    page = people.page
    page.reload()
    choose_person(people, name)
    address = page.url
    choose_person(people, "Grace")
    page.go_back()
    page.get_by_role("heading", level=2, name=name).wait_for()
    assert page.url == address
    page.reload()
    page.get_by_role("heading", level=2, name=name).wait_for()
    page.get_by_role("heading", name="1 example", exact=True).wait_for()


def test_a_phone_scrolls_to_the_person_who_is_tapped(
    open_console: OpenConsole, client: Client, london: list[Path]
) -> None:
    for name in ("Ada", "Grace", "Linus", "Margaret"):
        client.post("/recognition/subjects", json={"subject": name})
    client.enrol("Grace", london[1])
    phone = open_console(viewport=PHONE)
    phone.sign_in(client.key)
    phone.visit("People")
    page = phone.page
    page.get_by_label("Find").fill("zz")
    page.get_by_text('Nobody\'s name has "zz" in it.').wait_for()
    page.get_by_label("Find").fill("")
    shown = """() => {
        const heading = [...document.querySelectorAll("h2")].find((one) => one.textContent === "Grace");
        const top = heading?.getBoundingClientRect().top;
        return top > 60 && top < 200;
    }"""
    choose_person(phone, "Grace")
    phone.until(shown)
    page.reload()
    phone.until(shown)
    # The menu's link to where one is closes the menu, too.
    phone.visit("People")
    assert page.get_by_role("navigation", name="Pages").is_hidden()


def test_people_who_are_marked_are_exported_merged_and_deleted(
    people: Console, client: Client, london: list[Path]
) -> None:
    for index, name in enumerate(("Ada", "Countess", "Grace", "Z")):
        client.enrol(name, london[index])
    page = people.page
    page.reload()
    people.until("() => document.querySelectorAll('.subjects canvas').length === 4")
    people.shot("people_list")
    for name in ("Ada", "Countess"):
        page.get_by_label(f"Mark {name}").check()
    marked = page.get_by_role("group", name="The people who are marked")
    with page.expect_download() as download:
        marked.get_by_role("button", name="Export").click()
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
        assert archive.testzip() is None
        listed = json.loads(archive.read("people.json"))["people"]
        assert [person["subject"] for person in listed] == ["Ada", "Countess"]
        pictures = [archive.read(example["file"]) for person in listed for example in person["examples"]]
    assert pictures == [london[0].read_bytes(), london[1].read_bytes()]

    marked.get_by_role("button", name="Merge").click()
    asked = page.get_by_role("dialog").inner_text()
    assert "become examples of Ada" in asked and "Countess would be gone" in asked
    press(people, "dialog", "Merge")
    page.get_by_role("heading", name="2 examples").wait_for()
    assert people_of(client) == {"Ada": 2, "Grace": 1, "Z": 1}

    for name in ("Grace", "Z"):
        page.get_by_label(f"Mark {name}").check()
    marked.get_by_role("button", name="Delete").click()
    assert "Grace, Z" in page.get_by_role("dialog").inner_text()
    press(people, "dialog", "Delete")
    page.get_by_text("1 person", exact=True).wait_for()
    assert people_of(client) == {"Ada": 2}


def test_what_was_exported_is_imported_by_another_key_and_so_is_a_folder(
    open_console: OpenConsole, people: Console, client: Client, london: list[Path], tmp_path: Path
) -> None:
    client.enrol("Ada/Lovelace", london[0])
    client.enrol("Ada/Lovelace", smiling(london[0]))
    client.enrol("Grace", london[1])
    page = people.page
    page.reload()
    for name in ("Ada/Lovelace", "Grace"):
        page.get_by_label(f"Mark {name}").check()
    marked = page.get_by_role("group", name="The people who are marked")
    with page.expect_download() as download:
        marked.get_by_role("button", name="Export").click()
    archive = tmp_path / "people.zip"
    download.value.save_as(archive)

    other = Client(client.http, new_key(people.server, *SCOPES))
    console = open_console()
    console.sign_in(other.key)
    console.visit("People")
    page = console.page
    page.get_by_text("Add people from a file or a folder").click()
    page.get_by_label("Choose a zip").set_input_files(archive)
    page.get_by_text("2 people read from it.").wait_for()
    page.get_by_text("2 people", exact=True).wait_for()
    console.until("() => document.querySelector('.tray').hidden")
    assert people_of(other) == {"Ada/Lovelace": 2, "Grace": 1}

    for name, picture in (("Linus", london[2]), ("Margaret", london[3])):
        (tmp_path / "team" / name).mkdir(parents=True)
        (tmp_path / "team" / name / picture.name).write_bytes(picture.read_bytes())
    (tmp_path / "team" / "notes.txt").write_text("nobody's picture")
    page.get_by_label("Choose a folder").set_input_files(tmp_path / "team")
    page.get_by_text("4 people", exact=True).wait_for()
    console.until("() => document.querySelector('.tray').hidden")
    assert people_of(other) == {"Ada/Lovelace": 2, "Grace": 1, "Linus": 1, "Margaret": 1}
    page.get_by_label("Choose a zip").set_input_files(tmp_path / "team" / "notes.txt")
    page.get_by_role("alert").filter(has_text="no zip").wait_for()


def test_unknown_faces_of_many_photographs_are_grouped_and_each_person_is_named_once(
    open_console: OpenConsole, client: Client, london: list[Path]
) -> None:
    client.enrol("Ada", london[0])
    console = open_console()
    console.sign_in(client.key)
    console.visit("Unknown")
    page = console.page
    shots = [shot for path in london[:4] for shot in (path, smiling(path))]
    console.choose("Photographs", *shots)
    page.get_by_text(
        "8 photographs with faces: 2 faces of people who are known, 6 faces of 3 people who are not."
    ).first.wait_for()
    console.shot("unknown")
    first = page.get_by_role("region", name="Person 1")
    first.get_by_role("button").first.click()  # One of the two faces is left out.
    page.get_by_label("Name of person 1").fill("Grace")
    page.get_by_label("Name of person 1").press("Enter")
    page.get_by_text("Grace is known by 1 face now.").first.wait_for()
    page.get_by_label("Name of person 2").fill("Linus")
    page.get_by_label("Name of person 2").press("Enter")
    page.get_by_text("Linus is known by 2 faces now.").first.wait_for()
    assert people_of(client) == {"Ada": 1, "Grace": 1, "Linus": 2}
    console.choose("Photographs", *shots)
    page.get_by_text("6 faces of people who are known, 2 faces of 1 person who is not.").first.wait_for()


def test_a_photograph_over_the_limit_is_sent_smaller(
    people: Console, client: Client, london: list[Path], tmp_path: Path
) -> None:
    client.enrol("Ada", london[0])
    large = tmp_path / "large.bmp"
    with Image.open(smiling(london[0])) as picture:
        picture.convert("RGB").resize((2400, 2400)).save(large)
    assert large.stat().st_size > 3 * 5 * 1024 * 1024
    people.visit("Recognise")
    people.choose("A picture to recognise", large)
    people.page.get_by_role("alert").filter(has_text="a smaller copy of").wait_for()
    people.page.get_by_role("heading", name="1. Ada").wait_for()


# ------------------------------------------------------------------------------------------------------ the frame


def test_a_second_tab_is_signed_in_and_out_with_the_first(people: Console, client: Client) -> None:
    second = people.page.context.new_page()
    second.goto(f"{people.server.url}/console#/people")
    second.get_by_role("heading", level=1, name="People").wait_for()
    assert client.key not in second.evaluate("JSON.stringify(localStorage)")
    second.get_by_role("button", name="Sign out").click()
    people.page.get_by_role("heading", level=1, name="Sign in").wait_for()
    assert client.key not in people.page.evaluate("JSON.stringify(sessionStorage)")


def test_the_last_answer_can_be_read_and_copied(people: Console, client: Client, london: list[Path]) -> None:
    client.enrol("Ada", london[0])
    people.visit("Recognise")
    people.choose("A picture to recognise", smiling(london[0]))
    people.page.get_by_role("heading", name="1. Ada").wait_for()
    people.page.get_by_role("button", name="curl", exact=True).click()
    answer = people.page.get_by_role("region", name="The answer to the last call")
    people.until("() => document.querySelector('pre.answer').textContent.length > 0")
    assert json.loads(answer.inner_text())["result"][0]["subjects"][0]["subject"] == "Ada"
    line = people.page.get_by_role("region", name="The last call as a line of curl")
    widths = [one.bounding_box()["width"] for one in (line, answer)]
    assert min(widths) > 1000, "each has the whole window"
    people.page.get_by_role("button", name="Copy the answer").click()
    people.page.get_by_role("button", name="Copy the answer").get_by_text("Copied").wait_for()


def test_a_picture_is_taken_with_the_camera(people: Console) -> None:
    people.expected = {400}
    people.visit("Recognise")
    people.page.get_by_role("button", name="Use the camera").click()
    people.page.get_by_role("button", name="Take the picture").click()
    # What the test's camera shows has no face.
    alert = people.page.get_by_role("alert").filter(has_text="No face was found")
    alert.wait_for()
    assert "camera " in alert.inner_text()
    size = people.page.locator(".annotated canvas").evaluate("canvas => [canvas.width, canvas.height]")
    assert min(size) >= 240
    assert people.page.get_by_role("dialog").count() == 0
