"""What requests showed, read back: series, comparisons, totals; and the upkeep of all that."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from headway.kernel.batches import Batches
from headway.kernel.clock import DAY, MINUTE, Clock
from headway.kernel.errors import Invalid
from headway.tracking.comparison import Behaviour, Row, compare
from headway.tracking.feedback import WINDOW
from headway.tracking.histogram import TimingOf
from headway.tracking.measurement import (
    UNROUTED,
    CostOf,
    KeyCount,
    Measurement,
    Outcome,
    ScoreMean,
)
from headway.tracking.ports import Begin, Work
from headway.tracking.price import Cost, Timeline
from headway.tracking.sketch import Sketch

QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
KEPT: Final = 30 * DAY
"""How long single minutes are kept; totals are kept for ever."""
MOST_POINTS: Final = 10_000
_WINDOWS_KEPT: Final = 10 * MINUTE
"""So long after its start nobody asks for a window of a minute; flushes may be late."""
_SETTLED: Final = 2 * MINUTE
"""A minute is merged when it is so old: gateways hand over each second, and may be late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What was measured of one version on one arm in one step of time."""

    version: str
    arm: str
    at: int
    """Start of the step, milliseconds UTC."""
    outcomes: Mapping[str, int]
    latency_ms: Mapping[str, float]
    """`p50`, `p90`, `p95`, `p99`; empty if nothing was measured."""
    first_ms: Mapping[str, float]
    """To the first content of streams, likewise."""
    tokens: Mapping[str, int]
    served_by: Mapping[str, int]
    cost: int | None = None
    """Nano-dollars by the prices of each minute; None: not all of it is known."""

    @property
    def requests(self) -> int:
        return sum(self.outcomes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Sums of one version since ever; they never fall."""

    model: str
    environment: str
    version: str
    outcomes: Mapping[str, int]
    """Every outcome is there, with 0 if it never was."""
    tokens: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What one round of upkeep did, in rows."""

    merged: int = 0
    pruned: int = 0
    scores: int = 0
    units: int = 0
    windows: int = 0


@dataclass(frozen=True, slots=True)
class TrackingService:
    begin: Begin
    clock: Clock
    keep: int = KEPT
    keep_scores: int = 4 * WINDOW
    """Longer than feedback is taken: else a score could be given again after it was deleted."""
    batches: Batches = field(default_factory=Batches)

    def measurements(
        self,
        model: str,
        environment: str,
        *,
        since: int,
        until: int,
        step: int | None = None,
        version: str | None = None,
    ) -> Sequence[Point]:
        """Return what was measured in [since, until), by time, version and arm.

        The minute in which `since` lies counts whole: nothing finer is kept.
        Times are milliseconds UTC. `step`: whole minutes in milliseconds; None: the whole window
        is one. Raises `Invalid` if they do not fit.
        """
        _check_window(since, until, step)
        since -= since % MINUTE
        with self.begin() as work:
            rows = work.measurements.read(
                model=model, environment=environment, since=since, until=until, version=version
            )
            prices = work.prices.of(model, sorted({row.version for row in rows}))
        return points(rows, since=since, step=step, prices=prices)

    def comparison(
        self, model: str, environment: str, *, old: str, new: str, since: int, until: int
    ) -> tuple[Row, ...]:
        """Return two versions' measured behaviour side by side, with intervals."""
        _check_window(since, until, None)
        since -= since % MINUTE
        with self.begin() as work:
            rows = work.measurements.read(
                model=model, environment=environment, since=since, until=until
            )
            scores = work.scores.means(model=model, environment=environment, since=since)
            prices = work.prices.of(model, [old, new])
        a, b = (Behaviour.of(each, rows, scores, prices.get(each, ())) for each in (old, new))
        return compare(a, b)

    def scores(self, model: str, environment: str, *, since: int) -> Sequence[ScoreMean]:
        """Return count and mean of scores by version and name."""
        with self.begin() as work:
            return work.scores.means(model=model, environment=environment, since=since)

    def totals(self) -> Sequence[Total]:
        """Return the sums since ever, for counters that never fall."""
        with self.begin() as work:
            rows = work.measurements.totals()
        return [
            Total(
                model=model,
                environment=environment,
                version=version,
                outcomes={outcome.value: outcomes.get(outcome, 0) for outcome in Outcome},
                tokens=tokens,
            )
            for model, environment, version, outcomes, tokens in rows
        ]

    def timings(self) -> Mapping[TimingOf, Mapping[str, int]]:
        """Return since ever how long answers took, and the first content of streams."""
        with self.begin() as work:
            return work.measurements.timings()

    def costs(self) -> Mapping[CostOf, int]:
        """Return since ever what versions cost, by the prices of their time."""
        with self.begin() as work:
            return work.measurements.costs()

    def key_counts(self) -> Mapping[KeyCount, int]:
        """Return since ever what keys did."""
        with self.begin() as work:
            return work.measurements.key_counts()

    def unrouted(self) -> Mapping[str, int]:
        """Return since ever, by outcome, requests that came to no version; of none 0."""
        with self.begin() as work:
            counted = work.measurements.unrouted()
        return {outcome.value: counted.get(outcome.value, 0) for outcome in UNROUTED}

    def tend(self) -> Upkeep:
        """Merge finished minutes and delete what is too old, for some seconds at most.

        Call it from a loop; when it did something there may be more to do.
        """
        now = self.clock()
        return Upkeep(
            merged=self._in_batches(
                lambda work, limit: work.measurements.merge(before=now - _SETTLED, limit=limit)
            ),
            pruned=self._in_batches(
                lambda work, limit: work.measurements.prune(before=now - self.keep, limit=limit)
            ),
            scores=self._in_batches(
                lambda work, limit: work.scores.prune(before=now - self.keep_scores, limit=limit)
            ),
            units=self._in_batches(lambda work, limit: work.evidence.sweep_units(limit=limit)),
            windows=self._in_batches(
                lambda work, limit: work.spending.prune(before=now - _WINDOWS_KEPT, limit=limit)
            ),
        )

    def _in_batches(self, take: Callable[[Work, int], int]) -> int:
        def piece(limit: int) -> int:
            with self.begin() as work:
                taken = take(work, limit)
                work.commit()
            return taken

        return self.batches.run(piece)


def points(
    measurements: Iterable[Measurement],
    *,
    since: int,
    step: int | None,
    prices: Mapping[str, Timeline] | None = None,
) -> tuple[Point, ...]:
    """Add measurements up per (step, version, arm); steps begin at multiples of theirs.

    `prices`: by version; what is not there is not known.
    """
    groups: dict[tuple[int, str, str], list[Measurement]] = {}
    for one in measurements:
        at = since if step is None else max(since, one.minute - one.minute % step)
        groups.setdefault((at, one.version, one.arm), []).append(one)
    known = prices or {}
    return tuple(
        _point(at, group, known.get(version, ()))
        for (at, version, _), group in sorted(groups.items())
    )


def _point(at: int, group: Sequence[Measurement], timeline: Timeline) -> Point:
    latency, first, cost = Sketch(), Sketch(), Cost()
    for one in group:
        cost.add(timeline, one.tokens, one.minute)
        latency.merge(one.latency)
        first.merge(one.first)
    return Point(
        version=group[0].version,
        arm=group[0].arm,
        at=at,
        outcomes=_sums(one.outcomes for one in group),
        latency_ms=_quantiles(latency),
        first_ms=_quantiles(first),
        tokens=_sums(one.tokens for one in group),
        served_by=_sums(one.served_by for one in group),
        cost=cost.total,
    )


def _sums(several: Iterable[Mapping[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for one in several:
        for key, n in one.items():
            sums[str(key)] = sums.get(str(key), 0) + n
    return sums


def _quantiles(sketch: Sketch) -> dict[str, float]:
    found = {f"p{q * 100:.0f}": sketch.quantile(q) for q in QUANTILES}
    return {name: round(value, 3) for name, value in found.items() if value is not None}


def _check_window(since: int, until: int, step: int | None) -> None:
    if until <= since:
        raise Invalid.at("/to", "lies before /from")
    if step is None:
        return
    if step < MINUTE or step % MINUTE:
        raise Invalid.at("/step", 'must be whole minutes, as in "5m": nothing finer is kept')
    if (until - since) / step > MOST_POINTS:
        raise Invalid.at("/step", f"gives more than {MOST_POINTS:,} steps: make it longer")
