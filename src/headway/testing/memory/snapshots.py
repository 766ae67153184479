"""Snapshots, and the versions that they pin."""

from collections.abc import Sequence

from headway.deployments.plan import GoingBack
from headway.kernel.errors import Conflict
from headway.snapshots.snapshot import Snapshot
from headway.testing.memory.pages import newest_first
from headway.testing.memory.tables import Repository, required, route_key


class MemorySnapshots(Repository):
    def add(self, snapshot: Snapshot) -> None:
        if self._t.snapshots.get(snapshot.id) is not None:
            raise Conflict(f"there is a snapshot {snapshot.id} already")
        self._t.snapshots.put(snapshot.id, snapshot)

    def get(self, snapshot_id: str) -> Snapshot:
        return required(self._t.snapshots.get(snapshot_id), f"snapshot {snapshot_id!r}")

    def of(
        self, model: str, environment: str, *, before: str | None, limit: int
    ) -> Sequence[Snapshot]:
        found = [
            one
            for one in self._t.snapshots.all()
            if route_key(one.model, one.environment) == route_key(model, environment)
        ]
        return newest_first(found, before=before, limit=limit)

    def warm_versions(self, *, now: int) -> Sequence[tuple[str, str]]:
        routes = self._t.current.all()
        for one in self._t.snapshots.all():
            key = (route_key(one.model, one.environment), one.revision)
            leased = self._t.deployments.get(one.deployment) if one.deployment else None
            going_back = leased.deployment.plan.going_back if leased else GoingBack()
            warm = now < one.created_at + going_back.keep_warm
            if warm and (route := self._t.routes.get(key)):
                routes.append(route)
        return sorted({(r.model, version) for r in routes for version in r.may_answer()})
