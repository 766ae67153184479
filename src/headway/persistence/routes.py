"""Routes: revisions are added and never change; one row per route says which one is current."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from headway.kernel.errors import Conflict, NotFound
from headway.kernel.names import folded
from headway.persistence.engine import Transaction
from headway.persistence.statements import insert_new
from headway.persistence.tables import route_key, route_revisions, routes
from headway.registry.version import SemVer
from headway.routing.route import Route, read_route

_CURRENT: Final = sa.select(route_revisions).join(
    routes, routes.c.revision_id == route_revisions.c.id
)


class SqlRoutes:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def current(self, model: str, environment: str) -> Route:
        query = _CURRENT.where(routes.c.route == route_key(model, environment))
        return self._one(query, f"route {model}/{environment}")

    def get(self, model: str, environment: str, revision: int) -> Route:
        query = _of(model, environment).where(route_revisions.c.revision == revision)
        return self._one(query, f"revision {revision} of the route {model}/{environment}")

    def by_id(self, revision_id: int) -> Route:
        query = sa.select(route_revisions).where(route_revisions.c.id == revision_id)
        return self._one(query, f"revision of a route with the id {revision_id}")

    def at(self, model: str, environment: str, when: int) -> Route:
        query = _of(model, environment).where(route_revisions.c.created_at <= when)
        newest = query.order_by(route_revisions.c.revision.desc()).limit(1)
        return self._one(newest, f"route {model}/{environment} at that time")

    def revisions(
        self, model: str, environment: str, *, before: int, limit: int
    ) -> Sequence[Route]:
        query = _of(model, environment).where(route_revisions.c.revision < before)
        newest = query.order_by(route_revisions.c.revision.desc()).limit(limit)
        return [_route(row) for row in self._transaction.rows(newest)]

    def all_current(self) -> Sequence[Route]:
        rows = self._transaction.rows(_CURRENT.order_by(routes.c.route))
        return [_route(row) for row in rows]

    def add(self, route: Route) -> Route:
        key = route_key(route.model, route.environment)
        stored = self._transaction.scalar(
            sa.select(routes.c.revision).where(routes.c.route == key)
        )
        faster = Conflict(f"somebody else changed the route {route.name}; look again")
        if route.revision != (stored or 0) + 1:
            raise faster
        row = {
            "route": key,
            "model": route.model,
            "environment": route.environment,
            "revision": route.revision,
            "declared": route.text(),
            "digest": route.digest,
            "epoch": None if route.epoch is None else route.epoch.document(),
            "guards": [guard.document() for guard in route.guards],
            "because": route.because,
            "created_at": route.created_at,
            "created_by": route.created_by,
        }
        dialect = self._transaction.dialect
        insert = insert_new(dialect, route_revisions).returning(route_revisions.c.id)
        revision_id = self._transaction.scalar(insert, row)
        if revision_id is None:
            raise faster
        head = {"revision": route.revision, "revision_id": revision_id}
        if stored is None:
            new = head | {"route": key, "model": folded(route.model)}
            written = self._transaction.run(insert_new(dialect, routes), new)
        else:
            as_read = (routes.c.route == key, routes.c.revision == stored)
            written = self._transaction.run(sa.update(routes).where(*as_read).values(head))
        if written != 1:
            raise faster
        self._transaction.changes_view()
        return replace(route, id=revision_id)

    def generation(self) -> int:
        return self._transaction.generation()

    def serving(self, model: str, number: SemVer | None = None) -> Sequence[str]:
        query = _CURRENT.where(routes.c.model == folded(model)).order_by(routes.c.route)
        return [
            route.environment
            for route in map(_route, self._transaction.rows(query))
            if route.enabled
            and (number is None or any(SemVer.parse(one) == number for one in route.versions()))
        ]

    def _one(self, query: sa.Select[Any], what: str) -> Route:
        row = self._transaction.row(query)
        if row is None:
            raise NotFound(f"there is no {what}")
        return _route(row)


def _of(model: str, environment: str) -> sa.Select[Any]:
    key = route_key(model, environment)
    return sa.select(route_revisions).where(route_revisions.c.route == key)


def _route(row: sa.Row[Any]) -> Route:
    return read_route(
        json.loads(row.declared),
        model=row.model,
        environment=row.environment,
        epoch=row.epoch,
        guards=row.guards,
        revision=row.revision,
        revision_id=row.id,
        because=row.because,
        created_at=row.created_at,
        created_by=row.created_by,
    )
