"""Snapshots: names for revisions of routes that may be gone back to."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from headway.deployments.plan import LONGEST_WARM, GoingBack
from headway.kernel.errors import Conflict, NotFound
from headway.kernel.quantity import parse_duration
from headway.persistence.engine import Transaction, values_of
from headway.persistence.statements import insert_new
from headway.persistence.tables import deployments, route_key, route_revisions, routes, snapshots
from headway.routing.route import read_route
from headway.snapshots.snapshot import Snapshot

_FIELDS = [name for name in snapshots.c.keys() if name != "route"]  # noqa: SIM118 - columns are no dict


class SqlSnapshots:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, snapshot: Snapshot) -> None:
        row = asdict(snapshot) | {"route": route_key(snapshot.model, snapshot.environment)}
        if self._transaction.run(insert_new(self._transaction.dialect, snapshots), row) != 1:
            raise Conflict(f"there is a snapshot {snapshot.id} already")

    def get(self, snapshot_id: str) -> Snapshot:
        row = self._transaction.row(sa.select(snapshots).where(snapshots.c.id == snapshot_id))
        if row is None:
            raise NotFound(f"there is no snapshot {snapshot_id!r}")
        return Snapshot(**values_of(row, _FIELDS))

    def of(
        self, model: str, environment: str, *, before: str | None, limit: int
    ) -> Sequence[Snapshot]:
        query = sa.select(snapshots).where(snapshots.c.route == route_key(model, environment))
        if before is not None:
            query = query.where(snapshots.c.id < before)
        rows = self._transaction.rows(query.order_by(snapshots.c.id.desc()).limit(limit))
        return [Snapshot(**values_of(row, _FIELDS)) for row in rows]

    def warm_versions(self, *, now: int) -> Sequence[tuple[str, str]]:
        found = sa.select(
            route_revisions.c.model, route_revisions.c.environment, route_revisions.c.declared
        )
        current = found.join(routes, routes.c.revision_id == route_revisions.c.id)
        kept = (
            found.add_columns(snapshots.c.created_at, deployments.c.plan)
            .join(
                snapshots,
                sa.and_(
                    snapshots.c.route == route_revisions.c.route,
                    snapshots.c.revision == route_revisions.c.revision,
                ),
            )
            .outerjoin(deployments, deployments.c.id == snapshots.c.deployment)
            .where(snapshots.c.created_at > now - LONGEST_WARM)
        )
        warm = [
            row for row in self._transaction.rows(kept) if now < row.created_at + _warm(row.plan)
        ]
        kept_routes = (
            read_route(json.loads(row.declared), model=row.model, environment=row.environment)
            for row in (*self._transaction.rows(current), *warm)
        )
        return sorted({(r.model, version) for r in kept_routes for version in r.may_answer()})


def _warm(plan: str | None) -> int:
    """Return for how many ms the way back stays short, by the text of a plan."""
    if plan is None:
        return GoingBack().keep_warm
    return parse_duration(json.loads(plan)["rollback"]["keep_warm"])
