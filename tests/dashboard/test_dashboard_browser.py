"""What somebody sees in a real browser: live, honest, and able to act."""

import os
import signal
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.dashboard.browser import SOON, Served, Visitor
from tests.dashboard.world import Desk
from tests.e2e.processes import free_port, processes_of

from headway.demo.server import headway
from headway.kernel.clock import SECOND


def test_it_shows_what_moves_what_is_known_and_what_comes(served: Served, visit: Visitor) -> None:
    made = served.desk.canary(why="cheaper prompt")
    served.desk.judged(made, candidate=(200, 3))

    page = visit(served.url, served.desk.key("viewer")).page

    card = page.locator(f"#{made.id}")
    expect(card.locator("h2")).to_contain_text("1.0.0 → 1.1.0")
    expect(card).to_contain_text("cheaper prompt")
    expect(card.locator(".arms")).to_contain_text("1.1.0 candidate 10\u00a0%")
    expect(card.locator(".stop.now .title")).to_contain_text("10\u00a0%")
    expect(card.locator(".measure")).to_contain_text("22 of 1,800")
    expect(card.locator(".measure")).to_contain_text("3 of 200")
    expect(card.locator(".finding")).to_contain_text("undecided")
    expect(card.locator(".coming")).to_contain_text("more requests")
    expect(card.locator(".coming")).to_contain_text("send 50% until not 2x worse")
    expect(card.locator(".action")).to_have_count(0)


def test_the_bar_and_the_interval_are_drawn_where_they_belong(
    served: Served, visit: Visitor
) -> None:
    made = served.desk.canary()
    served.desk.judged(made, candidate=(200, 3))

    page = visit(served.url, served.desk.key("viewer")).page

    whole = page.locator(f"#{made.id} .shares").bounding_box()
    second = page.locator(f"#{made.id} .shares rect").nth(1).bounding_box()
    assert whole is not None
    assert second is not None
    assert second["width"] == pytest.approx(whole["width"] / 10, abs=4)
    drawn = page.locator(f"#{made.id} .interval").bounding_box()
    same = page.locator(f"#{made.id} .axis .same").bounding_box()
    assert drawn is not None
    assert same is not None
    # Nothing is proven: one times as bad lies within what may be.
    assert drawn["x"] < same["x"] < drawn["x"] + drawn["width"]


def test_no_data_does_not_look_like_fine(served: Served, visit: Visitor) -> None:
    made = served.desk.canary()

    page = visit(served.url, served.desk.key("viewer")).page

    card = page.locator(f"#{made.id}")
    expect(card.locator(".finding")).to_contain_text("no data yet")
    expect(card.locator(".measure").first).to_contain_text("no requests")
    expect(card.locator(".interval")).to_have_count(0)
    expect(page.locator(".behaviours")).to_contain_text("no requests")


def test_a_limit_that_a_gateway_saw_hit_is_shown_as_hit(served: Served, visit: Visitor) -> None:
    made = served.desk.canary()
    page = visit(served.url, served.desk.key("viewer")).page
    expect(page.locator(f"#{made.id} .limit")).to_contain_text("errors above 50%: no data yet")

    served.desk.delivery.veto(made)
    served.desk.delivery.tick()

    card = page.locator(f"#{made.id}")
    expect(card.locator(".limit.hit")).to_contain_text("errors above 50%: hit", timeout=SOON)
    expect(card.locator(".badge")).to_contain_text("rolling back")
    expect(card.locator(".coming")).not_to_contain_text("Then")
    expect(card.locator(".action")).to_have_count(0)


def test_it_follows_live_and_says_what_ended_a_step(served: Served, visit: Visitor) -> None:
    made = served.desk.canary()
    page = visit(served.url, served.desk.key("viewer")).page
    expect(page.locator("#connection")).to_have_text("live")

    served.desk.proven(made)

    card = page.locator(f"#{made.id}")
    expect(card.locator(".stop.now .title")).to_contain_text("50\u00a0%", timeout=SOON)
    expect(card.locator(".stop.done")).to_contain_text("step 1 has proven not 5 times worse")
    expect(card.locator(".arms")).to_contain_text("1.1.0 candidate 50\u00a0%")
    expect(page.locator(".history li").first).to_contain_text("step 2 of 4")


def test_a_rollback_is_told_with_its_reason_and_its_counters(
    served: Served, visit: Visitor
) -> None:
    made = served.desk.canary()
    page = visit(served.url, served.desk.key("viewer")).page

    served.desk.judged(made, candidate=(200, 60))

    over = page.locator(f"#{made.id}.over")
    expect(over.locator(".outcome")).to_contain_text("rolled back", timeout=SOON)
    expect(over.locator(".coming")).to_contain_text("60 of 200")
    expect(over.locator(".coming")).to_contain_text(f"headway deploy why {made.id}")
    expect(page.locator("#calm")).to_contain_text("Nothing is moving")
    over.locator("summary").click()
    expect(over.locator(".stop.stopped")).to_contain_text("worse")
    expect(over.locator(".stop.never")).to_have_count(3)
    page.locator(".history details summary").first.click()
    expect(page.locator(".history details[open]")).to_contain_text("candidate 60 of 200")


def test_an_action_acts_and_says_so(served: Served, visit: Visitor) -> None:
    made = served.desk.canary()
    visited = visit(served.url, served.desk.key("deployer"))
    page = visited.page

    page.click("summary:has-text('Pause, with 10')")
    page.fill("details[open] input[name=why]", "lunch")
    page.click("details[open] button")
    page.wait_for_selector("#page")
    served.desk.delivery.run(SECOND)

    expect(page.locator(f"#{made.id} .badge")).to_contain_text("paused", timeout=SOON)
    expect(page.locator(".history li").first).to_contain_text("lunch")
    expect(page.locator("summary", has_text="Go on with step 1 of 4")).to_be_visible()
    assert visited.seen.complaints == []


def test_what_somebody_types_stays_while_the_page_changes(served: Served, visit: Visitor) -> None:
    made = served.desk.canary()
    page = visit(served.url, served.desk.key("deployer")).page
    page.click("summary:has-text('Send everybody back')")
    page.fill("details[open] input[name=why]", "half a sen")

    served.desk.judged(made, candidate=(200, 3))

    expect(page.locator(f"#{made.id} .measure")).to_contain_text("3 of 200", timeout=SOON)
    expect(page.locator("details[open] input[name=why]")).to_have_value("half a sen")
    expect(page.locator("details[open] input[name=why]")).to_be_focused()


def test_a_page_that_lost_its_server_says_so_and_comes_back(
    served: Served, visit: Visitor
) -> None:
    made = served.desk.canary()
    page = visit(served.url, served.desk.key("viewer")).page
    expect(page.locator("#connection")).to_have_text("live")

    served.stop()

    expect(page.locator("#lost")).to_contain_text("No connection to Headway", timeout=SOON)
    expect(page.locator("#lost")).to_contain_text("s ago")
    expect(page.locator(f"#{made.id}")).to_be_visible()
    served.desk.proven(made)
    served.desk.app = Desk.served_by(served.desk.services)
    served.start()
    expect(page.locator("#connection")).to_have_text("live", timeout=SOON)
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator(f"#{made.id} .arms")).to_contain_text("50\u00a0%")


def test_a_session_that_ended_leads_to_the_form(served: Served, visit: Visitor) -> None:
    page = visit(served.url, served.desk.key("viewer")).page

    served.desk.idle()

    page.wait_for_selector("input[name=key]", timeout=SOON)


def test_times_are_of_the_readers_zone_with_utc_on_hover(served: Served, visit: Visitor) -> None:
    served.desk.canary()

    page = visit(served.url, served.desk.key("viewer"), timezone_id="Asia/Kolkata").page

    # 2027-01-15 08:02 UTC
    time = page.locator(".moving time").first
    expect(time).to_contain_text("13:3")
    expect(time).to_contain_text("GMT+5:30")
    expect(page.locator("#as-of")).to_contain_text("GMT+5:30")
    assert (time.get_attribute("title") or "").startswith("2027-01-15 08:0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_the_screen_and_asks_nobody_else(
    served: Served, visit: Visitor, scheme: str, width: int
) -> None:
    made = served.desk.canary(why="a very long reason " * 20)
    served.desk.judged(made, candidate=(200, 3))

    visited = visit(
        served.url,
        served.desk.key("admin"),
        viewport={"width": width, "height": 844},
        color_scheme=scheme,
    )

    expect(visited.page.locator("#connection")).to_have_text("live")
    wide = visited.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    assert visited.seen.hosts == {f"127.0.0.1:{served.port}"}
    assert visited.seen.complaints == []


def test_all_of_it_can_be_reached_by_keyboard(served: Served, visit: Visitor) -> None:
    made = served.desk.canary()
    page = visit(served.url, served.desk.key("deployer")).page
    summary = page.locator(f"#pause-{made.id} summary")

    for _ in range(30):
        page.keyboard.press("Tab")
        if summary.evaluate("one => one === document.activeElement"):
            break
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("by hand")
    page.keyboard.press("Enter")

    page.wait_for_selector("#page")
    served.desk.delivery.run(SECOND)
    expect(page.locator(f"#{made.id} .badge")).to_contain_text("paused", timeout=SOON)


def test_it_survives_the_death_of_control(tmp_path: Path, visit: Visitor) -> None:
    data = tmp_path / "data"
    with headway(data=data, port=free_port()) as url:
        visited = visit(url, (data / "admin.key").read_text("ascii").strip())
        page = visited.page
        expect(page.locator("#connection")).to_have_text("live")
        expect(page.locator("#calm")).to_contain_text("Nothing is moving")
        (control,) = processes_of(data, "control")

        os.kill(control, signal.SIGSTOP)
        expect(page.locator("#lost")).to_contain_text("No connection", timeout=30_000)
        os.kill(control, signal.SIGKILL)

        expect(page.locator("#connection")).to_have_text("live", timeout=30_000)
        expect(page.locator("#lost")).to_be_hidden()
        assert visited.seen.hosts == {url.split("/")[2]}
