"""Evidence: sums that only grow, and which events each sticky unit had already."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa

from headway.persistence.engine import Transaction, values_of
from headway.persistence.statements import add_up, insert_new, set_bits
from headway.persistence.tables import evidence, first_events, unit_sets
from headway.tracking.measurement import MOST_UNITS, Count, FirstEvent

_CHUNK: Final = 5_000
"""Rows of one statement; SQLite takes 32,766 parameters."""
_FIELDS: Final = tuple(field.name for field in fields(Count))
_KEY: Final = tuple(name for name in _FIELDS if name != "n")
_ORDER: Final = [evidence.c[name] for name in _KEY]
_MASKS: Final = sa.select(first_events.c.unit, first_events.c.mask).where(
    first_events.c.unit_set == sa.bindparam("unit_set"),
    first_events.c.unit.in_(sa.bindparam("units", expanding=True)),
)


class SqlEvidence:
    def __init__(self, transaction: Transaction, *, unit_cap: int = MOST_UNITS) -> None:
        self._transaction = transaction
        self._unit_cap = unit_cap

    def add(self, deployment: str, counts: Sequence[Count], firsts: Sequence[FirstEvent]) -> None:
        self.add_all({deployment: counts}, {deployment: firsts})

    def add_all(
        self,
        counts: Mapping[str, Sequence[Count]],
        firsts: Mapping[str, Sequence[FirstEvent]],
    ) -> None:
        """Add up the evidence of several deployments, in one order for all writers."""
        sums: Counter[tuple[Any, ...]] = Counter()
        for deployment in sorted(firsts):
            _sum_up(sums, deployment, self._new(deployment, firsts[deployment]))
        for deployment, found in counts.items():
            _sum_up(sums, deployment, found)
        if sums:
            names = ("deployment", *_KEY)
            rows = [dict(zip(names, key, strict=True), n=n) for key, n in sorted(sums.items())]
            self._transaction.run(add_up(self._transaction.dialect, evidence), rows)

    def of(self, deployment: str) -> Sequence[Count]:
        query = sa.select(evidence).where(evidence.c.deployment == deployment).order_by(*_ORDER)
        return [Count(**values_of(row, _FIELDS)) for row in self._transaction.rows(query)]

    def frozen(self, deployment: str) -> bool:
        """Say whether there were too many units: none of their events counts from then on."""
        query = sa.select(unit_sets.c.frozen).where(unit_sets.c.deployment == deployment)
        return bool(self._transaction.scalar(query))

    def fold(self, deployment: str, *, due_before: int, epoch: int) -> None:
        settled = (
            sa.delete(evidence)
            .where(
                evidence.c.deployment == deployment,
                evidence.c.epoch == epoch,
                evidence.c.due > 0,
                evidence.c.due < due_before,
            )
            .returning(evidence)
        )
        rows = [dict(row._mapping) | {"due": 0} for row in self._transaction.rows(settled)]  # noqa: SLF001 - SQLAlchemy's public name for it
        if rows:
            self._transaction.run(add_up(self._transaction.dialect, evidence), rows)

    def forget_units(self, deployment: str) -> None:
        """Take no further units of it; there may be millions: they go with `sweep_units`."""
        self._transaction.run(
            insert_new(self._transaction.dialect, unit_sets),
            {"deployment": deployment, "units": 0, "frozen": False, "forgotten": False},
        )
        mine = unit_sets.c.deployment == deployment
        self._transaction.run(sa.update(unit_sets).where(mine).values(forgotten=True))

    def sweep_units(self, *, limit: int) -> int:
        gone = sa.select(unit_sets.c.id).where(unit_sets.c.forgotten == 1)
        key = (first_events.c.unit_set, first_events.c.unit)
        some = sa.select(*key).where(first_events.c.unit_set.in_(gone)).limit(limit)
        return self._transaction.run(
            sa.delete(first_events).where(sa.tuple_(*key).in_(some)),
        )

    def _new(self, deployment: str, firsts: Sequence[FirstEvent]) -> Iterable[Count]:
        """Return what the events add whose unit had none with that bit, and note them."""
        if not firsts:
            return ()
        self._transaction.run(
            insert_new(self._transaction.dialect, unit_sets),
            {"deployment": deployment, "units": 0, "frozen": False, "forgotten": False},
        )
        # The lock keeps two gateways from finding the same unit new at the same time.
        query = sa.select(unit_sets).where(unit_sets.c.deployment == deployment).with_for_update()
        (known,) = self._transaction.rows(query)
        if known.frozen or known.forgotten:
            return ()
        stored = self._masks(known.id, {first.unit for first in firsts})
        masks = dict(stored)
        new: list[Count] = []
        for first in firsts:
            mask = masks.get(first.unit, 0)
            if not mask & first.bit:
                masks[first.unit] = mask | first.bit
                new.extend(first.counts)
        mine = unit_sets.c.id == known.id
        units = known.units + len(masks) - len(stored)
        if units > self._unit_cap:
            self._transaction.run(sa.update(unit_sets).where(mine).values(frozen=True))
            return ()
        changed = sorted((unit, mask) for unit, mask in masks.items() if mask != stored.get(unit))
        if changed:
            rows = [{"unit_set": known.id, "unit": unit, "mask": mask} for unit, mask in changed]
            self._transaction.run(set_bits(self._transaction.dialect, first_events), rows)
            self._transaction.run(sa.update(unit_sets).where(mine).values(units=units))
        return new

    def _masks(self, unit_set: int, units: Iterable[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        for chunk in _chunks(sorted(units)):
            rows = self._transaction.rows(_MASKS, {"unit_set": unit_set, "units": chunk})
            found |= {row.unit: row.mask for row in rows}
        return found


def _sum_up(into: "Counter[tuple[Any, ...]]", deployment: str, counts: Iterable[Count]) -> None:
    for one in counts:
        into[(deployment, *(getattr(one, name) for name in _KEY))] += one.n


def _chunks(units: Sequence[int]) -> Iterator[list[int]]:
    rest = iter(units)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
