"""What was counted, and which of it may be read now: the judge's evidence.

A row of evidence says how often something happened to the requests of one epoch and arm that come
of age at one moment. A request counts when it is old enough, never when its outcome arrives, and
at the same age in both arms: else the arm that answers sooner shows its failures sooner. `late` is
False for what was known at age M, and True for what came between M and L.

What is stored (all of units, each counted once in a deployment):

| metric | bin | one is |
|---|---|---|
| `errors` (or any yes/no metric) | 1 | the first bad event of a unit |
| `errors.first` | 1 | a unit whose first measured request had the bad event |
| `measured` | 0 | the first measured request of a unit |
| `latency.p50` .. `latency.p99` | 1 | a first request slower than the threshold |
| `latency>8000` | 0 | a first request of which it is known whether it is slower than that, ms |
| `latency>8000` | 1 | one that is: what a `never` limit is about |
| `score.<name>` | 0..100 | a first measured answer with a score: badness in hundredths |
| `units` | | kept for the watch on the router's coin |
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from headway.kernel.canonical import Json
from headway.kernel.quantity import WHOLE_BP
from headway.routing.route import Ages
from headway.tracking.measurement import DUE_STEP, Count

CANDIDATE: Final = "candidate"
STABLE: Final = "stable"
MEASURED: Final = "measured"
BAD: Final = 1
"""The bin of a yes/no event; `measured` uses bin 0, scores use 0..100."""
QUANTILES: Final = ("p50", "p90", "p95", "p99")
"""The stable version's own quantiles above which an answer is slow."""


class Kind(StrEnum):
    """How a metric is judged."""

    RATE = "rate"
    MAGNITUDE = "magnitude"
    SCORE = "score"


def kind_of(metric: str) -> Kind:
    """Tell from its name how a metric is judged: `latency`, `score.<name>`, or a yes/no event."""
    if metric.startswith("score."):
        return Kind.SCORE
    return Kind.MAGNITUDE if metric == "latency" else Kind.RATE


def slow(metric: str, quantile: str) -> str:
    """Name the evidence of answers beyond a threshold: `latency.p95`."""
    return f"{metric}.{quantile}"


@dataclass(frozen=True, slots=True)
class Epoch:
    """One set of shares: the id of its route revision, the candidate's share of the rule."""

    id: int
    share_bp: int

    @property
    def compares(self) -> bool:
        """Whether both arms had traffic, so that its coin says something."""
        return 0 < self.share_bp < WHOLE_BP


@dataclass(frozen=True, slots=True)
class Tally:
    """The sums of one epoch, by arm, metric and bin."""

    epoch: Epoch
    counts: Mapping[tuple[str, str, int], int]

    def of(self, arm: str, metric: str, bin: int = BAD) -> int:  # noqa: A002 - the row's own word
        return self.counts.get((arm, metric, bin), 0)

    def bins(self, arm: str, metric: str) -> tuple[tuple[int, int], ...]:
        """Return (bin, count) of a metric, lowest bin first: a fixed order of summation."""
        return tuple(
            (key[2], n)
            for key, n in sorted(self.counts.items())
            if key[0] == arm and key[1] == metric
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What may be read at `now`, oldest epoch first, the same epochs in each part.

    `current` is what has come of age, for "worse". `settled` is what is older than L, for proofs
    of "not worse": a candidate that fails late would be flattered otherwise. `timely` is the part
    of `current` that was known at age M, for limits: there a bad event must not come apart from
    the request that it is one of. `seasoned` is what has been settled for so long that everything
    of its age has, whatever line it crossed: an answer beyond 20 s is known later than one beyond
    1 s, and where the two are compared, the quicker to be known must not run ahead.
    """

    now: int
    current: tuple[Tally, ...] = ()
    settled: tuple[Tally, ...] = ()
    timely: tuple[Tally, ...] = ()
    seasoned: tuple[Tally, ...] = ()

    def document(self) -> dict[str, Json]:
        """Write per epoch `[arm, metric, bin, current, settled, timely, seasoned]`, in order."""
        return {
            "now": self.now,
            "epochs": [
                {
                    "id": tally.epoch.id,
                    "share_bp": tally.epoch.share_bp,
                    "counts": [
                        [*key, n, *(other.of(*key) for other in others)]
                        for key, n in sorted(tally.counts.items())
                    ],
                }
                for tally, *others in zip(
                    self.current, self.settled, self.timely, self.seasoned, strict=True
                )
            ],
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read what `document` wrote."""
        parts: tuple[list[Tally], ...] = ([], [], [], [])
        for row in document["epochs"]:
            epoch = Epoch(row["id"], row["share_bp"])
            for place, part in enumerate(parts):
                counts = {
                    (arm, metric, number): sums[place]
                    for arm, metric, number, *sums in row["counts"]
                    if sums[place]
                }
                part.append(Tally(epoch, counts))
        return cls(document["now"], *(tuple(part) for part in parts))


def fold(
    counts: Iterable[Count], *, epochs: Iterable[Epoch], ages: Mapping[str, Ages], now: int
) -> Evidence:
    """Add up what may be read at `now`; counts of other epochs are left out.

    `ages` goes by metric, see `ages_of`; `errors` must be among them.
    """
    known = sorted(epochs, key=lambda epoch: epoch.id)
    parts: tuple[dict[int, dict[tuple[str, str, int], int]], ...] = tuple(
        {epoch.id: {} for epoch in known} for _ in range(4)
    )
    current, settled, timely, seasoned = parts
    for count in counts:
        if count.due > now or count.epoch not in current:
            continue
        key = (count.arm, count.metric, count.bin)
        into = [current]
        if not count.late:
            into.append(timely)
        if count.due + _wait(count, ages) <= now:
            into.append(settled)
        if count.due + ages_of(count.metric, ages).l + DUE_STEP <= now:
            into.append(seasoned)
        for part in into:
            sums = part[count.epoch]
            sums[key] = sums.get(key, 0) + count.n
    return Evidence(
        now, *(tuple(Tally(epoch, part[epoch.id]) for epoch in known) for part in parts)
    )


@dataclass(frozen=True, slots=True)
class Young:
    """Units of both arms that came and are too young to count, and when the first of them does."""

    n: int = 0
    counts_at: int | None = None
    """In ms; None: there are none."""
    coming: tuple[tuple[int, int], ...] = ()
    """(When, how many of them count from then on), the first ones first."""

    def reached(self, n: int) -> int | None:
        """Return when so many of them will count, ms; None: they are fewer."""
        for at, more in self.coming:
            n -= more
            if n <= 0:
                return at
        return None


def unread(counts: Iterable[Count], metric: str, *, epochs: Collection[int], now: int) -> Young:
    """Return the units of which nothing may be read yet: what `fold` leaves out."""
    return _young([(count.due, count.n) for count in _units(counts, metric, epochs)], now)


def unsettled(
    counts: Iterable[Count],
    metric: str,
    *,
    epochs: Collection[int],
    ages: Mapping[str, Ages],
    now: int,
) -> Young:
    """Return the units that no proof of "not worse" has taken in yet."""
    units = _units(counts, metric, epochs)
    return _young([(count.due + _wait(count, ages), count.n) for count in units], now)


def _young(units: Iterable[tuple[int, int]], now: int) -> Young:
    coming = tuple(sorted((at, n) for at, n in units if at > now))
    return Young(sum(n for _, n in coming), coming[0][0] if coming else None, coming)


def _units(counts: Iterable[Count], metric: str, epochs: Collection[int]) -> Iterable[Count]:
    """Return the rows that count units: answers with a score for a score, else first requests."""
    of = metric if kind_of(metric) is Kind.SCORE else MEASURED
    return (count for count in counts if count.metric == of and count.epoch in epochs)


def foldable_before(ages: Mapping[str, Ages], *, now: int) -> int:
    """Return the time before which rows are settled and may be kept as one per key, due at 0.

    Folding such rows gives what folding the single ones gave, at `now` and at any later time.
    """
    return now - max((of.l for of in ages.values()), default=0) - DUE_STEP


def ages_of(metric: str, ages: Mapping[str, Ages]) -> Ages:
    """Return the ages of a metric: its own, `score.*` for a score, else those of `errors`."""
    family = "score.*" if kind_of(metric) is Kind.SCORE else "errors"
    return ages.get(metric) or ages.get(family) or ages["errors"]


def _wait(count: Count, ages: Mapping[str, Ages]) -> int:
    """How long after `due` a row is settled: L - M if it was due at M; scores do not wait."""
    if count.late or kind_of(count.metric) is Kind.SCORE:
        return 0
    of = ages_of(count.metric, ages)
    return max(0, of.l - of.m)
