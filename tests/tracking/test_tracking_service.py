"""Measurements are read back by step, versions side by side; old rows are merged and dropped."""

from collections.abc import Sequence
from functools import partial

import pytest

from headway.kernel.clock import DAY, HOUR, MINUTE
from headway.kernel.errors import Invalid
from headway.testing.memory import Store, begin
from headway.tracking.measurement import Batch, Measurement, Score
from headway.tracking.service import TrackingService, Upkeep
from headway.tracking.sketch import Sketch

START = 29_833_320 * MINUTE
"""A whole hour."""


def minute(
    number: int, *, version: str = "1.0.0", ok: int = 0, bad: int = 0, ms: Sequence[float] = ()
) -> Measurement:
    return Measurement(
        model="digits",
        environment="production",
        version=version,
        arm="stable",
        minute=START + number * MINUTE,
        outcomes={"ok": ok, "provider": bad},
        latency=Sketch.of(ms),
        first=Sketch(),
        tokens={"input": ok},
        served_by={"gpt": ok},
    )


class World:
    def __init__(self) -> None:
        self.now = START
        self.store = Store()
        self.begin = partial(begin, self.store, lambda: self.now)
        self.service = TrackingService(self.begin, lambda: self.now)
        self.seq = 0
        with self.begin() as work:
            work.gateways.start(boot="b", host="h", pid=1)
            work.commit()

    def flush(self, *measurements: Measurement) -> None:
        self.seq += 1
        with self.begin() as work:
            work.gateways.flush(
                Batch(boot="b", seq=self.seq, applied_generation=1, measurements=measurements)
            )
            work.commit()


@pytest.fixture
def world() -> World:
    return World()


def test_minutes_are_added_up_into_steps(world: World) -> None:
    world.flush(minute(0, ok=2), minute(4, ok=3, bad=1), minute(5, ok=10))
    world.flush(minute(4, ok=1))
    found = world.service.measurements(
        "digits", "production", since=START, until=START + HOUR, step=5 * MINUTE
    )
    assert [(p.at - START, p.outcomes["ok"], p.outcomes["provider"]) for p in found] == [
        (0, 6, 1),
        (5 * MINUTE, 10, 0),
    ]
    assert [p.requests for p in found] == [7, 10]
    assert found[0].tokens == {"input": 6}
    assert found[0].served_by == {"gpt": 6}


def test_without_a_step_the_window_is_one_point_per_version(world: World) -> None:
    world.flush(minute(0, ok=2), minute(9, ok=3), minute(1, version="1.1.0", ok=7))
    found = world.service.measurements(
        "digits", "production", since=START + 30_000, until=START + HOUR
    )
    assert [(p.version, p.outcomes["ok"]) for p in found] == [("1.0.0", 5), ("1.1.0", 7)]


def test_only_the_window_and_the_version_asked_for_are_read(world: World) -> None:
    world.flush(minute(0, ok=1), minute(1, ok=2), minute(2, ok=4), minute(1, version="2.0.0"))
    (found,) = world.service.measurements(
        "digits",
        "production",
        since=START + MINUTE,
        until=START + 2 * MINUTE,
        version="1.0.0",
    )
    assert found.requests == 2


def test_quantiles_come_from_the_merged_sketches(world: World) -> None:
    world.flush(minute(0, ms=range(1, 501)))
    world.flush(minute(0, ms=range(501, 1_001)))
    (found,) = world.service.measurements("digits", "production", since=START, until=START + HOUR)
    for name, wanted in (("p50", 500), ("p90", 900), ("p95", 950), ("p99", 990)):
        assert found.latency_ms[name] == pytest.approx(wanted, rel=0.011)
    assert found.first_ms == {}


@pytest.mark.parametrize(
    ("until", "step", "pointer"),
    [
        (START, None, "/to"),
        (START + HOUR, 90_000, "/step"),
        (START + HOUR, 1_000, "/step"),
        (START + 30 * DAY, MINUTE, "/step"),
    ],
)
def test_window_that_does_not_fit_is_refused(
    world: World, until: int, step: int | None, pointer: str
) -> None:
    with pytest.raises(Invalid) as raised:
        world.service.measurements("digits", "production", since=START, until=until, step=step)
    assert raised.value.faults[0].pointer == pointer


def test_two_versions_are_compared_with_their_scores(world: World) -> None:
    world.flush(minute(0, ok=90, bad=10), minute(0, version="1.1.0", ok=99, bad=1))
    with world.begin() as work:
        work.scores.add(
            [
                Score(
                    request_id=f"req_{version}_{i}",
                    name="correct",
                    value=value,
                    at=START,
                    age=0,
                    model="digits",
                    environment="production",
                    version=version,
                )
                for version, value in (("1.0.0", 0.5), ("1.1.0", 1.0))
                for i in range(10)
            ]
        )
        work.commit()
    rows = {
        row.metric: row
        for row in world.service.comparison(
            "digits", "production", old="1.0.0", new="1.1.0", since=START, until=START + HOUR
        )
    }
    assert (rows["errors"].old.value, rows["errors"].new.value) == (0.1, 0.01)
    assert (rows["score.correct"].old.value, rows["score.correct"].new.value) == (0.5, 1.0)
    means = world.service.scores("digits", "production", since=START)
    assert [(mean.version, mean.mean) for mean in means] == [("1.0.0", 0.5), ("1.1.0", 1.0)]


def test_totals_name_every_outcome_and_never_fall(world: World) -> None:
    world.flush(minute(0, ok=3))
    world.now += 40 * DAY
    while world.service.tend() != Upkeep():
        pass
    (total,) = world.service.totals()
    assert (total.model, total.environment, total.version) == ("digits", "production", "1.0.0")
    assert total.outcomes == {
        "ok": 3,
        "caller": 0,
        "policy": 0,
        "refused": 0,
        "provider": 0,
        "version": 0,
        "gateway": 0,
        "gone": 0,
    }
    assert total.tokens == {"input": 3}
    assert not world.service.measurements("digits", "production", since=START, until=START + DAY)


def test_finished_minutes_are_merged_and_read_as_before(world: World) -> None:
    for _ in range(5):
        world.flush(minute(0, ok=1, ms=[10]))
    world.now = START + 5 * MINUTE
    assert world.service.tend() == Upkeep(merged=1)
    assert world.service.tend() == Upkeep()
    (found,) = world.service.measurements("digits", "production", since=START, until=START + HOUR)
    assert found.requests == 5
