"""`never` limits: quick, afresh every minute, fair, and never without a second proof."""

import json
from itertools import product
from math import exp, log
from random import Random

import pytest
from tests.judge.traffic import binomial, hit

from headway.judge.events import Hits
from headway.judge.limits import (
    Limit,
    LimitWatch,
    needed_in_control,
    needed_in_gateway,
    place_of,
)

ALPHA = 0.01


def gateway(above: float, *, place: int = 1) -> LimitWatch:
    return LimitWatch(Limit("errors", above), needed=needed_in_gateway(place, alpha=ALPHA))


def failures_in_a_row(watch: LimitWatch, *, minute: int = 0, share_bp: int = 1_000) -> int:
    """How many of the candidate's requests fail, one after the other, until the limit acts."""
    for n in range(1, 500):
        if watch.sweep(minute, sent=1, bad={minute: 1}, hits=[Hits(share_bp, 1, 0)]):
            return n
    raise AssertionError("it never acted")


@pytest.mark.parametrize(
    ("above", "place", "failures"), [(0.5, 1, 15), (0.5, 8, 21), (0.1, 1, 5), (0.1, 8, 7)]
)
def test_so_many_failures_in_a_row_hit_the_limit_of_the_first_and_the_eighth_gateway(
    above: float, place: int, failures: int
) -> None:
    assert failures_in_a_row(gateway(above, place=place)) == failures


@pytest.mark.parametrize(
    ("above", "clean", "failures"),
    [(0.5, 3_000, 26), (0.1, 3_000, 9), (0.5, 36_000, 33), (0.1, 36_000, 11)],
)
def test_clean_hours_before_do_not_drown_the_failures_of_now(
    above: float, clean: int, failures: int
) -> None:
    # One request a second; now and then the stable version errs, the candidate did not.
    watch = gateway(above)
    for second in range(clean):
        stable = [Hits(1_000, 0, 1)] if second % 60 == 0 else []
        watch.sweep(second // 60, sent=1, bad={}, hits=stable)

    assert failures_in_a_row(watch, minute=clean // 60) == failures


def test_a_proof_that_does_not_start_afresh_would_drown() -> None:
    watch = gateway(0.5)
    watch.sweep(0, sent=3_000, bad={})

    for _ in range(60):
        assert not watch.sweep(0, sent=1, bad={0: 1}, hits=[Hits(1_000, 1, 0)])


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_a_candidate_at_the_limit_is_expected_to_gain_no_evidence(delay: int) -> None:
    # Eight requests, two a minute; a failure shows `delay` minutes after its request was sent.
    expected = 0.0
    for outcomes in product((0, 1), repeat=8):
        watch = gateway(0.3)
        chance = 1.0
        for minute in range(4 + delay):
            sent = outcomes[2 * minute : 2 * minute + 2]
            shown = minute - delay
            bad = sum(outcomes[2 * shown : 2 * shown + 2]) if shown >= 0 else 0
            watch.sweep(minute, sent=len(sent), bad={shown: bad} if bad else {})
        for outcome in outcomes:
            chance *= 0.3 if outcome else 0.7
        expected += chance * exp(watch.log_rate)

    assert expected == pytest.approx(1, abs=1e-9)


def test_a_harmless_candidate_is_expected_to_gain_no_evidence_of_being_worse() -> None:
    p, expected = hit(2_000, 1), 0.0
    for arms in product((0, 1), repeat=9):
        watch = gateway(0.3)
        chance = 1.0
        for place, candidate in enumerate(arms):
            watch.sweep(place // 3, sent=1, bad={}, hits=[Hits(2_000, candidate, 1 - candidate)])
            chance *= p if candidate else 1 - p
        expected += chance * exp(watch.log_worse)

    assert expected == pytest.approx(1, abs=1e-9)


def test_failures_of_requests_from_long_ago_prove_nothing_for_what_began_since() -> None:
    watch = gateway(0.1)
    for minute in range(100):
        watch.sweep(minute, sent=1, bad={})
    before = watch.log_rate
    watch.sweep(100, sent=0, bad={3: 50})

    assert watch.log_rate <= before


def test_an_outage_of_both_arms_never_hits_a_limit() -> None:
    watch, chance = gateway(0.1), Random(1)
    for sweep in range(4 * 120):
        candidate = binomial(chance, 50, 0.1)
        watch.sweep(
            sweep // 240,
            sent=candidate,
            bad={sweep // 240: candidate} if candidate else {},
            hits=[Hits(1_000, candidate, 50 - candidate)],
        )
        assert not watch.hit

    assert watch.log_rate > watch.needed  # the first proof alone would have condemned it


def test_being_worse_alone_hits_no_limit_while_the_rate_is_below_it() -> None:
    watch = gateway(0.5)
    for minute in range(30):
        watch.sweep(minute, sent=100, bad={minute: 5}, hits=[Hits(1_000, 5, 0)])
        assert not watch.hit

    assert watch.log_worse > watch.needed


def test_without_stable_traffic_the_rate_alone_acts() -> None:
    watch = gateway(0.5)
    acted = [watch.sweep(0, sent=1, bad={0: 1}, alone=True) for _ in range(20)]

    assert acted.index(True) + 1 == 15


def test_what_was_seen_beside_a_stable_version_does_not_act_once_it_is_alone() -> None:
    watch = gateway(0.1)
    watch.sweep(0, sent=40, bad={0: 40}, hits=[Hits(1_000, 40, 360)])
    assert watch.log_rate > watch.needed

    assert not watch.sweep(1, sent=10, bad={}, alone=True)
    assert not watch.sweep(1, sent=1, bad={1: 1}, alone=True)


def test_slow_failures_below_the_limit_hit_nothing_in_hours_alone() -> None:
    # 4 % fail, each five seconds after it was sent, so that minutes begin with failures of
    # requests that were sent before: one that began in between must not gain from them.
    watch, chance = gateway(0.1), Random(3)
    pending: list[int] = []
    for second in range(4 * 3_600):
        bad = {}
        if pending and pending[0] <= second - 5:
            bad = {pending.pop(0) // 60: 1}
        assert not watch.sweep(second // 60, sent=1, bad=bad, alone=True)
        if chance.random() < 0.04:
            pending.append(second)


def test_gateways_at_the_limit_spend_a_tenth_of_alpha_all_together() -> None:
    spent = sum(1 / needed_in_gateway(place, alpha=ALPHA) for place in range(1, 100_000))

    assert spent == pytest.approx(0.1 * ALPHA, rel=1e-4)
    assert needed_in_control(alpha=ALPHA) == pytest.approx(1_000)
    assert needed_in_control(alpha=ALPHA, limits=3) == pytest.approx(3_000)
    assert needed_in_gateway(1, alpha=ALPHA, limits=2) == pytest.approx(4_000)


def test_gateways_count_from_the_lowest_that_lived_at_the_start() -> None:
    assert place_of(41, first=40) == 2
    assert place_of(40, first=40) == 1
    assert place_of(7, first=40) == 1


def test_both_arms_exactly_at_the_limit_veto_next_to_nobody() -> None:
    chance, vetoes = Random(6), 0
    p = hit(1_000, 1)
    for _ in range(40):
        watches = [gateway(0.1, place=place) for place in range(1, 5)]
        for second in range(120):
            for watch in watches:
                sent = binomial(chance, 20, 0.1)
                events = binomial(chance, 20, 0.1)
                candidate = min(sent, binomial(chance, events, p))
                minute = second // 60
                bad = {minute: candidate} if candidate else {}
                hits = [Hits(1_000, candidate, events - candidate)]
                vetoes += watch.sweep(minute, sent=sent, bad=bad, hits=hits)

    assert vetoes == 0


def test_a_watch_goes_on_from_its_text_as_if_it_had_never_stopped() -> None:
    chance = Random(9)
    limit, needed = Limit("errors", 0.2), needed_in_control(alpha=ALPHA)
    straight, stopped = LimitWatch(limit, needed=needed), LimitWatch(limit, needed=needed)
    for minute in range(40):
        bad = {minute: binomial(chance, 20, 0.15)}
        for watch in (straight, stopped):
            watch.sweep(minute, sent=20, bad=bad, hits=[Hits(500, bad[minute], 30)])
        text = json.dumps(stopped.document(), allow_nan=False)
        stopped = LimitWatch.read(json.loads(text), limit, needed=needed)

    assert stopped.log_rate == pytest.approx(straight.log_rate, abs=1e-12)
    assert stopped.log_worse == pytest.approx(straight.log_worse, abs=1e-12)


def test_a_sweep_without_traffic_changes_nothing() -> None:
    watch = gateway(0.1)
    watch.sweep(0, sent=5, bad={0: 2}, hits=[Hits(1_000, 2, 1)])
    before = watch.document()
    watch.sweep(9, sent=0, bad={})

    assert watch.document() == before
    assert watch.log_rate > log(1)
