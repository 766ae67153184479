"""All that gateways read, in one document."""

from collections.abc import Mapping

from headway.kernel.canonical import Json
from headway.kernel.names import folded
from headway.registry.model import State as VersionState
from headway.registry.version import SemVer
from headway.routing.route import LONGEST_PIN, Route
from headway.testing.memory.keys import MemoryKeys
from headway.testing.memory.prices import MemoryPrices
from headway.testing.memory.routes import MemoryRoutes
from headway.testing.memory.tables import Repository, route_key
from headway.tracking.price import timeline_document


class MemorySource(Repository):
    def generation(self) -> int:
        return self._t.generation()

    def _rolled_back(self, route: Route, now: int) -> dict[str, Json]:
        key = route_key(route.model, route.environment)
        found: dict[str, Json] = {}
        for one in sorted(self._t.rollbacks.all(), key=lambda one: one.published):
            if route_key(one.model, one.environment) == key and one.created_at > now - LONGEST_PIN:
                before = self._t.routes.get((key, one.from_revision))
                after = self._t.routes.get((key, one.published))
                if before is not None and after is not None:
                    left = before.versions() - after.versions()
                    found |= dict.fromkeys(sorted(left), one.published)
        return found

    def document(self) -> Mapping[str, Json]:
        routes = MemoryRoutes(self._t).all_current()
        now = self._t.clock()
        models = {folded(route.model) for route in routes}
        models |= {key for key, model in self._t.models.items() if not model.archived}
        on_arms = {
            (folded(route.model), SemVer.parse(version))
            for route in routes
            for version in route.versions()
        }
        gone = {VersionState.RETIRED, VersionState.YANKED}
        versions = [
            one
            for one in sorted(self._t.versions.all(), key=lambda one: one.id)
            if folded(one.model) in models
            and (one.state not in gone or (folded(one.model), one.number) in on_arms)
        ]
        aliases = [
            alias
            for (model, _), alias in sorted(self._t.aliases.items())
            if model in models and alias.version is not None
        ]
        return {
            "generation": self.generation(),
            "at": now,
            "keys": [
                {
                    "digest": key.digest,
                    "id": key.id,
                    "name": key.name,
                    "role": str(key.role),
                    "models": list(key.models),
                    "environments": list(key.environments),
                    "paths": list(key.paths),
                    "limits": key.limits.document(),
                    "expires_at": key.expires_at,
                }
                for key in MemoryKeys(self._t).all()
                if key.works_at(now)
            ],
            "routes": [
                {
                    "id": route.id,
                    "model": route.model,
                    "environment": route.environment,
                    "revision": route.revision,
                    "created_at": route.created_at,
                    "declared": route.declared(),
                    "epoch": route.epoch.document() if route.epoch else None,
                    "guards": [guard.document() for guard in route.guards],
                    "rolled_back": self._rolled_back(route, now),
                }
                for route in routes
            ],
            "versions": [
                {
                    "model": one.model,
                    "version": str(one.number),
                    "digest": one.digest,
                    "state": str(one.state),
                    "target": one.target.document(),
                    "prices": timeline_document(MemoryPrices(self._t).timeline(one)),
                }
                for one in versions
            ],
            "aliases": [
                {"model": alias.model, "alias": alias.name, "version": str(alias.version)}
                for alias in aliases
            ],
            "names": [
                {"name": name, "model": model.name}
                for key, model in sorted(self._t.models.items())
                if key in models
                for name in model.alternative_ids
            ],
        }
