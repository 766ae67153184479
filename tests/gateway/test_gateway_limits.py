"""What a gateway refuses by itself."""

from collections.abc import Mapping

import pytest

from headway.gateway.accumulator import Accumulator
from headway.gateway.exchange import unusable
from headway.gateway.limits import Addresses, FailedKeys, Guards
from headway.gateway.view import Compiler, View
from headway.routing.assignment import Assignment
from headway.routing.route import Ages, Epoch, Guard, Route
from headway.testing.gateway import document, route_of
from headway.tracking.measurement import Outcome
from headway.wire.framing import Headers

TARGET = {"provider": "openai", "base_url": "https://api.example.com/v1", "model": "m"}


def test_address_waits_for_the_rest_of_its_minute() -> None:
    failed = FailedKeys(most=3)
    for now in (100.0, 101.0):
        failed.add("a", now)
    assert failed.wait("a", 102.0) == 0
    failed.add("a", 102.0)
    assert 0 < failed.wait("a", 103.0) <= 60
    assert failed.wait("b", 103.0) == 0
    assert failed.wait("a", 170.0) == 0


def test_memory_for_addresses_is_bounded() -> None:
    failed = FailedKeys(most=1)
    for n in range(20_000):
        failed.add(f"address {n}", 100.0)
    assert failed.wait("address 7", 101.0) > 0
    assert failed.wait("address 19999", 101.0) == 0


def named(value: str) -> Headers:
    return Headers([(b"x-forwarded-for", value.encode())])


@pytest.mark.parametrize(
    ("peer", "header", "found"),
    [
        ("9.9.9.9", "1.1.1.1", "9.9.9.9"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "1.1.1.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::1", "2001:db8::7", "2001:db8::7"),
    ],
)
def test_forwarded_address_is_believed_from_the_right_as_far_as_proxies_are_trusted(
    peer: str, header: str, found: str
) -> None:
    assert Addresses("10.0.0.0/8, ::1").of(peer, named(header)) == found
    assert Addresses().of(peer, named(header)) == peer


def test_of_several_fields_the_last_is_the_nearest_proxys() -> None:
    fields = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"1.1.1.1, 10.0.0.2")]
    assert Addresses("10.0.0.0/8").of("10.0.0.1", Headers(fields)) == "1.1.1.1"
    assert Addresses("10.0.0.0/8").of("10.0.0.1", Headers([(b"forwarded", b"for=6.6.6.6")])) == (
        "10.0.0.1"
    )


def a_route(share: int, revision: int, deployment: str = "dep_1") -> Route:
    return route_of(
        "bot",
        [("stable", "1.0.0", 10_000 - share), ("candidate", "1.1.0", share)],
        revision=revision,
        epoch=Epoch(
            deployment=deployment,
            step=1,
            alpha=0.01,
            first_gateway=1,
            ages={"errors": Ages(5_000, 10_000)},
        ),
        guards=[Guard(arm="candidate", metric="errors", above=0.1)],
    )


def view_of(*routes: Route) -> View:
    return Compiler(lambda _: unusable(""), b"k" * 16).compile(
        document(
            keys=[],
            versions={("bot", "1.0.0"): TARGET, ("bot", "1.1.0"): TARGET},
            routes=routes,
        )
    )


class Watched:
    """A gateway as far as its guards see it."""

    def __init__(self, number: int = 1) -> None:
        self.accumulator = Accumulator()
        self.now = 1_000_000_000_000
        self.guards = Guards(self.accumulator, lambda: self.now)
        self.guards.number = number

    def request(self, route: Route, arm: int, outcome: Outcome) -> None:
        flat = route.rules[0].arms
        assignment = Assignment(route, 0, arm, flat[arm], "u", single=True, bucket=1)
        flight = self.accumulator.begin(assignment, unit=0, flags=64, at=self.now)
        self.accumulator.sent(flight)
        self.accumulator.record(flight, outcome, latency_ms=5)

    def failures_until_veto(self, route: Route) -> int:
        self.guards.adopt(view_of(route))
        for n in range(1, 200):
            self.request(route, 0, Outcome.OK)
            self.request(route, 1, Outcome.PROVIDER)
            if self.guards.sweep():
                return n
        return 200


def test_few_failures_in_a_row_veto_the_first_gateways_candidate() -> None:
    # judge.md: at a limit and a share of 10 %, 5 failures in a row for the first gateway.
    assert 3 <= Watched().failures_until_veto(a_route(1_000, 1)) <= 8


def test_later_gateways_want_more() -> None:
    first = Watched(number=1).failures_until_veto(a_route(5_000, 1))
    eighth = Watched(number=8).failures_until_veto(a_route(5_000, 1))
    assert first < eighth <= 3 * first


def test_veto_holds_while_its_deployment_lasts_and_ends_with_it() -> None:
    watched = Watched()
    route = a_route(1_000, 1)
    watched.failures_until_veto(route)
    assert watched.guards.vetoed(route) == {"candidate"}
    later = a_route(2_000, 2)
    watched.guards.adopt(view_of(later))
    assert watched.guards.vetoed(later) == {"candidate"}
    watched.guards.adopt(view_of(route_of("bot", [("stable", "1.0.0", 10_000)], revision=3)))
    assert not watched.guards.any_veto
    again = a_route(1_000, 4, deployment="dep_2")
    watched.guards.adopt(view_of(again))
    assert watched.guards.vetoed(again) == frozenset()


def test_limit_is_said_once() -> None:
    watched = Watched()
    route = a_route(1_000, 1)
    watched.failures_until_veto(route)
    for _ in range(5):
        watched.request(route, 1, Outcome.PROVIDER)
        assert watched.guards.sweep() == ()
    batch = watched.accumulator.freeze("boot", 1, 1)
    assert len(batch.vetoes) == 1
    assert batch.vetoes[0].epoch == 1


def test_veto_carries_the_counts_that_it_was_decided_on() -> None:
    watched = Watched(number=3)
    route = a_route(1_000, 1)
    n = watched.failures_until_veto(route)
    (veto,) = watched.accumulator.freeze("boot", 1, 1).vetoes
    detail = veto.detail
    assert isinstance(detail, Mapping)
    minute = watched.now - watched.now % 60_000
    assert detail["gateway"] == 3
    assert detail["ground"] == {"since": minute, "n": n, "bad": n}
    assert detail["stable"] == {"n": n, "bad": 0}


def test_whole_traffic_on_the_candidate_is_judged_by_the_limit_alone() -> None:
    watched = Watched()
    route = a_route(10_000, 1)
    watched.guards.adopt(view_of(route))
    for _ in range(20):
        watched.request(route, 1, Outcome.PROVIDER)
    assert len(watched.guards.sweep()) == 1
