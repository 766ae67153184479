"""E-values on the router's coin: fair under the null, however one looks."""

from itertools import product
from math import exp, log
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.judge.traffic import binomial, hit

from headway.judge.events import (
    RATE_BETS,
    SCORE_BETS,
    SLOW_BETS,
    Bets,
    Hits,
    interval,
    log_e,
    log_mean_exp,
    mirrored,
)

shares = st.integers(min_value=1, max_value=9_999)
few = st.integers(min_value=0, max_value=40)
ratios = st.floats(min_value=0.5, max_value=20)
GRIDS = [RATE_BETS, SCORE_BETS, *SLOW_BETS.values()]


@pytest.mark.parametrize("bets", [*GRIDS, *map(mirrored, GRIDS)])
def test_bets_are_a_whole(bets: Bets) -> None:
    assert sum(weight for _, weight in bets) == pytest.approx(1, abs=1e-12)


@given(shares, few, few, ratios, st.sampled_from([*GRIDS, *map(mirrored, GRIDS)]))
def test_the_next_event_is_expected_to_change_nothing_when_the_candidate_is_at_the_null(
    share: int, candidate: int, stable: int, null: float, bets: Bets
) -> None:
    def e(more_candidate: int, more_stable: int) -> float:
        hits = Hits(share, candidate + more_candidate, stable + more_stable)
        return exp(log_e((hits,), null=null, bets=bets))

    p = hit(share, null)

    assert p * e(1, 0) + (1 - p) * e(0, 1) == pytest.approx(e(0, 0), rel=1e-6)


@given(shares, few, few, ratios, st.floats(min_value=0.01, max_value=1))
def test_a_candidate_better_than_the_null_is_expected_to_lose_evidence(
    share: int, candidate: int, stable: int, null: float, part: float
) -> None:
    def e(more_candidate: int, more_stable: int) -> float:
        hits = Hits(share, candidate + more_candidate, stable + more_stable)
        return exp(log_e((hits,), null=null, bets=RATE_BETS))

    p = hit(share, null * part)

    assert p * e(1, 0) + (1 - p) * e(0, 1) <= e(0, 0) * (1 + 1e-9)


@pytest.mark.parametrize("share", [100, 1_000, 5_000])
@pytest.mark.parametrize("null", [1.0, 1.2, 2.0])
def test_graded_answers_are_fair_exactly_when_mean_badness_is_at_the_margin(
    share: int, null: float
) -> None:
    # Stable: mean badness 0.2. Candidate: 0.2 x null, spread otherwise over the grades.
    stable = {0.0: 0.7, 0.5: 0.2, 1.0: 0.1}
    mean = 0.2 * null
    candidate = {0.4: mean / 2 / 0.4, 1.0: mean / 2}
    candidate[0.0] = 1 - sum(candidate.values())
    pi = share / 10_000
    one = [(1, 0, b, pi * p) for b, p in candidate.items()]
    one += [(0, 1, b, (1 - pi) * p) for b, p in stable.items()]

    expected = 0.0
    for answers in product(one, repeat=3):
        chance, hits = 1.0, []
        for on_candidate, on_stable, bad, p in answers:
            chance *= p
            hits.append(Hits(share, on_candidate, on_stable, bad))
        expected += chance * exp(log_e(hits, null=null, bets=SCORE_BETS))

    assert expected == pytest.approx(1, abs=1e-9)


@given(shares, few, few, ratios)
def test_grades_of_nought_and_one_are_the_yes_no_formula(
    share: int, candidate: int, stable: int, null: float
) -> None:
    plain = log_e((Hits(share, candidate, stable),), null=null, bets=SCORE_BETS)
    graded = log_e(
        (Hits(share, candidate, stable, 1 - 1e-13), Hits(share, 50, 90, 0.0)),
        null=null,
        bets=SCORE_BETS,
    )

    assert graded == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize(
    "hits",
    [
        (),
        (Hits(1_000, 0, 0),),
        (Hits(10_000, 400, 0),),  # nobody to compare with
        (Hits(0, 0, 400),),
    ],
)
def test_what_compares_nobody_says_nothing(hits: tuple[Hits, ...]) -> None:
    assert log_e(hits, null=1, bets=RATE_BETS) == 0
    assert log_e(hits, null=1, bets=mirrored(RATE_BETS)) == 0


def test_an_outage_of_both_arms_speaks_against_nobody() -> None:
    assert log_e((Hits(1_000, 400, 3_600),), null=1, bets=RATE_BETS) < 0


def test_evidence_carries_over_from_one_set_of_shares_to_the_next() -> None:
    first, second = Hits(100, 3, 60), Hits(2_500, 30, 40)
    both = log_e((first, second), null=1, bets=RATE_BETS)

    assert both > log_e((first,), null=1, bets=RATE_BETS)
    assert both > log_e((second,), null=1, bets=RATE_BETS)


def test_harmless_versions_are_left_alone_however_often_one_looks() -> None:
    chance, condemned = Random(1), 0
    p = hit(1_000, 1)
    for _ in range(400):
        hits = 0
        for events in range(1, 151):
            hits += chance.random() < p
            if log_e((Hits(1_000, hits, events - hits),), null=1, bets=RATE_BETS) >= log(125):
                condemned += 1
                break

    assert condemned <= 9  # 0.8 % of 400 is 3.2; more than 9 comes in 1 of 500 such tests


def test_a_ramp_of_shares_while_the_base_rate_drifts_condemns_nobody() -> None:
    chance, condemned = Random(2), 0
    for _ in range(300):
        hits: list[Hits] = []
        for step, share in enumerate((100, 500, 2_500, 5_000)):
            base = 0.005 * 4 ** (step / 3)  # 0.5 % to 2 %
            candidate = stable = 0
            for _window in range(20):
                candidate += binomial(chance, 1_000 * share // 10_000, base)
                stable += binomial(chance, 1_000 - 1_000 * share // 10_000, base)
                now = [*hits, Hits(share, candidate, stable)]
                if log_e(now, null=1, bets=RATE_BETS) >= log(125):
                    condemned += 1
                    break
            else:
                hits.append(Hits(share, candidate, stable))
                continue
            break

    assert condemned <= 8


def test_the_interval_is_where_neither_side_is_proven() -> None:
    hits = (Hits(1_000, 30, 90),)  # 3 times as often as its share
    low, high = interval(
        lambda r: log_e(hits, null=r, bets=RATE_BETS),
        lambda r: log_e(hits, null=r, bets=mirrored(RATE_BETS)),
        alpha=0.01,
    )

    assert high is not None
    assert 1 < low < 3 < high
    for r, inside in ((low * 0.99, False), (low * 1.01, True), (high * 0.99, True)):
        found = log_e(hits, null=r, bets=RATE_BETS) < log(200)
        assert found is inside
    assert log_e(hits, null=high * 1.01, bets=mirrored(RATE_BETS)) >= log(200)


def test_without_events_the_interval_is_open() -> None:
    assert interval(lambda _: 0.0, lambda _: 0.0, alpha=0.01) == (0, None)


def test_the_interval_holds_the_truth_at_every_look() -> None:
    chance, missed = Random(4), 0
    for _ in range(60):
        candidate = 0
        p = hit(1_000, 2)
        for events in range(1, 201):
            candidate += chance.random() < p
            if events % 20:
                continue
            hits = (Hits(1_000, candidate, events - candidate),)
            above = log_e(hits, null=2, bets=RATE_BETS) >= log(200)
            below = log_e(hits, null=2, bets=mirrored(RATE_BETS)) >= log(200)
            if above or below:
                missed += 1
                break

    assert missed <= 4


def test_huge_evidence_stays_a_number() -> None:
    found = log_e((Hits(5_000, 10**9, 10**6),), null=1, bets=RATE_BETS)

    assert found > 1e6
    assert log_mean_exp([(found, 0.5), (0.0, 0.5)]) == pytest.approx(found + log(0.5))
