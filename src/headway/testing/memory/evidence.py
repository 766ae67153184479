"""Counters of the judge, and which events a unit had already."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from headway.testing.memory.tables import Repository, Units
from headway.tracking.measurement import Count, FirstEvent


class MemoryEvidence(Repository):
    def add(self, deployment: str, counts: Sequence[Count], firsts: Sequence[FirstEvent]) -> None:
        for one in (*counts, *self._new(deployment, firsts)):
            key = (deployment, replace(one, n=0))
            self._t.evidence.put(key, (self._t.evidence.get(key) or 0) + one.n)

    def of(self, deployment: str) -> Sequence[Count]:
        found = [
            replace(key, n=n)
            for (owner, key), n in self._t.evidence.items()
            if owner == deployment
        ]
        return sorted(found, key=_evidence_order)

    def frozen(self, deployment: str) -> bool:
        """Say whether there were too many units: none of their events counts from then on."""
        return (self._t.units.get(deployment) or Units()).frozen

    def fold(self, deployment: str, *, due_before: int, epoch: int) -> None:
        for one in self.of(deployment):
            if one.epoch == epoch and 0 < one.due < due_before:
                self._t.evidence.put((deployment, replace(one, n=0)), None)
                self.add(deployment, [replace(one, due=0)], [])

    def forget_units(self, deployment: str) -> None:
        known = self._t.units.get(deployment) or Units()
        self._t.units.put(deployment, replace(known, forgotten=True))

    def sweep_units(self, *, limit: int) -> int:
        keys = [key for key, _ in self._t.first_events.items() if self._forgotten(key[0])][:limit]
        for key in keys:
            self._t.first_events.put(key, None)
        return len(keys)

    def _forgotten(self, deployment: str) -> bool:
        known = self._t.units.get(deployment)
        return known is not None and known.forgotten

    def _new(self, deployment: str, firsts: Sequence[FirstEvent]) -> Sequence[Count]:
        """Return what the events add whose unit had none with that bit, and note them."""
        known = self._t.units.get(deployment) or Units()
        if not firsts or known.frozen or known.forgotten:
            return ()
        masks: dict[int, int] = {}
        added: list[Count] = []
        strangers = 0
        for first in firsts:
            if first.unit not in masks:
                stored = self._t.first_events.get((deployment, first.unit))
                strangers += stored is None
                masks[first.unit] = stored or 0
            if not masks[first.unit] & first.bit:
                masks[first.unit] |= first.bit
                added.extend(first.counts)
        if known.units + strangers > self._t.store.unit_cap:
            self._t.units.put(deployment, replace(known, frozen=True))
            return ()
        self._t.units.put(deployment, replace(known, units=known.units + strangers))
        for unit, mask in masks.items():
            self._t.first_events.put((deployment, unit), mask)
        return added


def _evidence_order(one: Count) -> tuple[Any, ...]:
    return one.epoch, one.arm, one.metric, one.bin, one.due, one.late
