"""Models, and the one namespace of their names and alternative ids."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from headway.kernel.errors import Conflict
from headway.kernel.names import folded
from headway.registry.model import Model
from headway.registry.ports import ModelQuery, Page
from headway.testing.memory.pages import holds, page_of, tagged
from headway.testing.memory.tables import Repository, required


class MemoryModels(Repository):
    def add(self, model: Model) -> Model:
        if self._t.models.get(folded(model.name)) is not None:
            raise Conflict(f"there is a model {model.name!r} already")
        added = replace(model, revision=1)
        self._write(added)
        return added

    def get(self, name: str) -> Model:
        return required(self._t.models.get(folded(name)), f"model {name!r}")

    def save(self, model: Model) -> Model:
        stored = self.get(model.name)
        if stored.revision != model.revision:
            raise Conflict(f"somebody else changed the model {model.name!r}; look again")
        saved = replace(
            stored,
            description=model.description,
            tags=model.tags,
            alternative_ids=model.alternative_ids,
            archived=model.archived,
            updated_at=model.updated_at,
            revision=model.revision + 1,
        )
        self._write(saved)
        return saved

    def page(self, query: ModelQuery) -> Page[Model]:
        def fits(model: Model) -> bool:
            text = "\n".join((model.name, model.description, *model.alternative_ids))
            return (
                query.archived in {None, model.archived}
                and tagged(model.tags, query.tag)
                and holds(text, query.q)
            )

        key: Callable[[Model], tuple[Any, ...]] = (
            (lambda model: (folded(model.name),))
            if query.order.endswith("name")
            else (lambda model: (model.created_at, folded(model.name)))
        )
        found = [model for model in self._t.models.all() if fits(model)]
        return page_of(found, key, query.order, query.limit, query.after)

    def _write(self, model: Model) -> None:
        me = folded(model.name)
        names = {me, *map(folded, model.alternative_ids)}
        for name in names:
            if self._t.names.get(name) not in {None, me}:
                raise Conflict(f"{name!r} is a name of another model", stands_in_the_way=name)
        for name, owner in self._t.names.items():
            if owner == me and name not in names:
                self._t.names.put(name, None)
        for name in names:
            if self._t.names.get(name) is None:
                self._t.names.put(name, me)
        self._t.models.put(me, model)
        self._t.changes_view()
