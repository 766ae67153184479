"""Aliases and every move that they made."""

from collections.abc import Sequence
from dataclasses import replace

from headway.kernel.errors import Conflict
from headway.kernel.names import folded
from headway.registry.model import Alias, AliasChange
from headway.testing.memory.tables import Repository, required


class MemoryAliases(Repository):
    def find(self, model: str, name: str) -> Alias | None:
        return self._t.aliases.get((folded(model), folded(name)))

    def of(self, model: str) -> Sequence[Alias]:
        found = [
            alias
            for key, alias in self._t.aliases.items()
            if key[0] == folded(model) and alias.version is not None
        ]
        return sorted(found, key=lambda alias: folded(alias.name))

    def save(self, alias: Alias) -> Alias:
        model = required(self._t.models.get(folded(alias.model)), f"model {alias.model!r}")
        stored = self.find(alias.model, alias.name)
        if (stored.revision if stored else 0) != alias.revision:
            raise Conflict(f"somebody else moved {alias.model}@{alias.name}; look again")
        saved = replace(
            alias,
            model=model.name,
            name=stored.name if stored else alias.name,
            revision=alias.revision + 1,
        )
        key = (folded(alias.model), folded(alias.name))
        self._t.aliases.put(key, saved)
        change = AliasChange(
            saved.model,
            saved.name,
            saved.revision,
            saved.version,
            saved.changed_at,
            saved.changed_by,
            saved.why,
        )
        self._t.alias_changes.put((*key, saved.revision), change)
        self._t.changes_view()
        return saved

    def history(self, model: str, name: str) -> Sequence[AliasChange]:
        found = [
            change
            for key, change in self._t.alias_changes.items()
            if key[:2] == (folded(model), folded(name))
        ]
        return sorted(found, key=lambda change: -change.revision)

    def at(self, model: str, name: str, time: int) -> AliasChange | None:
        return next((one for one in self.history(model, name) if one.at <= time), None)
