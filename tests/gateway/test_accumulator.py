"""What a gateway counts: sums of everything, evidence at its age, nothing lost or doubled."""

import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.gateway.accumulator import (
    MOST_SERVED_BY,
    OTHERS,
    Accumulator,
    Flight,
    GuardCount,
)
from headway.routing.allocation import lay_out
from headway.routing.assignment import NO_HINTS, Assignment, UnitHints
from headway.routing.route import Ages, Arm, Epoch, Guard, Role, Route, Rule
from headway.routing.table import Table, compile_route
from headway.testing.memory import Store
from headway.testing.memory import begin as work_of
from headway.tracking.measurement import Batch, Count, Measurement, Outcome, Veto
from headway.tracking.sketch import Sketch
from headway.tracking.stamp import SINGLE, Flag

STABLE = Arm("stable", "1.0.0", "sha256:aa", Role.STABLE)
CANDIDATE = Arm("candidate", "1.1.0", "sha256:bb", Role.CANDIDATE)
M, L = 2_000, 10_000
AT = 1_790_000_000_000
"""A multiple of 5 s, and 20 s into its minute."""
DUE_M = AT + 5_000
DUE_L = AT + 10_000
OK, PROVIDER, GONE = Outcome.OK, Outcome.PROVIDER, Outcome.GONE

EPOCH = Epoch(
    deployment="dep_1",
    step=1,
    alpha=0.01,
    first_gateway=1,
    ages={"errors": Ages(M, L)},
    thresholds_ms={"p50": 100.0},
    margin={"latency": 0.2},
)
ERRORS = Guard(arm="candidate", metric="errors", above=0.1)
SLOW = Guard(arm="candidate", metric="latency", above=0.05, slower_than_ms=800)
SLOWER = Guard(arm="candidate", metric="latency", above=0.01, slower_than_ms=6_000)
NEVER_SEEN = Guard(arm="candidate", metric="latency", above=0.5, slower_than_ms=L)
"""What is slower than L has not ended by then, and is an error."""
ROUTE = Route(
    model="digits",
    environment="production",
    rules=(Rule((STABLE, CANDIDATE), lay_out({"stable": 5_000, "candidate": 5_000})),),
    salt="dep_1",
    revision=4,
    id=40,
    epoch=EPOCH,
    guards=(ERRORS,),
)
LIMITED = replace(ROUTE, guards=(ERRORS, SLOW, SLOWER, NEVER_SEEN))
QUIET = replace(ROUTE, id=41, epoch=None, guards=())


def assigned(route: Route, arm: str, *, sticky: bool = False) -> Assignment:
    """Return an assignment to that arm."""
    table: Table = compile_route(route)
    hints = (UnitHints(conversation_header=f"c{i}") if sticky else NO_HINTS for i in range(1_000))
    found = (table.assign(hint, {}, f"r{i}") for i, hint in enumerate(hints))
    return next(one for one in found if one.arm.key == arm)


TO = {arm: assigned(ROUTE, arm) for arm in ("stable", "candidate")}
TO_LIMITED = {arm: assigned(LIMITED, arm) for arm in ("stable", "candidate")}


def begin(
    seen: Accumulator, arm: str = "candidate", *, unit: int = 0, flags: int = SINGLE, at: int = AT
) -> Flight:
    return seen.begin(TO[arm], unit=unit, flags=flags, at=at)


def evidence(batch: Batch) -> Counter[tuple[str, str, int, int, bool]]:
    """Return n by (arm, metric, bin, due, late)."""
    sums: Counter[tuple[str, str, int, int, bool]] = Counter()
    for count in batch.counts.get("dep_1", ()):
        assert count.epoch == ROUTE.id
        sums[count.arm, count.metric, count.bin, count.due, count.late] += count.n
    return sums


def firsts(batch: Batch) -> list[tuple[int, int, int, tuple[str, ...]]]:
    """Return (unit, bit, due, metrics that hang on it)."""
    found = []
    for event in batch.firsts.get("dep_1", ()):
        assert {(count.n, count.due) for count in event.counts} <= {(1, event.due)}
        metrics = tuple(count.metric for count in event.counts)
        found.append((event.unit, event.bit, event.due, metrics))
    return found


def stored(*batches: Batch) -> Counter[tuple[str, str, int, int, bool]]:
    """Return n by (arm, metric, bin, due, late) as a store has it that took the batches."""
    store = Store()
    with work_of(store, lambda: AT) as work:
        for batch in batches:
            work.gateways.start(boot=batch.boot, host="h", pid=1)
            work.gateways.flush(batch)
        work.commit()
    with work_of(store, lambda: AT) as work:
        return Counter(
            {(c.arm, c.metric, c.bin, c.due, c.late): c.n for c in work.evidence.of("dep_1")}
        )


def one(batch: Batch) -> Measurement:
    (measurement,) = batch.measurements
    return measurement


def test_finished_request_is_measured() -> None:
    seen = Accumulator()
    seen.record(
        begin(seen),
        OK,
        latency_ms=50,
        first_ms=20,
        tokens={"input": 7, "output": 2},
        served_by="gpt fp_1",
    )
    seen.record(begin(seen), PROVIDER, latency_ms=70, tokens={"input": 1})
    batch = seen.freeze("boot", 1, 9)
    measured = one(batch)
    assert (batch.boot, batch.seq, batch.applied_generation) == ("boot", 1, 9)
    assert (measured.model, measured.environment) == ("digits", "production")
    assert (measured.version, measured.arm) == ("1.1.0", "candidate")
    assert measured.minute == AT - 20_000
    assert measured.outcomes == {"ok": 1, "provider": 1}
    assert (measured.latency.n, measured.first.n) == (2, 1)
    assert measured.tokens == {"input": 8, "output": 2}
    assert measured.served_by == {"gpt fp_1": 1}


def test_request_is_measured_in_the_minute_in_which_it_ended() -> None:
    seen = Accumulator()
    for latency in (39_999, 40_000, 100):
        seen.record(begin(seen), OK, latency_ms=latency)
    minutes = {m.minute: m.outcomes["ok"] for m in seen.freeze("b", 1, 1).measurements}
    assert minutes == {AT - 20_000: 2, AT + 40_000: 1}


def test_upstream_cannot_fill_the_memory_with_names() -> None:
    seen = Accumulator()
    for i in range(100):
        seen.record(begin(seen), OK, latency_ms=1, served_by=f"model {i}")
    served = one(seen.freeze("b", 1, 1)).served_by
    assert len(served) == MOST_SERVED_BY + 1
    assert served[OTHERS] == 100 - MOST_SERVED_BY


@pytest.mark.parametrize(
    ("outcome", "latency", "wanted"),
    [
        (OK, 50, [("measured", 0, DUE_M, False)]),
        (
            PROVIDER,
            50,
            [
                ("measured", 0, DUE_M, False),
                ("errors", 1, DUE_M, False),
                ("errors.first", 1, DUE_M, False),
            ],
        ),
        (
            Outcome.VERSION,
            50,
            [
                ("measured", 0, DUE_M, False),
                ("errors", 1, DUE_M, False),
                ("errors.first", 1, DUE_M, False),
            ],
        ),
        (
            Outcome.REFUSED,
            50,
            [
                ("measured", 0, DUE_M, False),
                ("errors", 1, DUE_M, False),
                ("errors.first", 1, DUE_M, False),
            ],
        ),
        (
            OK,
            M + 1,
            [("latency.p50", 1, DUE_M, False), ("measured", 0, DUE_L, True)],
        ),
        (
            PROVIDER,
            L,
            [
                ("latency.p50", 1, DUE_M, False),
                ("measured", 0, DUE_L, True),
                ("errors", 1, DUE_L, True),
                ("errors.first", 1, DUE_L, True),
            ],
        ),
        (
            OK,
            L + 1,
            [
                ("latency.p50", 1, DUE_M, False),
                ("measured", 0, DUE_L, True),
                ("errors", 1, DUE_L, True),
                ("errors.first", 1, DUE_L, True),
            ],
        ),
        (Outcome.CALLER, 50, []),
        (Outcome.POLICY, 50, []),
        (Outcome.GATEWAY, 5_000, []),
        (GONE, 50, []),
        (GONE, 121, [("latency.p50", 1, DUE_M, False)]),
    ],
)
def test_request_counts_at_its_age(
    outcome: Outcome, latency: float, wanted: list[tuple[str, int, int, bool]]
) -> None:
    seen = Accumulator()
    seen.record(begin(seen), outcome, latency_ms=latency)
    assert evidence(seen.freeze("b", 1, 1)) == {("candidate", *key): 1 for key in wanted}


def test_due_is_rounded_up_to_five_seconds() -> None:
    seen = Accumulator()
    for at in (AT - 2_001, AT - 2_000, AT - 1_999):
        seen.record(begin(seen, at=at), OK, latency_ms=1)
    dues = {key[3]: n for key, n in evidence(seen.freeze("b", 1, 1)).items()}
    assert dues == {AT: 2, AT + 5_000: 1}


def test_candidate_is_slow_only_beyond_its_margin_and_both_count_at_the_same_age() -> None:
    at = (
        AT + 4_881
    )  # 119 ms before a step: the age of the threshold lies before, the margin's after
    seen = Accumulator()
    for arm, latency in (("stable", 101), ("stable", 100), ("candidate", 120), ("candidate", 121)):
        seen.record(begin(seen, arm, at=at), OK, latency_ms=latency)
    slow = {key: n for key, n in evidence(seen.freeze("b", 1, 1)).items() if "p50" in key[1]}
    assert slow == {
        ("stable", "latency.p50", 1, AT + 10_000, False): 1,
        ("candidate", "latency.p50", 1, AT + 10_000, False): 1,
    }


def test_request_that_hangs_counts_while_it_hangs() -> None:
    seen = Accumulator()
    flight = begin(seen)
    for age in (0, 250, 500):
        seen.mark(flight, age)
    assert evidence(seen.freeze("b", 1, 1)) == {("candidate", "latency.p50", 1, DUE_M, False): 1}
    seen.mark(flight, L + 1)
    late = evidence(seen.freeze("b", 2, 1))
    assert late == {
        ("candidate", "measured", 0, DUE_L, True): 1,
        ("candidate", "errors", 1, DUE_L, True): 1,
        ("candidate", "errors.first", 1, DUE_L, True): 1,
    }
    seen.record(flight, PROVIDER, latency_ms=L + 200)
    last = seen.freeze("b", 3, 1)
    assert not evidence(last)
    assert one(last).outcomes == {"provider": 1}


@pytest.mark.parametrize("flag", [flag for flag in Flag if flag is not Flag.SINGLE])
def test_extraordinary_request_is_measured_and_no_evidence(flag: Flag) -> None:
    seen = Accumulator()
    for flags in (int(flag), int(flag) | SINGLE):
        flight = begin(seen, flags=flags, unit=5)
        seen.sent(flight)
        seen.mark(flight, 5_000)
        seen.record(flight, PROVIDER, latency_ms=5_000)
    batch = seen.freeze("b", 1, 1)
    assert one(batch).outcomes == {"provider": 2}
    assert not batch.counts
    assert not batch.firsts
    assert seen.guard_counts("dep_1") == ()


def test_route_without_deployment_gives_no_evidence() -> None:
    seen = Accumulator()
    flight = seen.begin(assigned(QUIET, "candidate"), unit=0, flags=SINGLE, at=AT)
    seen.sent(flight)
    seen.record(flight, PROVIDER, latency_ms=5_000)
    batch = seen.freeze("b", 1, 1)
    assert one(batch).outcomes == {"provider": 1}
    assert (dict(batch.counts), dict(batch.firsts)) == ({}, {})


def test_only_the_rule_with_the_candidate_is_judged() -> None:
    staff = Rule(
        (Arm("stable", "0.9.0", "sha256:cc", Role.STABLE),),
        lay_out({"stable": 10_000}),
        when={"staff": True},
    )
    table = compile_route(replace(ROUTE, id=42, rules=(staff, *ROUTE.rules)))
    seen = Accumulator()
    for attributes in ({"staff": True}, {"staff": False}):
        seen.record(
            seen.begin(table.assign(NO_HINTS, attributes, "r"), unit=0, flags=SINGLE, at=AT),
            OK,
            latency_ms=1,
        )
    batch = seen.freeze("b", 1, 1)
    assert sum(count.n for count in batch.counts["dep_1"]) == 1
    assert {m.version for m in batch.measurements} > {"0.9.0"}


def test_sticky_unit_is_one_however_often_it_comes() -> None:
    seen = Accumulator()
    for outcome, latency in ((OK, 50), (OK, 500), (PROVIDER, 60), (PROVIDER, 700)):
        seen.record(begin(seen, unit=-7, flags=0), outcome, latency_ms=latency)
    assert firsts(seen.freeze("b", 1, 1)) == [
        (-7, 4, DUE_M, ()),
        (-7, 1, DUE_M, ("measured",)),
        (-7, 2, DUE_M, ("errors",)),
    ]
    seen.record(begin(seen, unit=-7, flags=0), PROVIDER, latency_ms=60)
    assert not seen.freeze("b", 2, 1).firsts


def test_only_the_first_measured_request_of_a_unit_can_be_slow() -> None:
    seen = Accumulator()
    for latency in (500, 500):
        seen.record(begin(seen, unit=8, flags=0), OK, latency_ms=latency)
    assert firsts(seen.freeze("b", 1, 1)) == [
        (8, 4, DUE_M, ("latency.p50",)),
        (8, 1, DUE_M, ("measured",)),
    ]


@pytest.mark.parametrize("first", [50, 150])
def test_unit_that_another_gateway_has_met_adds_no_slow_answer(first: float) -> None:
    gateways = (Accumulator(), Accumulator())
    for seen, latency in zip(gateways, (first, 500), strict=True):
        seen.record(begin(seen, unit=8, flags=0), OK, latency_ms=latency)
    both = stored(*(seen.freeze(boot, 1, 1) for seen, boot in zip(gateways, "ab", strict=True)))
    wanted = {("candidate", "measured", 0, DUE_M, False): 1}
    if first > 120:
        wanted["candidate", "latency.p50", 1, DUE_M, False] = 1
    assert both == wanted


def test_sticky_unit_that_hangs_is_slow_while_it_hangs_by_all_lines_at_one_age() -> None:
    # p50 at 100 and p90 at 3,000 ms, both divided by 1.2 for the candidate: known at 3,600 ms.
    route = replace(ROUTE, id=44, epoch=replace(EPOCH, thresholds_ms={"p50": 100, "p90": 3_000}))
    seen, other = Accumulator(), Accumulator()
    flight = seen.begin(assigned(route, "candidate"), unit=8, flags=0, at=AT)
    for age in (200, 3_500):
        seen.mark(flight, age)
        assert not firsts(seen.freeze("a", 1, 1))
    seen.mark(flight, 3_601)
    hangs = seen.freeze("a", 1, 1)
    assert firsts(hangs) == [(8, 4, AT + 5_000, ("latency.p50", "latency.p90"))]
    seen.record(flight, OK, latency_ms=4_000)
    ends = seen.freeze("c", 1, 1)
    again = other.begin(assigned(route, "candidate"), unit=8, flags=0, at=AT)
    other.record(again, PROVIDER, latency_ms=4_000)
    assert stored(hangs, ends, other.freeze("b", 1, 1)) == {
        ("candidate", "latency.p50", 1, AT + 5_000, False): 1,
        ("candidate", "latency.p90", 1, AT + 5_000, False): 1,
        ("candidate", "measured", 0, DUE_L, True): 1,
        ("candidate", "errors", 1, DUE_L, True): 1,
    }


@pytest.mark.parametrize(
    ("latency", "wanted"), [(50, []), (121, [(8, 4, DUE_M, ("latency.p50",))])]
)
def test_sticky_caller_who_left_says_only_what_was_known_by_then(
    latency: float, wanted: list[tuple[int, int, int, tuple[str, ...]]]
) -> None:
    seen = Accumulator()
    seen.record(begin(seen, unit=8, flags=0), GONE, latency_ms=latency)
    assert firsts(seen.freeze("b", 1, 1)) == wanted


def test_unit_whose_first_request_was_bad_is_counted_apart() -> None:
    seen = Accumulator()
    for unit, outcomes in enumerate(((PROVIDER, OK), (OK, PROVIDER), (PROVIDER, PROVIDER))):
        for outcome in outcomes:
            seen.record(begin(seen, unit=unit, flags=0), outcome, latency_ms=1)
    assert stored(seen.freeze("b", 1, 1)) == {
        ("candidate", "measured", 0, DUE_M, False): 3,
        ("candidate", "errors", 1, DUE_M, False): 3,
        ("candidate", "errors.first", 1, DUE_M, False): 2,
    }


def test_bad_requests_are_summed_up_apart_so_that_it_is_known_how_late_they_come() -> None:
    seen = Accumulator()
    for outcome, latency in ((OK, 10), (PROVIDER, 900), (GONE, 50), (Outcome.REFUSED, 20)):
        seen.record(begin(seen), outcome, latency_ms=latency)
    lost = seen.freeze("b", 1, 1)
    seen.merge_back(lost)
    seen.record(begin(seen), Outcome.VERSION, latency_ms=30)
    measured = one(seen.freeze("b", 1, 1))
    assert measured.bad == Sketch.of([900, 20, 30])
    assert measured.latency.n == 5


def test_unit_that_was_forgotten_is_sent_again_for_the_store_to_decide() -> None:
    seen = Accumulator(most_known=2)
    for unit in (1, 2, 3, 1):
        seen.record(begin(seen, unit=unit, flags=0), OK, latency_ms=1)
    met = [first[0] for first in firsts(seen.freeze("b", 1, 1)) if first[1] == 1]
    assert met == [1, 2, 3, 1]


def test_guards_count_requests_sent_and_failures_by_the_minute_of_sending() -> None:
    seen = Accumulator()
    flights = [
        seen.begin(TO_LIMITED["candidate"], unit=0, flags=SINGLE, at=AT + i * 30_000)
        for i in range(4)
    ]
    for flight in flights:
        seen.sent(flight)
        seen.sent(flight)
    minute = AT // 60_000
    assert seen.guard_counts("dep_1") == (GuardCount(40, "candidate", 4, {}),)
    assert seen.guard_counts("dep_1") == ()
    seen.record(flights[0], PROVIDER, latency_ms=10)
    seen.record(flights[1], Outcome.GATEWAY, latency_ms=10)
    seen.mark(flights[2], 900)
    seen.record(flights[2], OK, latency_ms=950)
    seen.record(flights[3], Outcome.VERSION, latency_ms=10)
    stable = seen.begin(TO_LIMITED["stable"], unit=0, flags=SINGLE, at=AT)
    seen.sent(stable)
    seen.record(stable, Outcome.REFUSED, latency_ms=10)
    assert seen.guard_counts("dep_1") == (
        GuardCount(
            40,
            "candidate",
            0,
            {"errors": {minute: 1, minute + 1: 1}, "latency>800": {minute + 1: 1}},
        ),
        GuardCount(40, "stable", 1, {"errors": {minute: 1}}),
    )
    assert [guard.event for guard in (ERRORS, SLOW)] == ["errors", "latency>800"]


DUE_LIMITS = AT + 10_000
"""Both arms know at the age of the slowest limit below L, 6 s."""


def about_limits(batch: Batch) -> set[tuple[str, str, int, int]]:
    """Return (arm, metric, bin, n) of what a store has of the limits on latency."""
    found = stored(batch)
    rows = [(key, n) for key, n in found.items() if ">" in key[1]]
    assert {(key[3], key[4]) for key, _ in rows} <= {(DUE_LIMITS, False)}
    return {(arm, metric, bin_, n) for (arm, metric, bin_, _, _), n in rows}


@pytest.mark.parametrize("arm", ["stable", "candidate"])
@pytest.mark.parametrize(("unit", "flags"), [(7, 0), (0, SINGLE)])
@pytest.mark.parametrize(
    ("outcome", "latency", "slower"),
    [
        (Outcome.OK, 800, set()),
        (Outcome.PROVIDER, 10, set()),
        (Outcome.OK, 801, {"latency>800"}),
        (Outcome.PROVIDER, 6_001, {"latency>800", "latency>6000"}),
        (Outcome.OK, 20_000, {"latency>800", "latency>6000"}),
    ],
)
def test_limits_on_latency_are_evidence_of_both_arms_at_one_age(
    arm: str,
    unit: int,
    flags: int,
    outcome: Outcome,
    latency: float,
    slower: set[str],
) -> None:
    seen = Accumulator()
    flight = seen.begin(TO_LIMITED[arm], unit=unit, flags=flags, at=AT)
    seen.record(flight, outcome, latency_ms=latency)
    known = {(arm, metric, 0, 1) for metric in ("latency>800", "latency>6000")}
    assert about_limits(seen.freeze("b", 1, 1)) == known | {(arm, m, 1, 1) for m in slower}


def test_request_that_hangs_is_beyond_the_limits_while_it_hangs_and_once() -> None:
    seen = Accumulator()
    flight = seen.begin(TO_LIMITED["candidate"], unit=0, flags=SINGLE, at=AT)
    seen.mark(flight, 5_999)
    assert about_limits(seen.freeze("b", 1, 1)) == set()
    seen.mark(flight, 6_001)
    both = [
        ("candidate", metric, bin_, 1)
        for metric in ("latency>800", "latency>6000")
        for bin_ in (0, 1)
    ]
    assert about_limits(seen.freeze("b", 1, 1)) == set(both)
    seen.mark(flight, 10_001)
    seen.record(flight, Outcome.OK, latency_ms=12_000)
    assert about_limits(seen.freeze("b", 1, 1)) == set()


def test_sticky_unit_meets_the_limits_with_its_first_request_alone() -> None:
    seen = Accumulator()
    for latency in (10, 7_000):
        flight = seen.begin(TO_LIMITED["candidate"], unit=7, flags=0, at=AT)
        seen.record(flight, Outcome.OK, latency_ms=latency)
    assert about_limits(seen.freeze("b", 1, 1)) == {
        ("candidate", "latency>800", 0, 1),
        ("candidate", "latency>6000", 0, 1),
    }


@pytest.mark.parametrize(
    "outcome", [Outcome.CALLER, Outcome.POLICY, Outcome.GATEWAY, Outcome.GONE]
)
def test_what_says_nothing_of_a_version_says_nothing_of_its_limits(outcome: Outcome) -> None:
    seen = Accumulator()
    flight = seen.begin(TO_LIMITED["candidate"], unit=0, flags=SINGLE, at=AT)
    seen.record(flight, outcome, latency_ms=900)
    assert about_limits(seen.freeze("b", 1, 1)) == set()


def test_version_that_cannot_be_called_fails_its_guard_without_anything_sent() -> None:
    seen = Accumulator()
    for outcome in (Outcome.VERSION, OK, Outcome.CALLER, Outcome.GATEWAY):
        seen.record(begin(seen), outcome, latency_ms=1)
    assert seen.guard_counts("dep_1") == (
        GuardCount(40, "candidate", 1, {"errors": {AT // 60_000: 1}}),
    )


def test_guards_count_a_sticky_unit_once() -> None:
    seen = Accumulator()
    for _ in range(3):
        flight = begin(seen, unit=9, flags=0)
        seen.sent(flight)
        seen.record(flight, PROVIDER, latency_ms=10)
    (count,) = seen.guard_counts("dep_1")
    assert (count.sent, sum(count.bad["errors"].values())) == (1, 1)


def test_vetoes_and_key_uses_go_with_the_next_batch() -> None:
    seen = Accumulator()
    veto = Veto(
        deployment="dep_1", epoch=40, arm="candidate", metric="errors", at=AT, detail={"n": 9}
    )
    seen.veto(veto)
    seen.key_used("abcd", AT)
    seen.key_used("abcd", AT + 1)
    batch = seen.freeze("b", 1, 1)
    assert (batch.vetoes, dict(batch.key_uses)) == ((veto,), {"abcd": AT - 20_000})
    assert seen.freeze("b", 2, 1) == Batch(boot="b", seq=2, applied_generation=1)


def test_failed_batch_goes_with_the_next_and_does_not_change_itself() -> None:
    seen = Accumulator()
    seen.record(begin(seen), OK, latency_ms=10)
    seen.record(begin(seen, unit=1, flags=0), OK, latency_ms=10)
    failed = seen.freeze("b", 1, 1)
    before = repr(failed)
    seen.merge_back(failed)
    seen.record(begin(seen), OK, latency_ms=10)
    seen.record(begin(seen, unit=2, flags=0), OK, latency_ms=10)
    again = seen.freeze("b", 1, 1)
    assert repr(failed) == before
    assert one(again).outcomes == {"ok": 4}
    assert one(again).latency.n == 4
    assert evidence(again) == {("candidate", "measured", 0, DUE_M, False): 2}
    assert {first[0] for first in firsts(again)} == {1, 2}
    assert again.dropped == 0


def test_requests_that_came_to_no_version_add_up_until_the_store_took_them() -> None:
    seen = Accumulator()
    seen.unrouted(Outcome.CALLER)
    seen.unrouted(Outcome.POLICY)
    failed = seen.freeze("b", 1, 1)
    seen.merge_back(failed)
    seen.unrouted(Outcome.CALLER)
    assert failed.unrouted == {"caller": 1, "policy": 1}
    assert seen.freeze("b", 1, 1).unrouted == {"caller": 2, "policy": 1}
    assert seen.freeze("b", 2, 1) == Batch(boot="b", seq=2, applied_generation=1)


def test_batch_that_was_taken_is_not_sent_again() -> None:
    seen = Accumulator()
    seen.record(begin(seen), OK, latency_ms=10)
    seen.freeze("b", 1, 1)
    assert not seen.freeze("b", 2, 1).measurements


def test_what_the_store_cannot_take_for_too_long_is_dropped_oldest_first_and_counted() -> None:
    seen = Accumulator(most_rows=10)
    for minute in range(30):
        for arm in ("stable", "candidate"):
            flight = begin(seen, arm, at=AT + minute * 60_000)
            seen.record(flight, PROVIDER, latency_ms=10)
        seen.merge_back(seen.freeze("b", 1, 1))
    batch = seen.freeze("b", 1, 1)
    minutes = sorted({m.minute for m in batch.measurements})
    assert minutes[-1] == AT - 20_000 + 29 * 60_000
    assert 4 <= len(minutes) <= 5
    dues = {count.due for count in batch.counts["dep_1"]}
    by_arm = Counter(count.arm for count in batch.counts["dep_1"])
    assert by_arm["stable"] == by_arm["candidate"] == 3 * len(dues)
    kept = sum(sum(m.outcomes.values()) for m in batch.measurements)
    assert batch.dropped == (60 - kept) + (180 - sum(c.n for c in batch.counts["dep_1"]))


def test_units_are_sent_again_after_something_was_dropped() -> None:
    seen = Accumulator(most_rows=2)
    for unit in range(5):
        seen.record(begin(seen, unit=unit, flags=0, at=AT + unit * 5_000), OK, latency_ms=10)
    seen.merge_back(seen.freeze("b", 1, 1))
    seen.record(begin(seen, unit=0, flags=0, at=AT + 60_000), OK, latency_ms=10)
    assert 0 in [first[0] for first in firsts(seen.freeze("b", 1, 1))]


def test_deployments_that_ended_are_forgotten() -> None:
    seen = Accumulator()
    flight = begin(seen, unit=1, flags=0)
    seen.sent(flight)
    seen.retain({"dep_2"})
    assert seen.guard_counts("dep_1") == ()
    seen.record(flight, OK, latency_ms=10)
    assert {first[0] for first in firsts(seen.freeze("b", 1, 1))} == {1}


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("record"),
            st.sampled_from(["stable", "candidate"]),
            st.sampled_from(list(Outcome)),
            st.sampled_from([10, 150, 3_000, 11_000]),
            st.integers(0, 3),
            st.integers(0, 400_000),
        ),
        st.just(("taken",)),
        st.just(("lost",)),
    ),
    max_size=60,
)


@given(STEPS)
def test_batches_add_up_whatever_the_store_takes(steps: list[tuple[object, ...]]) -> None:
    whole, cut = Accumulator(), Accumulator()
    delivered: list[Batch] = []
    recorded = 0
    for step in steps:
        if step[0] == "record":
            _, arm, outcome, latency, unit, later = step
            recorded += 1
            for seen in (whole, cut):
                flight = seen.begin(
                    TO[str(arm)],
                    unit=int(str(unit)),
                    flags=0 if unit else SINGLE,
                    at=AT + int(str(later)),
                )
                seen.record(flight, Outcome(str(outcome)), latency_ms=float(str(latency)))
            continue
        batch = cut.freeze("b", len(delivered) + 1, 1)
        if step[0] == "taken":
            delivered.append(batch)
        else:
            cut.merge_back(batch)
    delivered.append(cut.freeze("b", len(delivered) + 1, 1))
    reference = whole.freeze("b", 1, 1)
    assert requests(delivered) == recorded == requests([reference])
    assert all_counts(delivered) == all_counts([reference])
    sent = [first for batch in delivered for first in firsts(batch)]
    assert sorted(sent) == sorted(firsts(reference))


def requests(batches: Iterable[Batch]) -> int:
    return sum(sum(m.outcomes.values()) for batch in batches for m in batch.measurements)


def all_counts(batches: Iterable[Batch]) -> Counter[tuple[str, str, int, int, bool]]:
    return sum((evidence(batch) for batch in batches), Counter())


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Let threads change places as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("hasty_threads")
def test_nothing_is_lost_or_doubled_while_another_thread_takes_batches() -> None:
    seen = Accumulator()
    done = threading.Event()
    batches: list[Batch] = []

    def flush() -> None:
        while not done.is_set():
            batch = seen.freeze("b", len(batches) + 1, 1)
            if len(batches) % 3 == 1:
                seen.merge_back(batch)
                batch = seen.freeze("b", len(batches) + 1, 1)
            batches.append(batch)

    thread = threading.Thread(target=flush)
    thread.start()
    for i in range(20_000):
        seen.record(begin(seen, ("stable", "candidate")[i % 2]), PROVIDER, latency_ms=i % 90)
    done.set()
    thread.join()
    batches.append(seen.freeze("b", len(batches) + 1, 1))
    assert requests(batches) == 20_000
    assert all_counts(batches) == {
        (arm, metric, bin_, DUE_M, False): 10_000
        for arm in ("stable", "candidate")
        for metric, bin_ in (("measured", 0), ("errors", 1), ("errors.first", 1))
    }
    assert sum(m.latency.n for batch in batches for m in batch.measurements) == 20_000


def test_count_of_a_batch_names_the_role_of_the_arm() -> None:
    main = Arm("main", "1.0.0", "sha256:aa", Role.STABLE)
    rule = Rule((main, CANDIDATE), lay_out({"main": 9_999, "candidate": 1}))
    seen = Accumulator()
    route = replace(ROUTE, rules=(rule,))
    seen.record(seen.begin(assigned(route, "main"), unit=0, flags=SINGLE, at=AT), OK, latency_ms=1)
    batch = seen.freeze("b", 1, 1)
    count = Count(40, "stable", "measured", bin=0, due=DUE_M, late=False, n=1)
    assert batch.counts["dep_1"] == (count,)
    assert one(batch).arm == "main"
