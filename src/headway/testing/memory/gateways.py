"""Starts of gateways and what they hand over."""

from collections.abc import Sequence
from dataclasses import replace

from headway.kernel.errors import Conflict, NotFound
from headway.testing.memory.deployments import MemoryDeployments
from headway.testing.memory.evidence import MemoryEvidence
from headway.testing.memory.keys import MemoryKeys, MemorySpending
from headway.testing.memory.measurements import MemoryMeasurements
from headway.testing.memory.tables import Repository, Start, add_up, as_stored, required
from headway.tracking.measurement import Batch, GatewayRow


class MemoryGateways(Repository):
    def start(self, *, boot: str, host: str, pid: int, at_least: int = 0) -> GatewayRow:
        if self._t.gateways.get(boot) is not None:
            raise Conflict(f"the gateway {boot} was entered already")
        now = self._t.clock()
        number = max((self._t.gateway_number.get("last") or 0) + 1, at_least)
        self._t.gateway_number.put("last", number)
        row = GatewayRow(
            boot=boot,
            number=number,
            host=host,
            pid=pid,
            started_at=now,
            seen_at=now,
            seq=0,
            applied_generation=0,
        )
        self._t.gateways.put(boot, Start(row))
        return row

    def flush(self, batch: Batch) -> bool:
        start = required(self._t.gateways.get(batch.boot), f"gateway {batch.boot!r}")
        if batch.seq <= start.row.seq:
            return False
        if batch.seq != start.row.seq + 1:
            raise NotFound(f"the gateway {batch.boot!r} is known only up to {start.row.seq}")
        row = replace(
            start.row,
            seq=batch.seq,
            applied_generation=batch.applied_generation,
            seen_at=self._t.clock(),
        )
        dropped = start.dropped + batch.dropped
        self._t.gateways.put(batch.boot, Start(row, dropped, under_way=dict(batch.under_way)))
        MemorySpending(self._t).add(batch.spender, batch.windows)
        add_up(self._t.key_totals, batch.key_counts)
        add_up(self._t.costs, batch.costs)
        for veto in batch.vetoes:
            kept = replace(veto, detail=as_stored(veto.detail))
            self._t.vetoes.put(self._t.store.number("vetoes"), kept)
            MemoryDeployments(self._t).wake(veto.deployment)
        for key_id, minute in batch.key_uses.items():
            MemoryKeys(self._t).used(key_id, minute)
        for measurement in batch.measurements:
            MemoryMeasurements(self._t).append(measurement)
        MemoryMeasurements(self._t).count_unrouted(batch.unrouted)
        for deployment in {*batch.counts, *batch.firsts}:
            MemoryEvidence(self._t).add(
                deployment, batch.counts.get(deployment, ()), batch.firsts.get(deployment, ())
            )
        return True

    def living(self, *, within: int) -> Sequence[GatewayRow]:
        since = self._t.clock() - within
        found = [
            start.row
            for start in self._t.gateways.all()
            if not start.stopped and start.row.seen_at >= since
        ]
        return sorted(found, key=lambda row: row.number)

    def stop(self, boot: str) -> None:
        if start := self._t.gateways.get(boot):
            self._t.gateways.put(boot, replace(start, stopped=True))

    def dropped(self) -> int:
        return sum(start.dropped for start in self._t.gateways.all())
