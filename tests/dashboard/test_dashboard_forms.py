"""Forms act for those who may, from our own pages alone; and nothing that is said runs."""

import pytest
from tests.dashboard.world import OURS, Desk

from headway.deployments.intent import Verb
from headway.kernel.clock import SECOND
from headway.outbox.actor import Actor


def test_who_pauses_a_deployment_pauses_it(desk: Desk) -> None:
    made = desk.canary()
    browser = desk.browser("deployer")

    answer = browser.send(f"/deployments/{made.id}/pause", why="lunch")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    desk.delivery.run(SECOND)
    assert desk.delivery.row(made).state == "paused"
    assert "lunch" in desk.delivery.row(made).because


def test_a_promotion_wants_the_name_of_the_version(desk: Desk) -> None:
    made = desk.canary()
    browser = desk.browser("deployer")
    where = f"/deployments/{made.id}/promote"

    refused = browser.send(where, why="I know it", typed="1.0.0")
    taken = browser.send(where, why="I know it", typed="1.1.0")

    assert refused.status_code == 422
    assert "type 1.1.0" in refused.text
    assert taken.status_code == 303
    desk.delivery.run(SECOND)
    assert desk.delivery.shares() == {"1.0.0": 5_000, "1.1.0": 5_000}


def test_who_aborts_sends_everybody_back(desk: Desk) -> None:
    made = desk.canary()
    browser = desk.browser("deployer")
    assert "Send everybody back to 1.0.0" in browser.get().text

    browser.send(f"/deployments/{made.id}/abort", why="a call from support")

    desk.delivery.run(10 * SECOND)
    assert desk.delivery.shares() == {"1.0.0": 10_000}


def test_a_route_goes_back_to_what_the_button_says(desk: Desk) -> None:
    desk.canary(steps=[{"send": "100%"}])
    desk.delivery.run(10 * SECOND)
    browser = desk.browser("deployer")
    assert desk.delivery.shares() == {"1.1.0": 10_000}
    assert "Roll back: everybody to 1.0.0" in browser.get().text
    revision = str(desk.delivery.route().revision)
    where = {"model": "digits", "environment": "production"}

    browser.send("/rollbacks", why="complaints", revision=revision, **where)

    assert desk.delivery.shares() == {"1.0.0": 10_000}


def test_a_button_of_an_older_page_does_nothing_else_than_it_says(desk: Desk) -> None:
    desk.canary(steps=[{"send": "100%"}])
    desk.delivery.run(10 * SECOND)
    browser = desk.browser("deployer")
    older = str(desk.delivery.route().revision - 1)
    where = {"model": "digits", "environment": "production"}

    answer = browser.send("/rollbacks", why="complaints", revision=older, **where)

    assert answer.status_code == 409
    assert "changed meanwhile" in answer.text
    assert desk.delivery.shares() == {"1.1.0": 10_000}


def test_what_is_too_late_is_told_in_words(desk: Desk) -> None:
    made = desk.canary()
    desk.judged(made, candidate=(200, 60))
    browser = desk.browser("deployer")

    answer = browser.send(f"/deployments/{made.id}/pause")

    assert answer.status_code == 409
    assert "cannot be asked to pause" in answer.text


def test_who_may_only_look_has_no_buttons_and_may_not_send_their_forms(desk: Desk) -> None:
    made = desk.canary()
    browser = desk.browser("viewer")

    assert 'class="action' not in browser.get().text
    answer = browser.send(f"/deployments/{made.id}/abort", why="because")

    assert answer.status_code == 403
    assert "deployments.write" in answer.text


def test_a_key_sees_and_moves_its_own_models_alone(desk: Desk) -> None:
    made = desk.canary()
    browser = desk.browser("deployer", models=("other-*",))

    shown = browser.get().text
    answer = browser.send(f"/deployments/{made.id}/abort", why="because")

    assert "digits" not in shown
    assert answer.status_code == 404


def test_a_key_of_another_environment_sees_the_model_and_not_its_route(desk: Desk) -> None:
    made = desk.canary()

    shown = desk.browser("admin", environments=("staging",)).get().text

    assert "digits" in shown
    assert made.id not in shown
    assert "1.0.0 is the stable version" not in shown


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OURS, 303),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 303),
        ({"Origin": "http://localhost"}, 303),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "http://evil.example.com"}, 403),
        ({"Origin": "http://localhost:1234"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
)
def test_only_forms_of_our_own_pages_are_taken(
    desk: Desk, headers: dict[str, str], status: int
) -> None:
    made = desk.canary()
    browser = desk.browser("deployer")
    fields = {"token": browser.token(), "why": ""}

    answer = browser.post(f"/deployments/{made.id}/pause", fields, headers)

    assert answer.status_code == status


def test_a_form_carries_the_token_of_its_session(desk: Desk) -> None:
    made = desk.canary()
    browser, other = desk.browser("deployer"), desk.browser("deployer")
    where = f"/deployments/{made.id}/pause"

    assert browser.post(where, {"token": other.token(), "why": ""}).status_code == 403
    assert browser.post(where, {"why": ""}).status_code == 403
    assert browser.post("/logout", {"token": "x"}).status_code == 403
    assert desk.delivery.row(made).state == "running"


def test_a_key_in_the_head_is_no_session(desk: Desk) -> None:
    head = {"Authorization": f"Bearer {desk.key('admin')}"}

    assert desk.app.test_client().get("/", headers=head).status_code == 303


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def test_nothing_that_somebody_wrote_runs(desk: Desk) -> None:
    desk.services.registry.register_model(
        "bot", actor=Actor(HOSTILE, "person"), description=HOSTILE, tags={}, alternative_ids=()
    )
    made = desk.canary(why=HOSTILE)
    desk.services.deployments.intend(
        made.id, Verb.PAUSE, actor=Actor(HOSTILE, "agent"), why=HOSTILE
    )
    desk.delivery.run(2 * SECOND)

    shown = desk.browser("deployer").get().text

    assert "&lt;script&gt;" in shown
    assert "<script>alert" not in shown
    assert "<img src=x" not in shown
    assert 'onerror=alert(2)">' not in shown


def test_no_style_and_no_script_stands_in_the_page(desk: Desk) -> None:
    made = desk.canary()
    desk.judged(made, candidate=(200, 3))

    shown = desk.browser("deployer").get().text

    assert " style=" not in shown
    assert "<style" not in shown
    assert " onclick" not in shown
    assert shown.count("<script") == shown.count('<script src="/static/')
