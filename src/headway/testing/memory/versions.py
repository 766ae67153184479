"""Versions: added once."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from headway.kernel.errors import Conflict
from headway.kernel.names import folded
from headway.registry.model import State as VersionState
from headway.registry.model import Version
from headway.registry.ports import Page, VersionQuery
from headway.registry.requirement import Requirement
from headway.registry.target import LocalTarget
from headway.registry.version import SemVer
from headway.testing.memory.pages import holds, page_of, tagged
from headway.testing.memory.tables import Repository, required


class MemoryVersions(Repository):
    def add(self, version: Version) -> Version:
        model = required(self._t.models.get(folded(version.model)), f"model {version.model!r}")
        key = (folded(version.model), version.number.precedence_key())
        if (stored := self._t.versions.get(key)) is not None:
            raise Conflict(f"there is a version {model.name}@{stored.number} already")
        target = version.target
        if isinstance(target, LocalTarget):
            artifact = self._t.artifacts.get(target.artifact)
            if artifact is None:
                raise Conflict(f"the artifact {target.artifact} is not stored")
            # Written anew, so that nobody can remove it meanwhile.
            self._t.artifacts.put(artifact.digest, replace(artifact))
        added = replace(version, model=model.name, id=self._t.store.number("versions"), revision=1)
        self._t.versions.put(key, added)
        self._t.changes_view()
        return added

    def get(self, model: str, number: SemVer) -> Version:
        return required(self.find(model, number), f"version {model}@{number}")

    def find(self, model: str, number: SemVer) -> Version | None:
        found = self._t.versions.get((folded(model), number.precedence_key()))
        return None if found is None else self._marked(found)

    def save(self, version: Version) -> Version:
        stored = self.get(version.model, version.number)
        if stored.revision != version.revision:
            raise Conflict(f"somebody else changed {version.model}@{version.number}; look again")
        saved = replace(
            stored,
            description=version.description,
            tags=version.tags,
            state=version.state,
            sunset=version.sunset,
            successor=version.successor,
            reason=version.reason,
            updated_at=version.updated_at,
            revision=version.revision + 1,
        )
        self._t.versions.put((folded(version.model), version.number.precedence_key()), saved)
        self._t.changes_view()
        return saved

    def latest(self, model: str) -> Version | None:
        active = [one for one in self._of(model) if one.state is VersionState.ACTIVE]
        return max(active, key=lambda one: (one.number.is_release, one.number), default=None)

    def highest(self, model: str) -> SemVer | None:
        return max((one.number for one in self._of(model)), default=None)

    def best(self, model: str, requirement: Requirement, state: VersionState) -> Version | None:
        there = {one.number: one for one in self._of(model) if one.state is state}
        best = requirement.best(there)
        return None if best is None else there[best]

    def page(self, query: VersionQuery) -> Page[Version]:
        def fits(one: Version) -> bool:
            tags = (f"{key}={value}" for key, value in one.tags.items())
            return (
                query.state in {None, one.state}
                and tagged(one.tags, query.tag)
                and (query.requirement is None or query.requirement.allows(one.number))
                and holds("\n".join((str(one.number), one.description, *tags)), query.q)
            )

        key: Callable[[Version], tuple[Any, ...]] = (
            (lambda one: (one.number.precedence_key(),))
            if query.order.endswith("precedence")
            else (lambda one: (one.created_at, one.id))
        )
        found = [one for one in self._of(query.model) if fits(one)]
        return page_of(found, key, query.order, query.limit, query.after)

    def _of(self, model: str) -> list[Version]:
        return [
            self._marked(one) for key, one in self._t.versions.items() if key[0] == folded(model)
        ]

    def _marked(self, version: Version) -> Version:
        if not isinstance(version.target, LocalTarget):
            return version
        artifact = self._t.artifacts.get(version.target.artifact)
        return replace(version, corrupt_at=artifact.corrupt_at if artifact else None)
