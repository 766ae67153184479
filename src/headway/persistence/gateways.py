"""The gateways that there are, and the flush by which they hand over what they saw."""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from headway.kernel.clock import DAY
from headway.kernel.errors import Conflict, NotFound
from headway.persistence.deployments import SqlVetoes
from headway.persistence.engine import Transaction, values_of
from headway.persistence.evidence import SqlEvidence
from headway.persistence.keys import SqlKeys, SqlSpending
from headway.persistence.measurements import SqlMeasurements
from headway.persistence.statements import insert_new
from headway.persistence.tables import GATEWAY, gateways, now
from headway.tracking.measurement import Batch, GatewayRow

_FIELDS: Final = (
    "boot",
    "number",
    "host",
    "pid",
    "started_at",
    "seen_at",
    "seq",
    "applied_generation",
)
_KEPT: Final = 7 * DAY
"""For so long a row of a gateway that is gone is kept."""
_t: Final = gateways.c


class SqlGateways:
    def __init__(self, transaction: Transaction, *, evidence: SqlEvidence) -> None:
        self._transaction = transaction
        self._evidence = evidence

    def start(self, *, boot: str, host: str, pid: int, at_least: int = 0) -> GatewayRow:
        self._transaction.run(sa.delete(gateways).where(_t.seen_at < now() - _KEPT))
        at = self._transaction.now()
        row = {
            "boot": boot,
            "number": self._transaction.count(GATEWAY, at_least=at_least),
            "host": host,
            "pid": pid,
            "started_at": at,
            "seen_at": at,
            "seq": 0,
            "applied_generation": 0,
            "dropped": 0,
        }
        if self._transaction.run(insert_new(self._transaction.dialect, gateways), row) != 1:
            raise Conflict(f"the gateway {boot} was entered already")
        return GatewayRow(**{name: row[name] for name in _FIELDS})  # type: ignore[arg-type]  # by name

    def flush(self, batch: Batch) -> bool:
        """Take a batch; see `headway.tracking.ports`.

        Raise `NotFound` if the store knows nothing of this start of the gateway, or not of the
        batches before: it was restored from a backup, or forgot a gateway that was silent for a
        week. Then the gateway enters itself anew.
        """
        take = (
            sa.update(gateways)
            .where(_t.boot == batch.boot, _t.seq == batch.seq - 1)
            .values(
                seq=batch.seq,
                applied_generation=batch.applied_generation,
                seen_at=now(),
                dropped=_t.dropped + batch.dropped,
                stopped_at=None,
                under_way=dict(batch.under_way),
            )
        )
        if self._transaction.run(take) != 1:
            self._check_taken(batch)
            return False
        # One order of tables for all who write to several; the rows that every gateway writes to
        # come last, so that one waits for another as shortly as can be.
        measurements = SqlMeasurements(self._transaction)
        SqlVetoes(self._transaction).add(batch.vetoes)
        SqlKeys(self._transaction).all_used(list(batch.key_uses.items()))
        SqlSpending(self._transaction).add(batch.spender, batch.windows)
        measurements.append(batch.measurements)
        self._evidence.add_all(batch.counts, batch.firsts)
        measurements.count(batch.measurements, batch.unrouted, batch.costs, batch.key_counts)
        return True

    def living(self, *, within: int) -> Sequence[GatewayRow]:
        alive = (_t.stopped_at.is_(None), _t.seen_at >= now() - within)
        query = sa.select(gateways).where(*alive).order_by(_t.number)
        return [_gateway(row) for row in self._transaction.rows(query)]

    def stop(self, boot: str) -> None:
        stopped = sa.update(gateways).where(_t.boot == boot).values(stopped_at=now())
        self._transaction.run(stopped)

    def dropped(self) -> int:
        """Return how many records gateways lost because the store could not take them."""
        return int(self._transaction.scalar(sa.select(sa.func.sum(_t.dropped))) or 0)

    def _check_taken(self, batch: Batch) -> None:
        seq = self._transaction.scalar(sa.select(_t.seq).where(_t.boot == batch.boot))
        if seq is None:
            raise NotFound(f"there is no gateway {batch.boot!r}")
        if seq < batch.seq:
            raise NotFound(f"the gateway {batch.boot!r} is known only up to {seq}")


def _gateway(row: sa.Row[Any]) -> GatewayRow:
    return GatewayRow(**values_of(row, _FIELDS))
