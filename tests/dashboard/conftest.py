"""A page with something behind it, and a browser before it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from tests.dashboard.browser import QUIET, SOON, Seen, Served, Visit, Visitor, note
from tests.dashboard.world import Desk
from tests.e2e.processes import free_port


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "artifacts")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        said = "there is no chromium here"
        if os.environ.get("HEADWAY_CI"):
            pytest.fail(said)
        pytest.skip(said)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visitor]:
    """Give what opens a page, logged in with a key."""
    contexts: list[BrowserContext] = []

    def opened(url: str, key: str, **options: object) -> Visit:
        context = chromium.new_context(**options)  # type: ignore[arg-type]  # Playwright's own
        contexts.append(context)
        page, seen = context.new_page(), Seen()
        page.set_default_timeout(SOON)
        page.on("console", lambda said: note(seen, said.type, said.text))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("request", lambda asked: seen.hosts.add(asked.url.split("/")[2]))
        page.goto(f"{url}/login", wait_until="load")
        page.fill("input[name=key]", key)
        page.click("text=Log in")
        page.wait_for_selector("#page")
        return Visit(page, seen)

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def served(desk: Desk) -> Iterator[Served]:
    server = Served(desk, free_port())
    server.start()
    yield server
    server.stop()
