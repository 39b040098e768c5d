"""The first hour as a newcomer has it, from signing in to a search in a folder of one's own: how much has to be done.

Beside what is counted here there are the README's two commands, and the address that the start prints.
"""

import shutil
from pathlib import Path
from typing import Any

from prosopon.deployments.state.keys import SCOPES
from tests.benchmarks.serving import Server
from tests.browser.conftest import OpenConsole
from tests.conformance.client import new_key
from tests.paths import ROOT

PICTURES = ROOT / "docs/pictures"
_PATIENCE = 120_000
_COUNT = """
for (const kind of ['click', 'change']) {
    document.addEventListener(kind, event => {
        const { target, isTrusted, detail } = event;
        const file = target.type === 'file';
        // A label's click makes another one of its control; Enter makes one of the form's button.
        const counts = kind === 'click' ? isTrusted && detail > 0 && !file : file;
        const typed = kind === 'change' && ['text', 'password', 'url'].includes(target.type);
        const name = file ? 'files' : typed ? 'texts' : 'clicks';
        if (counts || typed) sessionStorage[name] = Number(sessionStorage[name] ?? 0) + 1;
    }, true);
}
"""
BOUNDS = {
    "signed in": {"clicks": 1, "files": 0, "texts": 1},
    "a named face": {"clicks": 2, "files": 1, "texts": 1},
    "a film": {"clicks": 2, "files": 0, "texts": 0},
    "a swap": {"clicks": 2, "files": 2, "texts": 0},
    "a search in an own folder": {"clicks": 3, "files": 2, "texts": 0},
}
"""What each may take at most."""


class Counted:
    """What a person has done since the last step."""

    def __init__(self, page: Any) -> None:
        self._page, self.steps = page, dict[str, dict[str, int]]()

    def step(self, name: str) -> None:
        found = self._page.evaluate("({ ...sessionStorage })")
        self.steps[name] = {kind: int(found.get(kind, 0)) for kind in ("clicks", "files", "texts")}
        self._page.evaluate(
            "for (const kind of ['clicks', 'files', 'texts']) sessionStorage.removeItem(kind)"
        )


def test_the_first_hour_takes_a_few_clicks(open_console: OpenConsole, server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "friends"
    folder.mkdir()
    shutil.copy(PICTURES / "ann.jpg", folder / "ann.jpg")
    console = open_console()
    page = console.page
    page.add_init_script(_COUNT)
    counted = Counted(page)
    console.sign_in(new_key(server, *SCOPES, tenant="first hour"))
    counted.step("signed in")

    console.visit("Recognise")
    console.choose("A picture to recognise", PICTURES / "ann.jpg")
    page.get_by_placeholder("A name").fill("Ann")
    page.get_by_role("button", name="Name", exact=True).click()
    page.get_by_text("Ann").first.wait_for()
    counted.step("a named face")

    console.visit("Faces")
    page.get_by_role("button", name="Make the film").click()
    page.locator(".film video").wait_for(timeout=_PATIENCE)
    counted.step("a film")

    console.visit("Swap")
    console.choose("The picture to change", PICTURES / "party.jpg")
    console.choose("The face to put in", PICTURES / "ann.jpg")
    page.get_by_role("button", name="Swap", exact=True).click()
    page.get_by_role("heading", name="The result").wait_for(timeout=_PATIENCE)
    counted.step("a swap")

    console.visit("Search")
    adding = page.locator("details", has_text="Add pictures to the index")
    page.get_by_text("faces are indexed").wait_for()
    if adding.get_attribute("open") is None:  # It is, where nobody has filled the index.
        adding.locator("summary").click()
    page.get_by_label("Choose a folder").set_input_files(folder)
    adding.locator(".notice").wait_for()
    console.choose("Pictures of one person", PICTURES / "ann.jpg")
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator(".result").first.wait_for()
    assert page.locator(".result").first.inner_text().split()[-1] == "friends/ann.jpg"
    counted.step("a search in an own folder")

    print()
    for name, took in counted.steps.items():
        print(f"{name:<26} {', '.join(f'{count} {kind}' for kind, count in took.items())}")
    for name, most in BOUNDS.items():
        assert all(counted.steps[name][kind] <= most[kind] for kind in most), (name, counted.steps[name])
    assert all(sum(took.values()) > 0 for took in counted.steps.values()), "everything was counted"
