"""`Headway-Pin`: who echoes it stays on a version until it runs out, or that is taken back."""

from typing import Any

import pytest
from tests.gateway.conftest import Traffic
from tests.gateway.test_chat_traffic import chat

from headway.kernel.clock import HOUR, MINUTE, utc_now
from headway.routing.route import Ages, Epoch, Guard, Route
from headway.testing.gateway import document, key_entry, route_of
from headway.testing.provider import Reply

OLD, NEW = "1.0.0", "2.0.0"


def serve(traffic: Traffic, route: Route, **told: object) -> None:
    """Adopt a route of `bot`; `told`: what else gateways are told of it."""
    found: dict[str, Any] = document(
        keys=[key_entry(traffic.gateway.key, traffic.gateway.digest)],
        versions={
            ("bot", OLD): traffic.target(model="old"),
            ("bot", NEW): traffic.target(model="new"),
        },
        routes=[route],
    )
    found["routes"][0] |= told
    traffic.gateway.adopt(found)


def whole(version: str, revision: int) -> Route:
    return route_of("bot", [("stable", version, 10_000)], revision=revision)


def halves(revision: int = 2, *, pin_for: int = 24 * HOUR) -> Route:
    """Two versions under a deployment."""
    epoch = Epoch(
        deployment="dep_1",
        step=1,
        alpha=0.01,
        first_gateway=1,
        ages={"errors": Ages(5_000, 10_000)},
        pin_for=pin_for,
    )
    return route_of(
        "bot",
        [("stable", OLD, 5_000), ("candidate", NEW, 5_000)],
        revision=revision,
        epoch=epoch,
        guards=[Guard(arm="candidate", metric="errors", above=0.1)],
    )


def pass_time(traffic: Traffic, milliseconds: int) -> None:
    gateway = traffic.gateway
    gateway.clock = lambda: utc_now() + milliseconds
    gateway.on_loop(lambda: gateway.gateway.pipeline.sweep(0.0))


def answered_by(traffic: Traffic, pin: str) -> set[str]:
    """Say who answers a handful of requests that show this pin."""
    return {chat(traffic, headway_pin=pin)[1]["headway-version"] for _ in range(6)}


def pin_on(traffic: Traffic, version: str) -> str:
    return chat(traffic, f"bot@{version}")[1]["headway-pin"]


def test_it_holds_through_a_deployment_and_after_the_promotion(traffic: Traffic) -> None:
    serve(traffic, whole(OLD, 1))
    pin = chat(traffic)[1]["headway-pin"]

    serve(traffic, halves())
    assert answered_by(traffic, pin) == {OLD}
    serve(traffic, whole(NEW, 3))
    assert answered_by(traffic, pin) == {OLD}
    assert chat(traffic)[1]["headway-version"] == NEW


def test_it_runs_out_after_a_day_however_often_it_is_shown(traffic: Traffic) -> None:
    serve(traffic, whole(OLD, 1))
    pin = chat(traffic)[1]["headway-pin"]
    serve(traffic, whole(NEW, 2))

    pass_time(traffic, 24 * HOUR - 2 * MINUTE)
    _, fields, _ = chat(traffic, headway_pin=pin)
    assert (fields["headway-version"], fields["headway-pin"]) == (OLD, pin)

    pass_time(traffic, 24 * HOUR + MINUTE)
    assert answered_by(traffic, pin) == {NEW}


def test_a_plan_says_how_long_those_hold_that_are_given_out_under_it(traffic: Traffic) -> None:
    serve(traffic, halves(pin_for=HOUR))
    pin = pin_on(traffic, OLD)
    serve(traffic, whole(NEW, 3))

    pass_time(traffic, HOUR - 2 * MINUTE)
    assert answered_by(traffic, pin) == {OLD}
    pass_time(traffic, HOUR + MINUTE)
    assert answered_by(traffic, pin) == {NEW}


def test_a_rollback_ends_it_for_the_version_that_is_left(traffic: Traffic) -> None:
    serve(traffic, halves())
    new, old = pin_on(traffic, NEW), pin_on(traffic, OLD)

    serve(traffic, whole(OLD, 3), rolled_back={NEW: 3})
    assert answered_by(traffic, new) == {OLD}

    serve(traffic, halves(4), rolled_back={NEW: 3})  # another attempt with the same version
    assert answered_by(traffic, old) == {OLD}
    again = pin_on(traffic, NEW)
    serve(traffic, whole(OLD, 5), rolled_back={NEW: 3})  # not taken back since then
    assert answered_by(traffic, again) == {NEW}
    assert answered_by(traffic, new) == {OLD}


def test_nobody_stays_on_an_arm_that_this_gateway_has_vetoed(traffic: Traffic) -> None:
    serve(traffic, halves())
    pin = pin_on(traffic, NEW)
    traffic.provider.script = lambda asked: Reply(
        status=500 if asked.json["model"] == "new" else 200
    )
    for _ in range(60):
        chat(traffic)
    traffic.gateway.on_loop(lambda: traffic.gateway.gateway.pipeline.sweep(0.0))
    assert answered_by(traffic, pin) == {OLD}


@pytest.mark.parametrize("state", ["retired", "yanked"])
def test_a_version_that_nobody_may_call_any_more_is_left(traffic: Traffic, state: str) -> None:
    serve(traffic, whole(OLD, 1))
    pin = chat(traffic)[1]["headway-pin"]
    traffic.serve(
        whole(NEW, 2),
        versions={("bot", OLD): traffic.target(), ("bot", NEW): traffic.target()},
        states={("bot", OLD): state},
    )
    assert answered_by(traffic, pin) == {NEW}
