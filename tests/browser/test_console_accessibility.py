"""The console for people who use a keyboard or a screen reader: axe's rules, and one page without a mouse."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from prosopon.deployments.state.keys import SCOPES
from tests.benchmarks.serving import Server
from tests.browser.conftest import OpenConsole
from tests.browser.console import PHONE, Console
from tests.conformance.client import new_client, new_key

GRAVE = {"serious", "critical"}


def findings(console: Console) -> list[str]:
    """Serious and critical findings of axe, as `rule: elements`."""
    from axe_playwright_python.sync_playwright import Axe

    console.settled()
    report = Axe().run(console.page).response
    return [
        f"{finding['id']}: {[node['target'] for node in finding['nodes']]}"
        for finding in report["violations"]
        if finding["impact"] in GRAVE
    ]


@pytest.mark.parametrize(
    ("scheme", "viewport"),
    [("light", None), ("dark", None), ("light", PHONE)],
    ids=["light", "dark", "phone"],
)
def test_axe_finds_nothing_serious(
    open_console: OpenConsole,
    server: Server,
    london: list[Path],
    scheme: str,
    viewport: dict[str, int] | None,
) -> None:
    client = new_client(server, *SCOPES)
    client.enrol("Ada", london[0])
    options: dict[str, Any] = {"color_scheme": scheme, **({"viewport": viewport} if viewport else {})}
    # The rules are a script that the console's policy rightly keeps out.
    console = open_console(bypass_csp=True, **options)
    console.expected = {400}
    found: dict[str, list[str]] = {}

    def look(name: str) -> None:
        if serious := findings(console):
            found[name] = serious

    console.open()
    look("Welcome")
    console.open("sign-in")
    look("Sign in")
    console.sign_in(client.key)
    console.visit("Recognise")
    console.choose("A picture to recognise", london[0])
    console.page.get_by_role("heading", name="1. Ada").wait_for()
    look("Recognise")
    console.visit("People")
    # The number of her pictures, which comes later, is a part of the button's name.
    console.page.get_by_role("button", name="Ada").click()
    console.page.locator(".examples figure").scroll_into_view_if_needed()  # pictures are fetched when seen
    console.page.locator(".examples canvas").wait_for()
    look("People")
    console.page.get_by_role("button", name="Delete person").click()
    look("People, dialog")
    console.page.get_by_role("button", name="Cancel").click()
    console.visit("Unknown")
    console.choose("Photographs", london[1])
    console.page.get_by_role("heading", name="Person 1").wait_for()
    look("Unknown")
    console.visit("Verify")
    console.choose("The person", london[0])
    console.choose("To compare with", london[1])
    console.page.get_by_text("different people", exact=True).wait_for()
    look("Verify")
    console.visit("Faces")
    console.page.locator(".morph img").wait_for()
    look("Faces")
    console.visit("Models")
    look("Models")
    console.visit("Usage")
    console.page.locator(".figures").get_by_text("people", exact=True).wait_for()
    look("Usage")
    assert found == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_documents(open_console: OpenConsole, scheme: str) -> None:
    console = open_console(bypass_csp=True, color_scheme=scheme)
    found: dict[str, list[str]] = {}
    for api in httpx.get(f"{console.server.url}/console/config.json").json()["apis"]:
        console.page.goto(f"{console.server.url}{api['documentation']}")
        console.page.locator(".opblock-summary-control").first.click()
        console.page.locator(".opblock-body .responses-table").first.wait_for()
        if serious := findings(console):
            found[api["name"]] = serious
        console.shot(f"docs_{api['name']}_{scheme}")
        ground = console.page.evaluate(
            "getComputedStyle(document.querySelector('.swagger-ui')).backgroundColor"
        )
        assert (ground == "rgb(28, 32, 34)") == (scheme == "dark")
    assert found == {}


def test_the_documents_have_the_theme_that_was_chosen_in_the_console(open_console: OpenConsole) -> None:
    console = open_console(color_scheme="light")
    console.open()
    console.page.get_by_role("button", name="Dark theme").click()
    console.page.goto(f"{console.server.url}/docs/compreface")
    console.page.locator(".opblock").first.wait_for()
    assert "dark-mode" in console.page.evaluate("document.documentElement.className")


def focused(page: Any) -> str:
    """What a screen reader would call the focused element, by its label or its text."""
    name: str = page.evaluate(
        """() => {
            const element = document.activeElement;
            const label = element.labels?.[0]?.textContent;
            return element.getAttribute('aria-label') ?? label ?? element.textContent;
        }"""
    )
    return name.strip()


def tab_to(page: Any, name: str, most: int = 60) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        if focused(page) == name:
            outline = page.evaluate(
                """() => {
                    const element = document.activeElement;
                    const shown = element.closest('.drop') ?? element;
                    return getComputedStyle(shown).outlineStyle;
                }"""
            )
            assert outline != "none", f"the focus on {name} is not visible"
            return
    raise AssertionError(f"no way to {name} by the Tab key")


def test_a_person_is_added_renamed_and_deleted_by_keyboard_alone(
    open_console: OpenConsole, server: Server, london: list[Path]
) -> None:
    key = new_key(server, *SCOPES)
    console = open_console()
    page = console.page
    # The picture is chosen in the system's own dialog, which a key opens. Playwright takes the dialog's place only
    # some time after it was asked to: asked to just before the key, it came too late for one dialog in three.
    page.on("filechooser", lambda chooser: chooser.set_files(london[0]))
    console.open("people")
    console.until("() => document.activeElement.type === 'password'")
    page.keyboard.type(key)
    page.keyboard.press("Enter")
    page.get_by_role("heading", level=1, name="People").wait_for()

    page.reload()
    page.get_by_role("heading", level=1, name="People").wait_for()
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to(page, "New person")
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    page.get_by_role("heading", level=2, name="Ada").wait_for()
    tab_to(page, "Name")
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type("Countess")
    page.keyboard.press("Enter")
    page.get_by_role("heading", level=2, name="Countess").wait_for()

    tab_to(page, "Add pictures of this person")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="1 example", exact=True).wait_for()

    tab_to(page, "Delete person")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert focused(page) == "Delete person", "the focus returns to where it was"
    page.keyboard.press("Enter")
    dialog.wait_for()
    tab_to(page, "Delete")
    page.keyboard.press("Enter")
    page.get_by_text("Nobody is known yet").wait_for()
