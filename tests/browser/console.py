"""The console in a browser, as a person uses it, and what a person does not see: its errors and its requests."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.in_process import Listening

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
_PATIENCE = 30_000

_WATCH_POLICY = """
window.violations = [];
document.addEventListener('securitypolicyviolation', event =>
    window.violations.push(`${event.violatedDirective}: ${event.blockedURI || event.sourceFile} ${event.sample}`));
"""


@dataclass
class Console:
    """expected: statuses from 400 up that the test provokes; any other is a failure, as is any error of a script, any
    breach of the Content-Security-Policy and any request to another host."""

    page: Any
    server: Listening
    shots: Path | None
    expected: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.add_init_script(_WATCH_POLICY)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("console", self._console)
        self.page.on("response", self._response)
        self.page.on("request", self._request)

    def _console(self, message: Any) -> None:
        # That an answer is an error is looked at as an answer.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.problems.append(f"console: {message.text}")

    def _response(self, response: Any) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.problems.append(f"{response.request.method} {response.url}: {response.status}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.server.url, "data:", "blob:")):
            self.problems.append(f"another host: {request.url}")

    def check(self) -> None:
        breaches = self.page.evaluate("window.violations") if not self.page.is_closed() else []
        assert self.problems + breaches == []

    # ------------------------------------------------------------------------------------------------- what is done

    def open(self, path: str = "") -> None:
        self.page.goto(f"{self.server.url}/console#/{path}")
        self.page.wait_for_selector("main section:not([hidden]) h1")

    def sign_in(self, key: str) -> None:
        self.open("sign-in")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name="Sign out").wait_for()

    def visit(self, title: str) -> None:
        """By the navigation, which a phone shows when asked to."""
        menu = self.page.get_by_role("button", name="Menu")
        if menu.is_visible():
            menu.click()
        self.page.get_by_role("navigation", name="Pages").get_by_role("link", name=title, exact=True).click()
        self.page.get_by_role("heading", level=1, name=title).wait_for()

    def choose(self, label: str, *pictures: Path) -> None:
        self.page.get_by_label(label).set_input_files(list(pictures))

    def until(self, expression: str, argument: Any = None) -> None:
        """Waits for a JavaScript function to be true. Playwright's own way needs `eval`, which the policy forbids."""
        deadline = time.monotonic() + _PATIENCE / 1000
        while not self.page.evaluate(expression, argument):
            assert time.monotonic() < deadline, f"never true: {expression}"
            self.page.wait_for_timeout(50)

    def settled(self) -> None:
        """Until what fades or slides has done so: halfway its colours are nobody's. What turns for ever is left out."""
        self.page.evaluate(
            "Promise.all(document.getAnimations()"
            ".filter(one => one.effect.getComputedTiming().iterations !== Infinity)"
            ".map(one => one.finished.catch(() => {})))"
        )

    def shot(self, name: str) -> None:
        if self.shots:
            self.page.evaluate("scrollTo(0, 0)")
            self.settled()
            self.page.screenshot(path=self.shots / f"{name}.png", full_page=True)

    def curl(self) -> str:
        text: str = self.page.get_by_role("region", name="The last call").inner_text()
        return text

    def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@contextmanager
def console(browser: Any, server: Listening, shots: Path | None, **context: Any) -> Iterator[Console]:
    """A console in a window of its own. context: of Playwright, such as `viewport` or `color_scheme`."""
    opened = browser.new_context(**{"viewport": DESKTOP, **context})
    opened.set_default_timeout(_PATIENCE)
    try:
        it = Console(opened.new_page(), server, shots)
        it.watch()
        yield it
        it.check()
    finally:
        opened.close()


def folder_of_shots() -> Path | None:
    """Where screenshots go: the folder named by PROSOPON_SCREENSHOTS; without one none are taken."""
    named = os.environ.get("PROSOPON_SCREENSHOTS")
    if not named:
        return None
    Path(named).mkdir(parents=True, exist_ok=True)
    return Path(named)
