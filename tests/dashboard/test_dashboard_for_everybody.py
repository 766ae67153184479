"""The page for everybody who reads it: judged by axe, walked by keyboard, light, dark, small."""

from collections.abc import Callable
from typing import Final, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from tests.dashboard.browser import SOON, Served, Visitor
from tests.dashboard.world import Desk

SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
LOOKS: Final = [(scheme, width) for scheme in SCHEMES for width in (1440, 390)]
BUDGET: Final = 200 * 1024


def findings(page: Page) -> list[str]:
    """Say what axe finds in every look, each with where; opened, so that it sees everything."""
    page.evaluate(
        "for (const one of document.querySelectorAll('details'))"
        " { one.removeAttribute('name'); one.open = true; }"
    )
    found = []
    for scheme, width in LOOKS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        found += [
            f"{scheme} {width}: {one['id']}: {node['html']}"
            for one in Axe().run(page).response["violations"]
            for node in one["nodes"]
        ]
    return found


def nothing(_: Desk) -> None:
    pass


def no_data(desk: Desk) -> None:
    desk.canary()


def undecided(desk: Desk) -> None:
    desk.judged(desk.canary(why="cheaper prompt"), candidate=(200, 3))


def proven(desk: Desk) -> None:
    desk.proven(desk.canary())


def rolled_back(desk: Desk) -> None:
    desk.judged(desk.canary(), candidate=(200, 60))


def limit_hit(desk: Desk) -> None:
    desk.delivery.veto(desk.canary())
    desk.delivery.tick()


@pytest.mark.parametrize("story", [nothing, no_data, undecided, proven, rolled_back, limit_hit])
def test_axe_finds_nothing_on_the_page(
    served: Served, visit: Visitor, story: Callable[[Desk], None]
) -> None:
    story(served.desk)

    page = visit(served.url, served.desk.key("admin")).page

    assert findings(page) == []


def test_axe_finds_nothing_on_a_page_that_lost_its_server(served: Served, visit: Visitor) -> None:
    undecided(served.desk)
    page = visit(served.url, served.desk.key("admin")).page
    expect(page.locator("#connection")).to_have_text("live")

    served.stop()

    expect(page.locator("#lost")).to_be_visible(timeout=SOON)
    assert findings(page) == []


def test_axe_finds_nothing_at_the_door(served: Served, chromium: Browser) -> None:
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(f"{served.url}/login", wait_until="load")
        assert findings(page) == []

        page.fill("input[name=key]", "hw_not_a_key")
        page.click("text=Log in")

        expect(page.locator("[role=alert]").first).to_contain_text("No key that works")
        assert findings(page) == []


def test_axe_would_find_letters_that_are_too_pale(served: Served, visit: Visitor) -> None:
    page = visit(served.url, served.desk.key("viewer")).page

    # A rule, not an element's own style: the page is live, and its elements come anew.
    page.evaluate(
        "() => { const pale = new CSSStyleSheet(); pale.replaceSync('#calm { color: #777 }');"
        " document.adoptedStyleSheets = [pale]; }"
    )

    found = findings(page)
    assert found
    assert all("color-contrast" in one for one in found)


def test_who_wants_less_motion_sees_none(served: Served, visit: Visitor) -> None:
    undecided(served.desk)
    moving = "[...document.querySelectorAll('*')].filter(one => %s).length"
    slow = moving % "parseFloat(getComputedStyle(one).transitionDuration) > 0"
    turning = moving % "getComputedStyle(one).animationName !== 'none'"

    still = visit(served.url, served.desk.key("viewer"), reduced_motion="reduce").page
    lively = visit(served.url, served.desk.key("viewer"), reduced_motion="no-preference").page

    assert still.evaluate(slow) == 0
    assert still.evaluate(turning) == 0
    assert lively.evaluate(slow) > 0


def test_what_can_be_used_can_be_reached_by_keyboard_and_shows_that_it_was(
    served: Served, visit: Visitor
) -> None:
    undecided(served.desk)
    page = visit(served.url, served.desk.key("admin")).page
    # Known by what they say: the page is live, and its elements come anew.
    called = "one => `${one.tagName} ${one.name ?? ''} ${one.textContent.trim().slice(0, 40)}`"
    usable = (
        "[...document.querySelectorAll('a[href], button, input, summary, [tabindex]')]"
        f".filter(one => one.checkVisibility()).map({called})"
    )
    wanted = set(page.evaluate(usable))
    assert len(wanted) > 6

    reached: set[str] = set()
    for _ in range(6 * len(wanted)):
        page.keyboard.press("Tab")
        at, outline = page.evaluate(
            f"[({called})(document.activeElement),"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        if at in wanted:
            assert outline == "solid", at
            reached.add(at)
        if reached == wanted:
            break

    assert reached == wanted


def test_a_page_weighs_at_most_200_kb(served: Served, visit: Visitor) -> None:
    undecided(served.desk)
    for _ in range(60):
        served.desk.delivery.tick()
    visited = visit(served.url, served.desk.key("admin"))
    sizes: dict[str, int] = {}
    visited.page.on("response", lambda one: sizes.update({one.url: len(one.body())}))

    visited.page.reload(wait_until="load")
    expect(visited.page.locator("#connection")).to_have_text("live")

    sent = {url: size for url, size in sizes.items() if not url.endswith("/live")}
    assert {url.rpartition(".")[2].partition("?")[0] for url in sent} >= {"css", "js"}
    assert sum(sent.values()) <= BUDGET
