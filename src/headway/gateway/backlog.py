"""What waits for the store: added up while it waits, bounded, and handed over as a batch."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias, TypeVar

from headway.auth.limits import SHORT
from headway.gateway.tally import add_up, together
from headway.tracking.measurement import (
    Batch,
    CostOf,
    Count,
    FirstEvent,
    KeyCount,
    Measurement,
    Veto,
    WindowKey,
)
from headway.tracking.sketch import Sketch

K = TypeVar("K", bound=Hashable)

_Row: TypeAlias = tuple[str, str, str, str, int]
_Key: TypeAlias = tuple[str, int, str, str, int, int, bool]

_KEEP: Final = 0.9
"""How much of the bound is kept when it is passed, so that not every flush drops something."""


class Backlog:
    """Sums and evidence by key. A batch made of it never changes when more is added."""

    __slots__ = (
        "_costs", "_counts", "_dropped", "_firsts", "_key_counts", "_key_uses", "_rows",
        "_unrouted", "_vetoes", "_windows",
    )  # fmt: skip

    def __init__(self) -> None:
        self._rows: dict[_Row, Measurement] = {}
        self._counts: dict[_Key, int] = {}
        self._firsts: list[tuple[str, FirstEvent]] = []
        self._vetoes: list[Veto] = []
        self._key_uses: dict[str, int] = {}
        self._unrouted: dict[str, int] = {}
        self._windows: dict[WindowKey, int] = {}
        self._key_counts: dict[KeyCount, int] = {}
        self._costs: dict[CostOf, int] = {}
        self._dropped = 0

    def add(
        self,
        *,
        measurements: Iterable[Measurement],
        counts: Mapping[str, Iterable[Count]],
        firsts: Mapping[str, Iterable[FirstEvent]],
        vetoes: Iterable[Veto],
        key_uses: Mapping[str, int],
        unrouted: Mapping[str, int],
        windows: Mapping[WindowKey, int],
        key_counts: Mapping[KeyCount, int],
        costs: Mapping[CostOf, int],
        dropped: int = 0,
    ) -> None:
        for one in measurements:
            key = (one.model, one.environment, one.version, one.arm, one.minute)
            had = self._rows.get(key)
            self._rows[key] = one if had is None else merged(had, one)
        for deployment, several in counts.items():
            for count in several:
                name = (deployment, count.epoch, count.arm, count.metric, count.bin)
                place = (*name, count.due, count.late)
                self._counts[place] = self._counts.get(place, 0) + count.n
        for deployment, events in firsts.items():
            self._firsts.extend((deployment, event) for event in events)
        self._vetoes.extend(vetoes)
        for key_id, minute in key_uses.items():
            self._key_uses[key_id] = max(minute, self._key_uses.get(key_id, 0))
        self._unrouted = together(self._unrouted, unrouted)
        add_up(self._windows, windows)
        add_up(self._key_counts, key_counts)
        add_up(self._costs, costs)
        self._dropped += dropped

    def trim(self, most_rows: int) -> bool:
        """Drop the oldest beyond so many rows of each kind; say whether any was dropped.

        Of evidence whole due times go, in both arms alike: half of one would be a lie.
        """
        before = self._dropped
        if len(self._rows) > most_rows:
            edge = _edge([row[-1] for row in self._rows], most_rows)
            for row in [row for row in self._rows if row[-1] < edge]:
                self._dropped += sum(self._rows.pop(row).outcomes.values())
        if len(self._counts) > most_rows:
            edge = _edge([place[-2] for place in self._counts], most_rows)
            for place in [place for place in self._counts if place[-2] < edge]:
                self._dropped += self._counts.pop(place)
        if len(self._firsts) > most_rows:
            edge = _edge([event.due for _, event in self._firsts], most_rows)
            kept = [(of, event) for of, event in self._firsts if event.due >= edge]
            self._dropped += len(self._firsts) - len(kept)
            self._firsts = kept
        if len(self._windows) > most_rows:
            # Minutes that nobody asks for any more; days and months are few, and are money.
            newest = max(at for _, at, _ in self._windows)
            over = [w for w in self._windows if w[0] in SHORT and w[1] < newest]
            for window in over:
                del self._windows[window]
        return self._dropped > before

    def batch(
        self,
        boot: str,
        seq: int,
        applied_generation: int,
        *,
        spender: str = "",
        under_way: Mapping[str, int] | None = None,
    ) -> Batch:
        counts: dict[str, list[Count]] = {}
        for (deployment, epoch, arm, metric, bin_, due, late), n in self._counts.items():
            count = Count(epoch, arm, metric, bin_, due, late, n)
            counts.setdefault(deployment, []).append(count)
        firsts: dict[str, list[FirstEvent]] = {}
        for deployment, event in self._firsts:
            firsts.setdefault(deployment, []).append(event)
        return Batch(
            boot=boot,
            seq=seq,
            applied_generation=applied_generation,
            measurements=tuple(self._rows.values()),
            counts={deployment: tuple(several) for deployment, several in counts.items()},
            firsts={deployment: tuple(events) for deployment, events in firsts.items()},
            vetoes=tuple(self._vetoes),
            key_uses=dict(self._key_uses),
            unrouted=dict(self._unrouted),
            spender=spender,
            windows=dict(self._windows),
            under_way=dict(under_way or {}),
            key_counts=dict(self._key_counts),
            costs=dict(self._costs),
            dropped=self._dropped,
        )


def merged(one: Measurement, other: Measurement) -> Measurement:
    """Return the sums of two; neither is changed."""
    latency, bad, first = Sketch(), Sketch(), Sketch()
    for measured in (one, other):
        latency.merge(measured.latency)
        bad.merge(measured.bad)
        first.merge(measured.first)
    return replace(
        one,
        outcomes=together(one.outcomes, other.outcomes),
        latency=latency,
        bad=bad,
        first=first,
        tokens=together(one.tokens, other.tokens),
        served_by=together(one.served_by, other.served_by),
    )


def _edge(times: list[int], most: int) -> int:
    """Return the time before which to drop, so that clearly less than `most` stays."""
    times.sort()
    newer = times[len(times) - int(most * _KEEP) :]
    last_dropped = times[len(times) - len(newer) - 1]
    return last_dropped + 1
