"""What gateways read: a number that says whether anything changed, a document that says all."""

import json
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from headway.kernel.canonical import Json
from headway.persistence.engine import Transaction
from headway.persistence.prices import SqlPrices
from headway.persistence.tables import (
    aliases,
    keys,
    models,
    rollbacks,
    route_revisions,
    routes,
    versions,
)
from headway.registry.model import State
from headway.registry.version import SemVer
from headway.routing.route import LONGEST_PIN
from headway.tracking.price import timeline_document

_GONE: Final = (State.RETIRED, State.YANKED)
_OFFERED: Final = sa.or_(models.c.archived == 0, models.c.folded.in_(sa.select(routes.c.model)))
"""Models that somebody may call, or that are to be checked before they have a route."""


class SqlSource:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def generation(self) -> int:
        return self._transaction.generation()

    def document(self) -> Mapping[str, Json]:
        # The number first: what is read after it may be newer, and then it is read once more.
        generation, now = self.generation(), self._transaction.now()
        current = sa.select(route_revisions, routes.c.model.label("folded")).join(
            routes, routes.c.revision_id == route_revisions.c.id
        )
        found = [
            (row, json.loads(row.declared))
            for row in self._transaction.rows(current.order_by(routes.c.route))
        ]
        on_arms = {
            (row.folded, SemVer.parse(arm["version"]))
            for row, declared in found
            for rule in declared["rules"]
            for arm in rule["arms"]
        }
        return {
            "generation": generation,
            "at": now,
            "keys": self._keys(now),
            "routes": [
                _route(row, declared) | {"rolled_back": self._rolled_back(row.route, now)}
                for row, declared in found
            ],
            "versions": self._versions(on_arms),
            "aliases": self._aliases(),
            "names": self._names(),
        }

    def _rolled_back(self, route: str, now: int) -> dict[str, Json]:
        """Return which versions were taken off by rollbacks, and by which revision at last."""
        before, after = route_revisions.alias("before"), route_revisions.alias("after")
        query = (
            sa.select(before.c.declared, after.c.declared.label("restored"), after.c.revision)
            .select_from(rollbacks)
            .join(
                before,
                sa.and_(
                    before.c.route == rollbacks.c.route,
                    before.c.revision == rollbacks.c.from_revision,
                ),
            )
            .join(
                after,
                sa.and_(
                    after.c.route == rollbacks.c.route, after.c.revision == rollbacks.c.published
                ),
            )
            .where(rollbacks.c.route == route, rollbacks.c.created_at > now - LONGEST_PIN)
            .order_by(after.c.revision)
        )
        found: dict[str, Json] = {}
        for row in self._transaction.rows(query):
            left = _on_arms(row.declared) - _on_arms(row.restored)
            found |= dict.fromkeys(sorted(left), row.revision)
        return found

    def _keys(self, now: int) -> list[Json]:
        still_good = sa.or_(keys.c.expires_at.is_(None), keys.c.expires_at > now)
        query = sa.select(keys).where(keys.c.revoked_at.is_(None), still_good).order_by(keys.c.id)
        return [
            {
                "digest": row.digest,
                "id": row.id,
                "name": row.name,
                "role": row.role,
                "models": row.models,
                "environments": row.environments,
                "paths": row.paths,
                "limits": row.limits,
                "expires_at": row.expires_at,
            }
            for row in self._transaction.rows(query)
        ]

    def _versions(self, on_arms: set[tuple[str, SemVer]]) -> list[Json]:
        query = (
            sa.select(
                models.c.name.label("model"),
                models.c.folded,
                versions.c.number,
                versions.c.digest,
                versions.c.state,
                versions.c.target,
            )
            .join(versions, versions.c.model_id == models.c.id)
            .where(_OFFERED)
            .order_by(versions.c.id)
        )
        prices = SqlPrices(self._transaction).all_timelines()
        return [
            {
                "model": row.model,
                "version": row.number,
                "digest": row.digest,
                "state": row.state,
                "target": row.target,
                "prices": timeline_document(prices.of(row.target)),
            }
            for row in self._transaction.rows(query)
            if row.state not in _GONE or (row.folded, SemVer.parse(row.number)) in on_arms
        ]

    def _names(self) -> list[Json]:
        query = (
            sa.select(models.c.name.label("model"), models.c.alternative_ids)
            .where(_OFFERED, models.c.alternative_ids != [])
            .order_by(models.c.folded)
        )
        return [
            {"name": name, "model": row.model}
            for row in self._transaction.rows(query)
            for name in row.alternative_ids
        ]

    def _aliases(self) -> list[Json]:
        query = (
            sa.select(models.c.name.label("model"), aliases.c.name, aliases.c.version)
            .join(aliases, aliases.c.model_id == models.c.id)
            .where(_OFFERED, aliases.c.version.is_not(None))
            .order_by(models.c.folded, aliases.c.folded)
        )
        return [
            {"model": row.model, "alias": row.name, "version": row.version}
            for row in self._transaction.rows(query)
        ]


def _on_arms(declared: str) -> set[str]:
    rules = json.loads(declared)["rules"]
    return {arm["version"] for rule in rules for arm in rule["arms"]}


def _route(row: sa.Row[Any], declared: Mapping[str, Json]) -> dict[str, Json]:
    return {
        "id": row.id,
        "model": row.model,
        "environment": row.environment,
        "revision": row.revision,
        "created_at": row.created_at,
        "declared": declared,
        "epoch": row.epoch,
        "guards": row.guards,
    }
