"""The page of keys: for administrators, and what is made there opens the console."""

import re
import time
import uuid
from pathlib import Path

import httpx
import pytest

from prosopon.deployments.state.keys import API_SCOPES, SCOPES
from tests.benchmarks.serving import Server
from tests.browser.conftest import OpenConsole
from tests.browser.console import PHONE
from tests.conformance.client import Client, new_key, part


@pytest.mark.parametrize("context", [{"color_scheme": "dark"}, {"viewport": PHONE}], ids=["dark", "phone"])
def test_a_key_is_made_topped_up_and_revoked(
    open_console: OpenConsole, server: Server, context: dict[str, object]
) -> None:
    console = open_console(**context)
    page = console.page
    console.sign_in(new_key(server, *SCOPES))
    console.visit("Keys")
    name = f"shop {uuid.uuid4()}"
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Credits", exact=True).fill("5")
    page.get_by_role("button", name="Make the key").click()
    notice = page.get_by_text("it is not shown again").locator("..")
    notice.wait_for()
    secret = notice.locator("code").inner_text()
    assert secret not in page.locator("#request-bar").inner_text()
    row = page.get_by_role("row").filter(has_text=name)
    assert "5" in row.inner_text()
    row.get_by_role("button", name="Top up").click()
    page.get_by_label(f"Credits for {name}").fill("37")
    page.get_by_role("dialog").get_by_role("button", name="Add").click()
    row.get_by_text("42").wait_for()
    assert not console.overflows()
    console.shot(f"keys_{'phone' if 'viewport' in context else 'dark'}")

    client = open_console()
    client.sign_in(secret)
    assert client.page.get_by_role("link", name="Keys", exact=True).count() == 0, "it is no administrator's"

    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    row.get_by_text("revoked").wait_for()
    assert notice.count() == 0, "nobody copies it now"


def test_a_client_sees_no_page_of_keys(open_console: OpenConsole, server: Server) -> None:
    console = open_console()
    console.sign_in(new_key(server, *API_SCOPES))
    console.page.goto(f"{server.url}/console#/keys")
    console.page.get_by_role("heading", level=1).wait_for()
    assert console.page.get_by_role("button", name="Make the key").count() == 0


@pytest.mark.parametrize("context", [{"color_scheme": "dark"}, {"viewport": PHONE}], ids=["dark", "phone"])
def test_what_keys_have_used_is_told_by_day(
    open_console: OpenConsole, server: Server, london: list[Path], context: dict[str, object]
) -> None:
    name = f"shop {uuid.uuid4()}"
    with httpx.Client(base_url=server.url, timeout=60) as http:
        made = http.post(
            "/admin/keys", json={"name": name}, headers={"x-api-key": (admin := new_key(server, *SCOPES))}
        ).json()
        client = Client(http, made["key"])
        for picture in london[:2]:
            client.post("/detection/detect", files={"file": part(picture)}).raise_for_status()
        client.get("/recognition/subjects").raise_for_status()
        deadline = time.monotonic() + 30
        while not http.get("/admin/key/usage", headers={"x-api-key": made["key"]}).json()["days"]:
            assert time.monotonic() < deadline, "what is used is written down"
            time.sleep(0.5)
    console = open_console(**context)
    page = console.page
    console.sign_in(admin)
    console.visit("Keys")
    page.get_by_label("Key", exact=True).select_option(label=name)
    page.get_by_text("In all 3 requests, 2 pictures and 0 points.").wait_for()
    assert not console.overflows()
    console.shot(f"keys_used_{'phone' if 'viewport' in context else 'dark'}")

    own = open_console(**context)
    own.sign_in(made["key"])
    own.visit("Usage")
    own.page.get_by_text(re.compile(r"In all \d+ requests, 2 pictures")).wait_for()
    own.shot(f"usage_{'phone' if 'viewport' in context else 'dark'}")
