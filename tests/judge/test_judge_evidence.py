"""What may be read when: by the age of the request, the same for both arms."""

from dataclasses import replace
from math import log
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.judge.events import RATE_BETS, Hits, log_e
from headway.judge.evidence import (
    CANDIDATE,
    STABLE,
    Epoch,
    Evidence,
    Kind,
    ages_of,
    fold,
    foldable_before,
    kind_of,
    slow,
)
from headway.judge.question import Judged, Question
from headway.judge.result import Proof
from headway.judge.verdict import judge
from headway.routing.route import Ages
from headway.tracking.measurement import Count, due_at

AGES = {"errors": Ages(5_000, 60_000), "score.*": Ages(10_000, 90_000)}
EPOCHS = (Epoch(7, 1_000), Epoch(4, 100))


def count(metric: str = "errors", number: int = 1, *, due: int, late: bool = False) -> Count:
    return Count(7, CANDIDATE, metric, number, due, late, 1)


def read(now: int, *counts: Count) -> tuple[int, int, int]:
    evidence = fold(counts, epochs=EPOCHS, ages=AGES, now=now)
    parts = (evidence.current, evidence.settled, evidence.timely)
    return tuple(sum(sum(t.counts.values()) for t in part) for part in parts)  # type: ignore[return-value]


def test_nothing_counts_before_it_is_due() -> None:
    assert read(999, count(due=1_000)) == (0, 0, 0)
    assert read(1_000, count(due=1_000)) == (1, 0, 1)


def test_a_proof_of_not_worse_waits_until_the_request_is_older_than_l() -> None:
    assert read(55_999, count(due=1_000)) == (1, 0, 1)
    assert read(56_000, count(due=1_000)) == (1, 1, 1)


def test_what_came_late_is_due_at_l_counts_at_once_and_never_for_limits() -> None:
    assert read(1_000, count(due=1_000, late=True)) == (1, 1, 0)


def test_scores_prove_as_soon_as_they_count() -> None:
    assert read(1_000, count("score.correct", 100, due=1_000)) == (1, 1, 1)


def test_events_stay_in_the_epoch_that_assigned_them() -> None:
    early = replace(count(due=5), epoch=4, n=3)
    foreign = replace(count(due=5), epoch=99)
    evidence = fold([count(due=5), early, foreign], epochs=EPOCHS, ages=AGES, now=10)

    assert [(t.epoch.id, t.of(CANDIDATE, "errors")) for t in evidence.current] == [(4, 3), (7, 1)]


rows = st.builds(
    Count,
    epoch=st.sampled_from([4, 7]),
    arm=st.sampled_from([CANDIDATE, STABLE]),
    metric=st.sampled_from(["errors", "measured", "latency.p95", "score.correct"]),
    bin=st.integers(min_value=0, max_value=2),
    due=st.integers(min_value=1, max_value=200_000),
    late=st.booleans(),
    n=st.integers(min_value=1, max_value=5),
)


@given(rows, st.integers(min_value=0, max_value=120_000))
def test_rows_that_nothing_waits_for_may_be_folded_without_a_trace(row: Count, later: int) -> None:
    # The youngest row that may be folded at that time.
    then = row.due + 1
    while row.due >= foldable_before(AGES, now=then):
        then += 500
    now = then + later
    folded = [replace(row, due=0)]

    assert fold(folded, epochs=EPOCHS, ages=AGES, now=now) == fold(
        [row], epochs=EPOCHS, ages=AGES, now=now
    )


@given(st.lists(rows), st.integers(min_value=1, max_value=300_000))
def test_evidence_survives_the_way_through_json(counts: list[Count], now: int) -> None:
    evidence = fold(counts, epochs=EPOCHS, ages=AGES, now=now)

    assert Evidence.read(evidence.document()) == evidence


def test_names_tell_how_a_metric_is_judged() -> None:
    assert kind_of("errors") is Kind.RATE
    assert kind_of("latency") is Kind.MAGNITUDE
    assert kind_of("score.helpful") is Kind.SCORE
    assert slow("latency", "p95") == "latency.p95"


def test_a_metric_without_ages_of_its_own_has_those_of_its_family() -> None:
    own = {**AGES, "score.helpful": Ages(1, 2)}

    assert ages_of("score.helpful", own) == Ages(1, 2)
    assert ages_of("score.correct", own) == Ages(10_000, 90_000)
    assert ages_of("latency.p95", own) == Ages(5_000, 60_000)


def failing(chance: Random, *, shown_after: dict[str, int]) -> list[tuple[str, int, int]]:
    """Two minutes of 20 requests a second, 10 % candidate; 20 % of each arm fail, late or soon.

    Returns (arm, assigned at, shown at).
    """
    found = []
    for at in range(0, 120_000, 50):
        arm = CANDIDATE if chance.random() < 0.1 else STABLE
        if chance.random() < 0.2:
            found.append((arm, at, at + shown_after[arm]))
    return found


def condemned(rows: list[Count], *, ages: dict[str, Ages]) -> bool:
    for now in range(0, 190_000, 5_000):
        (tally,) = fold(rows, epochs=EPOCHS[:1], ages=ages, now=now).current
        hits = Hits(1_000, tally.of(CANDIDATE, "errors"), tally.of(STABLE, "errors"))
        if log_e((hits,), null=1, bets=RATE_BETS) >= log(125):
            return True
    return False


def test_the_same_failures_shown_sooner_condemn_nobody() -> None:
    chance, by_age, by_arrival = Random(8), 0, 0
    # M is the age by which nearly all of the stable version's requests have ended.
    ages = {"errors": Ages(45_000, 60_000)}
    for _ in range(30):
        traffic = failing(chance, shown_after={CANDIDATE: 1_000, STABLE: 40_000})
        aged = [replace(count(due=at + 45_000), arm=arm) for arm, at, _ in traffic]
        arrived = [replace(count(due=shown), arm=arm) for arm, _, shown in traffic]
        by_age += condemned(aged, ages=ages)
        by_arrival += condemned(arrived, ages=ages)

    assert by_age <= 2
    assert by_arrival >= 20  # what the ages are there for


@pytest.mark.parametrize("late", [False, True])
def test_both_arms_are_read_at_the_same_age(late: bool) -> None:  # noqa: FBT001 - a row's own field
    pair = [replace(count(due=60_000, late=late), arm=arm) for arm in (CANDIDATE, STABLE)]
    for now in range(0, 130_000, 5_000):
        evidence = fold(pair, epochs=EPOCHS, ages=AGES, now=now)
        for part in (evidence.current, evidence.settled, evidence.timely):
            assert part[1].of(CANDIDATE, "errors") == part[1].of(STABLE, "errors")


def slower(now: int, *, candidate: float) -> list[Count]:
    """Steady traffic until now, 40 requests a second, half of it on the candidate, L = 60 s.

    The stable version's median is 1 s and is known at 1 s; beyond 20 s lies a part of the
    candidate's answers, known at 20 s.
    """
    rows: dict[tuple[str, str, int, int], int] = {}
    for place, at in enumerate(range(0, now, 50)):
        arms = ((STABLE, "latency.p50", 1_000, 0.5), (CANDIDATE, "latency.p90", 20_000, candidate))
        for arm, metric, known, part in arms:
            key = (arm, metric, 1, due_at(at, known))
            rows[key] = rows.get(key, 0) + (place % 10 < 10 * part)
    return [
        Count(7, arm, metric, number, due, late=False, n=n)
        for (arm, metric, number, due), n in rows.items()
    ]


@pytest.mark.parametrize(("candidate", "proven"), [(0.5, False), (0.1, True)])
def test_lines_that_are_known_at_other_ages_do_not_run_ahead(
    candidate: float,
    proven: bool,  # noqa: FBT001 - a row's own field
) -> None:
    ages = {"errors": Ages(20_000, 60_000)}
    lines = (("p50", 1_000.0), ("p90", 20_000.0))
    judged = Judged(metric="latency", quantiles=("p50", "p90"), lines=lines)
    question = Question(metrics=(judged,), factor=20)
    proofs = set()
    for now in range(0, 240_000, 2_500):
        rows = slower(now, candidate=candidate)
        evidence = fold(rows, epochs=(Epoch(7, 5_000),), ages=ages, now=now)
        proofs.add(judge(evidence, question).results[0].proved_by)

    assert (Proof.RATIO in proofs) is proven
