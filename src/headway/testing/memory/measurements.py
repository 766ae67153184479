"""Measurements, by gateway and flush until they are merged."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from headway.testing.memory.tables import Repository, route_key
from headway.tracking.histogram import FIRST, LATENCY, TimingOf, histogram
from headway.tracking.measurement import CostOf, KeyCount, Measurement
from headway.tracking.sketch import Sketch


class MemoryMeasurements(Repository):
    def append(self, one: Measurement) -> None:
        self._t.measurements.put(self._t.store.number("measurements"), (one, False))
        told: list[tuple[str, Mapping[str, int]]] = [("token", one.tokens)]
        if one.of_callers:
            told += [
                ("outcome", one.outcomes),
                (LATENCY, histogram(one.latency)),
                (FIRST, histogram(one.first)),
            ]
        for kind, sums in told:
            for name, n in sums.items():
                key = (one.model, one.environment, one.version, kind, str(name))
                self._t.totals.put(key, (self._t.totals.get(key) or 0) + n)

    def count_unrouted(self, found: Mapping[str, int]) -> None:
        for outcome, n in found.items():
            self._t.unrouted.put(outcome, (self._t.unrouted.get(outcome) or 0) + n)

    def unrouted(self) -> Mapping[str, int]:
        return dict(self._t.unrouted.items())

    def costs(self) -> Mapping[CostOf, int]:
        return dict(self._t.costs.items())

    def key_counts(self) -> Mapping[KeyCount, int]:
        return dict(sorted(self._t.key_totals.items()))

    def read(
        self,
        *,
        model: str,
        environment: str,
        since: int,
        until: int,
        version: str | None = None,
    ) -> Sequence[Measurement]:
        groups: dict[tuple[int, str, str], list[Measurement]] = {}
        for one, _ in self._t.measurements.all():
            if (
                route_key(one.model, one.environment) == route_key(model, environment)
                and since <= one.minute < until
                and version in {None, one.version}
            ):
                groups.setdefault((one.minute, one.version, one.arm), []).append(one)
        return [_sum(groups[key]) for key in sorted(groups)]

    def totals(self) -> Sequence[tuple[str, str, str, Mapping[str, int], Mapping[str, int]]]:
        found: dict[tuple[str, str, str], dict[str, dict[str, int]]] = {}
        for (model, environment, version, kind, name), n in sorted(self._t.totals.items()):
            if kind in {LATENCY, FIRST}:
                continue
            sums = found.setdefault((model, environment, version), {"outcome": {}, "token": {}})
            sums[kind][name] = n
        return [(*key, sums["outcome"], sums["token"]) for key, sums in found.items()]

    def timings(self) -> Mapping[TimingOf, Mapping[str, int]]:
        found: dict[TimingOf, dict[str, int]] = {}
        for (model, environment, version, kind, name), n in self._t.totals.items():
            if kind in {LATENCY, FIRST}:
                found.setdefault((model, environment, version, kind), {})[name] = n
        return found

    def merge(self, *, before: int, limit: int) -> int:
        groups: dict[tuple[str, str, str, int], list[int]] = {}
        for row, (one, _) in self._t.measurements.items():
            if one.minute < before:
                key = (route_key(one.model, one.environment), one.version, one.arm, one.minute)
                groups.setdefault(key, []).append(row)
        rows = self._t.measurements
        todo = [
            ids
            for ids in groups.values()
            if any(not merged for _, merged in filter(None, map(rows.get, ids)))
        ]
        for ids in todo[:limit]:
            found = [one for one, _ in filter(None, map(rows.get, ids))]
            for row in ids:
                rows.put(row, None)
            rows.put(ids[0], (_sum(found), True))
        return len(todo[:limit])

    def prune(self, *, before: int, limit: int) -> int:
        known = self._t.measurements.items()
        old = [row for row, (one, _) in known if one.minute < before][:limit]
        for row in old:
            self._t.measurements.put(row, None)
        return len(old)


def _sum(found: Sequence[Measurement]) -> Measurement:
    """Add up measurements of one key."""
    latency, bad, first = Sketch(), Sketch(), Sketch()
    outcomes: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    served_by: Counter[str] = Counter()
    for one in found:
        latency.merge(one.latency)
        bad.merge(one.bad)
        first.merge(one.first)
        outcomes.update({str(name): n for name, n in one.outcomes.items()})
        tokens.update(one.tokens)
        served_by.update(one.served_by)
    return replace(
        found[0],
        latency=latency,
        bad=bad,
        first=first,
        outcomes=dict(outcomes),
        tokens=dict(tokens),
        served_by=dict(served_by),
    )
