"""Revisions of routes."""

from collections.abc import Sequence
from dataclasses import replace

from headway.kernel.errors import Conflict
from headway.kernel.names import folded
from headway.registry.version import SemVer
from headway.routing.route import Route
from headway.testing.memory.tables import Repository, required, route_key


class MemoryRoutes(Repository):
    def current(self, model: str, environment: str) -> Route:
        found = self._t.current.get(route_key(model, environment))
        return required(found, f"route {model}/{environment}")

    def get(self, model: str, environment: str, revision: int) -> Route:
        found = self._t.routes.get((route_key(model, environment), revision))
        return required(found, f"revision {revision} of the route {model}/{environment}")

    def by_id(self, revision_id: int) -> Route:
        found = next((one for one in self._t.routes.all() if one.id == revision_id), None)
        return required(found, f"revision of a route with the id {revision_id}")

    def at(self, model: str, environment: str, when: int) -> Route:
        known = self._of(route_key(model, environment))
        found = next((one for one in known if one.created_at <= when), None)
        return required(found, f"route {model}/{environment} at that time")

    def revisions(
        self, model: str, environment: str, *, before: int, limit: int
    ) -> Sequence[Route]:
        known = self._of(route_key(model, environment))
        return [one for one in known if one.revision < before][:limit]

    def all_current(self) -> Sequence[Route]:
        return [route for _, route in sorted(self._t.current.items())]

    def add(self, route: Route) -> Route:
        key = route_key(route.model, route.environment)
        stored = self._t.current.get(key)
        if route.revision != (stored.revision if stored else 0) + 1:
            raise Conflict(f"somebody else changed the route {route.name}; look again")
        added = replace(route, id=self._t.store.number("routes"))
        self._t.routes.put((key, route.revision), added)
        self._t.current.put(key, added)
        self._t.changes_view()
        return added

    def generation(self) -> int:
        return self._t.generation()

    def serving(self, model: str, number: SemVer | None = None) -> Sequence[str]:
        return [
            route.environment
            for route in self.all_current()
            if route.enabled
            and folded(route.model) == folded(model)
            and (number is None or any(SemVer.parse(one) == number for one in route.versions()))
        ]

    def _of(self, key: str) -> list[Route]:
        found = [route for at, route in self._t.routes.items() if at[0] == key]
        return sorted(found, key=lambda route: -route.revision)
