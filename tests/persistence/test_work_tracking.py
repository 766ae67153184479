"""What every work promises of flushes, sums, evidence and scores, asked of each of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from tests.conftest import Begin, Work
from tests.persistence.examples import (
    NOON,
    ask,
    batch,
    deployment,
    do,
    evidence,
    first,
    flush,
    key,
    measurement,
    route,
    start,
)

from headway.kernel.clock import HOUR, MINUTE
from headway.kernel.errors import Conflict, NotFound
from headway.persistence import work as sql
from headway.testing import memory
from headway.tracking.measurement import Batch, FirstEvent, Measurement, Score, Veto
from headway.tracking.served import KIND, ServedBy
from headway.tracking.sketch import Sketch

MINUTE_OF_NOON = NOON - NOON % MINUTE


def lately(work: Work) -> Sequence[Measurement]:
    return work.measurements.read(
        model="digits", environment="production", since=NOON - HOUR, until=NOON + HOUR
    )


def full_batch(seq: int = 1) -> Batch:
    veto = Veto(deployment="dep_1", epoch=1, arm="candidate", metric="errors", at=NOON, detail={})
    return batch(
        seq,
        applied_generation=7,
        measurements=(measurement(),),
        counts={"dep_1": (evidence(n=3),), "dep_2": (evidence(metric="measured", bin=0),)},
        firsts={"dep_1": (first(-(1 << 63)), first((1 << 63) - 1, bit=1 << 61))},
        vetoes=(veto,),
        key_uses={"k1": MINUTE_OF_NOON},
        unrouted={"caller": 3, "policy": 1},
        dropped=2,
    )


def everything(begin: Begin) -> tuple[object, ...]:
    """Return all that a flush may change."""
    with begin() as work:
        return (
            lately(work),
            work.measurements.totals(),
            work.measurements.timings(),
            work.measurements.unrouted(),
            work.evidence.of("dep_1"),
            work.evidence.of("dep_2"),
            work.vetoes.of("dep_1"),
            work.keys.get("k1").last_used,
            work.gateways.dropped(),
            [row.seq for row in work.gateways.living(within=MINUTE)],
        )


def test_a_start_of_a_gateway_is_numbered_above_all_before(begin: Begin) -> None:
    rows = [start(begin, boot) for boot in ("b1", "b2")]
    jump = do(begin, lambda work: work.gateways.start(boot="b3", host="h", pid=1, at_least=1_000))
    low = do(begin, lambda work: work.gateways.start(boot="b4", host="h", pid=1, at_least=5))
    assert [row.number for row in (*rows, jump, low)] == [1, 2, 1_000, 1_001]
    assert ask(begin, lambda work: work.gateways.living(within=MINUTE)) == [*rows, jump, low]
    with pytest.raises(Conflict):
        start(begin, "b1")


def test_a_gateway_that_stopped_is_not_among_the_living(begin: Begin) -> None:
    start(begin, "b1")
    start(begin, "b2")
    do(begin, lambda work: work.gateways.stop("b1"))
    living = ask(begin, lambda work: work.gateways.living(within=MINUTE))
    assert [row.boot for row in living] == ["b2"]
    assert ask(begin, lambda work: work.gateways.living(within=-MINUTE)) == []


def test_a_flush_adds_everything_and_acknowledges_the_generation(begin: Begin) -> None:
    do(begin, lambda work: work.keys.add(key()))
    do(begin, lambda work: work.deployments.add(deployment()))
    start(begin)
    assert flush(begin, full_batch()) is True
    (row,) = ask(begin, lambda work: work.gateways.living(within=MINUTE))
    assert (row.seq, row.applied_generation) == (1, 7)
    assert everything(begin) == (
        [measurement()],
        [("digits", "production", "1.0.0", {"ok": 2}, {"input": 5})],
        {
            ("digits", "production", "1.0.0", "latency"): pytest.approx(
                {"25": 2, "sum": 30_000}, rel=0.01
            )
        },
        {"caller": 3, "policy": 1},
        [evidence(n=5)],
        [evidence(metric="measured", bin=0)],
        [replace(full_batch().vetoes[0])],
        MINUTE_OF_NOON,
        2,
        [1],
    )


def test_an_event_of_a_unit_adds_all_that_hangs_on_it_or_nothing(begin: Begin) -> None:
    start(begin)
    start(begin, "b2")
    slow = evidence(metric="latency.p50"), evidence(metric="latency.p95")
    nothing = FirstEvent(1, 4, 5_000, ())
    events = (nothing, FirstEvent(1, 4, 5_000, slow), FirstEvent(2, 4, 5_000, slow))
    flush(begin, batch(firsts={"dep_1": events}))
    flush(begin, batch(boot="b2", firsts={"dep_1": events}))
    assert ask(begin, lambda work: work.evidence.of("dep_1")) == list(slow)


def test_the_same_flush_twice_changes_nothing(begin: Begin) -> None:
    do(begin, lambda work: work.keys.add(key()))
    start(begin)
    flush(begin, full_batch())
    before = everything(begin)
    assert flush(begin, full_batch()) is False
    assert everything(begin) == before


def test_a_flush_that_was_not_committed_goes_again_under_the_same_number(begin: Begin) -> None:
    do(begin, lambda work: work.keys.add(key()))
    start(begin)
    with begin() as work:
        assert work.gateways.flush(full_batch()) is True
    assert flush(begin, full_batch()) is True
    assert ask(begin, lambda work: work.evidence.of("dep_1")) == [evidence(n=5)]


@pytest.mark.parametrize("strange", [batch(1, boot="unknown"), batch(3)])
def test_a_batch_that_the_store_cannot_place_is_not_found(begin: Begin, strange: Batch) -> None:
    start(begin)
    with pytest.raises(NotFound):
        flush(begin, strange)


def test_measurements_add_up_over_gateways_flushes_and_merges(begin: Begin) -> None:
    start(begin, "b1")
    start(begin, "b2")
    more = measurement(
        outcomes={"ok": 1, "provider": 1},
        latency=Sketch.of([10, 5_000]),
        first=Sketch.of([3]),
        tokens={"input": 1, "output": 2},
        served_by={"m": 1, "n": 1},
    )
    later = measurement(minute=MINUTE_OF_NOON + MINUTE)
    flush(begin, batch(1, boot="b1", measurements=(measurement(), later)))
    flush(begin, batch(1, boot="b2", measurements=(more,)))
    flush(begin, batch(2, boot="b1", measurements=(measurement(version="1.1.0"),)))

    expected = [
        measurement(
            outcomes={"ok": 3, "provider": 1},
            latency=Sketch.of([10, 20, 10, 5_000]),
            bad=Sketch.of([20, 20]),
            first=Sketch.of([3]),
            tokens={"input": 6, "output": 2},
            served_by={"m": 3, "n": 1},
        ),
        measurement(version="1.1.0"),
        later,
    ]

    def read() -> object:
        return ask(begin, lately)

    def merge(limit: int) -> int:
        before = MINUTE_OF_NOON + MINUTE
        merged: int = do(begin, lambda work: work.measurements.merge(before=before, limit=limit))
        return merged

    assert read() == expected
    assert [merge(1), merge(9), merge(9)] == [1, 1, 0]
    assert read() == expected

    flush(begin, batch(2, boot="b2", measurements=(measurement(),)))
    assert merge(9) == 1
    summed = ask(begin, lately)
    assert summed[0].outcomes == {"ok": 5, "provider": 1}


def test_measurements_are_read_by_route_version_and_time(begin: Begin) -> None:
    start(begin)
    flush(
        begin,
        batch(
            measurements=(
                measurement(),
                measurement(version="1.1.0", arm="candidate"),
                measurement(environment="staging"),
                measurement(minute=MINUTE_OF_NOON + MINUTE),
            )
        ),
    )

    def read(version: str | None = None, *, until: int = NOON + HOUR) -> list[tuple[str, int]]:
        found = ask(
            begin,
            lambda work: work.measurements.read(
                model="DIGITS",
                environment="production",
                since=MINUTE_OF_NOON,
                until=until,
                version=version,
            ),
        )
        return [(one.version, one.minute) for one in found]

    assert read("1.1.0") == [("1.1.0", MINUTE_OF_NOON)]
    assert read(until=MINUTE_OF_NOON + MINUTE) == [
        ("1.0.0", MINUTE_OF_NOON),
        ("1.1.0", MINUTE_OF_NOON),
    ]
    assert read(until=MINUTE_OF_NOON) == []


def test_totals_never_fall_when_minutes_are_pruned(begin: Begin) -> None:
    start(begin)
    both = (measurement(), measurement(arm="candidate"))
    flush(begin, batch(1, measurements=both, unrouted={"caller": 2}))
    before = ask(begin, lambda work: work.measurements.totals())
    assert before == [("digits", "production", "1.0.0", {"ok": 4}, {"input": 10})]

    def prune(limit: int) -> int:
        pruned: int = do(
            begin, lambda work: work.measurements.prune(before=NOON + HOUR, limit=limit)
        )
        return pruned

    assert [prune(1), prune(9)] == [1, 1]
    assert ask(begin, lambda work: work.measurements.totals()) == before
    later = (measurement(outcomes={"gone": 1}, tokens={}),)
    flush(begin, batch(2, measurements=later, unrouted={"caller": 5, "gone": 1}))
    assert ask(begin, lambda work: work.measurements.unrouted()) == {"caller": 7, "gone": 1}
    assert ask(begin, lambda work: work.measurements.totals()) == [
        ("digits", "production", "1.0.0", {"gone": 1, "ok": 4}, {"input": 10})
    ]


def test_how_long_answers_took_is_kept_when_minutes_are_pruned(begin: Begin) -> None:
    start(begin)
    streams = measurement(latency=Sketch.of([3, 3, 700_000]), first=Sketch.of([1_200]))
    usual = measurement(arm="candidate", latency=Sketch.of([8, 20]))
    flush(begin, batch(1, measurements=(usual, streams)))
    do(begin, lambda work: work.measurements.prune(before=NOON + HOUR, limit=9))
    flush(begin, batch(2, measurements=(usual,)))

    found = ask(begin, lambda work: work.measurements.timings())
    of = ("digits", "production", "1.0.0")
    whole, first = (dict(found.pop((*of, kind))) for kind in ("latency", "first"))
    assert not found
    assert (whole.pop("sum"), first.pop("sum")) == (
        pytest.approx(700_062_000, rel=0.01),
        pytest.approx(1_200_000, rel=0.01),
    )
    assert whole == {"5": 2, "10": 2, "25": 2, "inf": 1}
    assert first == {"2500": 1}


def test_of_a_unit_only_bits_that_are_new_count(begin: Begin) -> None:
    def add(*firsts: object) -> None:
        do(begin, lambda work: work.evidence.add("dep_1", (), firsts))  # type: ignore[arg-type]  # first events

    add(first(1), first(1), first(2), first(1, bit=4, metric="latency.p50"))
    add(first(1), first(2, bit=4, metric="latency.p50"), first(3))
    assert ask(begin, lambda work: work.evidence.of("dep_1")) == [
        evidence(n=3),
        evidence(metric="latency.p50", n=2),
    ]


def test_units_of_one_deployment_are_strangers_to_another(begin: Begin) -> None:
    do(begin, lambda work: work.evidence.add("dep_1", (), (first(1),)))
    do(begin, lambda work: work.evidence.add("dep_2", (), (first(1),)))
    assert ask(begin, lambda work: work.evidence.of("dep_2")) == [evidence()]


def test_evidence_is_read_in_one_order(begin: Begin) -> None:
    counts = [
        evidence(epoch=2),
        evidence(late=True),
        evidence(arm="stable"),
        evidence(due=10_000),
        evidence(metric="score.correct", bin=100),
        evidence(metric="score.correct", bin=5),
        evidence(),
    ]
    do(begin, lambda work: work.evidence.add("dep_1", counts, ()))
    assert ask(begin, lambda work: work.evidence.of("dep_1")) == [
        evidence(),
        evidence(late=True),
        evidence(due=10_000),
        evidence(metric="score.correct", bin=5),
        evidence(metric="score.correct", bin=100),
        evidence(arm="stable"),
        evidence(epoch=2),
    ]


def test_what_is_settled_is_folded_into_one_row_per_key(begin: Begin) -> None:
    counts = [
        evidence(due=5_000, n=1),
        evidence(due=10_000, n=2),
        evidence(due=15_000, n=4),
        evidence(due=5_000, n=8, late=True),
        evidence(due=5_000, n=16, epoch=2),
    ]
    do(begin, lambda work: work.evidence.add("dep_1", counts, ()))
    do(begin, lambda work: work.evidence.fold("dep_1", due_before=10_000, epoch=1))
    do(begin, lambda work: work.evidence.fold("dep_1", due_before=15_000, epoch=1))
    assert ask(begin, lambda work: work.evidence.of("dep_1")) == [
        evidence(due=0, n=3),
        evidence(due=0, n=8, late=True),
        evidence(due=15_000, n=4),
        evidence(due=5_000, n=16, epoch=2),
    ]


def test_units_are_forgotten_and_late_ones_do_not_come_back(begin: Begin) -> None:
    do(begin, lambda work: work.evidence.add("dep_1", (), (first(1), first(2))))
    do(begin, lambda work: work.evidence.forget_units("dep_1"))
    do(begin, lambda work: work.evidence.add("dep_1", (), (first(3),)))
    assert ask(begin, lambda work: work.evidence.of("dep_1")) == [evidence(n=2)]


def test_forgotten_units_go_a_few_at_a_time_and_no_others(begin: Begin) -> None:
    do(begin, lambda work: work.evidence.add("dep_1", (), [first(unit) for unit in range(10)]))
    do(begin, lambda work: work.evidence.add("dep_2", (), (first(1),)))
    do(begin, lambda work: work.evidence.forget_units("dep_1"))

    def sweep() -> object:
        return do(begin, lambda work: work.evidence.sweep_units(limit=7))

    assert [sweep(), sweep(), sweep()] == [7, 3, 0]
    do(begin, lambda work: work.evidence.add("dep_2", (), (first(1), first(2))))
    assert ask(begin, lambda work: work.evidence.of("dep_2")) == [evidence(n=2)]


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
def test_too_many_units_freeze_the_evidence_of_units(
    kind: str, request: pytest.FixtureRequest
) -> None:
    begin: Begin = (
        partial(memory.begin, memory.Store(unit_cap=3), lambda: NOON)
        if kind == "memory"
        else partial(sql.begin, request.getfixturevalue(f"{kind}_database"), unit_cap=3)
    )
    do(begin, lambda work: work.evidence.add("dep_1", (), (first(1), first(2), first(3))))
    assert ask(begin, lambda work: work.evidence.frozen("dep_1")) is False
    do(begin, lambda work: work.evidence.add("dep_1", (evidence(n=10),), (first(4),)))
    do(begin, lambda work: work.evidence.add("dep_1", (), (first(1, bit=8),)))
    assert ask(begin, lambda work: work.evidence.frozen("dep_1")) is True
    assert ask(begin, lambda work: work.evidence.frozen("dep_2")) is False
    assert ask(begin, lambda work: work.evidence.of("dep_1")) == [evidence(n=13)]


def score(request_id: str = "req_1", name: str = "correct", **more: object) -> Score:
    usual: dict[str, object] = {
        "value": 1.0,
        "at": NOON,
        "age": 500,
        "model": "digits",
        "environment": "production",
        "version": "1.0.0",
    }
    return Score(request_id=request_id, name=name, **{**usual, **more})  # type: ignore[arg-type]  # by name


def test_a_score_counts_once_per_request_and_name(begin: Begin) -> None:
    given = [score(), score("req_0"), score(value=0.0), score(name="tone")]
    assert do(begin, lambda work: work.scores.add(given)) == [True, True, False, True]
    assert do(begin, lambda work: work.scores.add([score(), score("req_2")])) == [False, True]
    assert do(begin, lambda work: work.scores.add([])) == []


def test_a_thousand_scores_are_taken_in_one_call(begin: Begin) -> None:
    given = [score(f"req_{i}") for i in range(1_000)]
    assert do(begin, lambda work: work.scores.add(given)) == [True] * 1_000


def test_scores_are_summed_up_per_version_and_name(begin: Begin) -> None:
    given = [
        score("req_1", value=1.0),
        score("req_2", value=0.0, age=900, at=NOON + 1),
        score("req_3", value=0.25, version="1.1.0"),
        score("req_4", name="tone", value=0.5),
        score("req_5", at=NOON - 1),
        score("req_6", environment="staging"),
    ]

    def read(work: Work) -> tuple[list[tuple[str, str, int, float]], list[int]]:
        means = work.scores.means(model="Digits", environment="production", since=NOON)
        ages = work.scores.delays(
            model="digits", environment="Production", name="correct", since=NOON
        )
        return [(one.version, one.name, one.n, one.mean) for one in means], list(ages)

    do(begin, lambda work: work.scores.add(given))
    assert ask(begin, read) == (
        [("1.0.0", "correct", 2, 0.5), ("1.0.0", "tone", 1, 0.5), ("1.1.0", "correct", 1, 0.25)],
        [900, 500, 500],
    )
    assert do(begin, lambda work: work.scores.prune(before=NOON, limit=9)) == 1
    assert do(begin, lambda work: work.scores.prune(before=NOON + 1, limit=2)) == 2


class Interrupted:
    """A work in whose last moment something else happens."""

    def __init__(self, work: Work, by: Callable[[], None]) -> None:
        self._work = work
        self._by = by

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all that a work has
        return getattr(self._work, name)

    def commit(self) -> None:
        self._by()
        self._work.commit()


def test_two_control_processes_that_look_at_once_tell_of_another_model_once(begin: Begin) -> None:
    start(begin)
    do(begin, lambda work: work.routes.add(route()))
    old, new = (measurement(minute=NOON - ago, served_by={name: 1}) for ago, name in _SERVED)
    flush(begin, batch(measurements=(old, new)))

    def look() -> None:
        with suppress(Conflict):
            ServedBy(begin, lambda: NOON).look()

    @contextmanager
    def interrupted() -> Iterator[Interrupted]:
        with begin() as work:
            yield Interrupted(work, look)

    with suppress(Conflict):
        ServedBy(interrupted, lambda: NOON).look()
    look()

    told = ask(begin, lambda work: work.outbox.history(limit=9))
    assert [event.kind for event in told].count(KIND) == 1


_SERVED = ((10 * MINUTE, "gpt-a"), (0, "gpt-b"))
