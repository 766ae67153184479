"""Models, and the one namespace of their names and alternative ids."""

from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from headway.kernel.errors import Conflict, NotFound
from headway.kernel.names import folded
from headway.persistence.engine import Transaction
from headway.persistence.pages import turn_to, write_cursor
from headway.persistence.statements import has_tag, insert_new
from headway.persistence.tables import fold_text, model_names, models
from headway.registry.model import Model
from headway.registry.ports import ModelQuery, Page

_ORDERS: Final = {
    "name": (models.c.folded,),
    "created": (models.c.created_at, models.c.folded),
}


class SqlModels:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, model: Model) -> Model:
        added = replace(model, revision=1)
        row = _changeable(added) | {
            "name": model.name,
            "folded": folded(model.name),
            "created_at": model.created_at,
            "created_by": model.created_by,
        }
        insert = insert_new(self._transaction.dialect, models).returning(models.c.id)
        model_id = self._transaction.scalar(insert, row)
        if model_id is None:
            raise Conflict(f"there is a model {model.name!r} already")
        self._name(model_id, added)
        self._transaction.changes_view()
        return added

    def get(self, name: str) -> Model:
        row = self._transaction.row(sa.select(models).where(models.c.folded == folded(name)))
        if row is None:
            raise NotFound(f"there is no model {name!r}")
        return _model(row)

    def save(self, model: Model) -> Model:
        saved = replace(model, revision=model.revision + 1)
        save = (
            sa.update(models)
            .where(models.c.folded == folded(model.name), models.c.revision == model.revision)
            .values(_changeable(saved))
            .returning(models.c.id)
        )
        model_id = self._transaction.scalar(save)
        if model_id is None:
            self.get(model.name)
            raise Conflict(f"somebody else changed the model {model.name!r}; look again")
        self._name(model_id, saved)
        self._transaction.changes_view()
        return self.get(model.name)

    def page(self, query: ModelQuery) -> Page[Model]:
        columns = _ORDERS[query.order.removeprefix("-")]
        found = turn_to(sa.select(models), order=query.order, columns=columns, after=query.after)
        if query.archived is not None:
            found = found.where(models.c.archived == query.archived)
        if query.tag is not None:
            found = found.where(has_tag(self._transaction.dialect, models.c.tags, *query.tag))
        for word in fold_text(query.q).split():
            found = found.where(models.c.search.contains(word, autoescape=True))
        rows = self._transaction.rows(found.limit(query.limit + 1))
        items = rows[: query.limit]
        more = len(rows) > query.limit
        return Page(
            tuple(map(_model, items)),
            write_cursor(query.order, [items[-1]._mapping[column] for column in columns])  # noqa: SLF001 - SQLAlchemy's public name for it
            if more
            else None,
        )

    def _name(self, model_id: int, model: Model) -> None:
        """Take every name of the model, and give back those that it has no longer."""
        names = {folded(name): name for name in (model.name, *model.alternative_ids)}
        mine = model_names.c.model_id == model_id
        self._transaction.run(
            sa.delete(model_names).where(mine, model_names.c.folded.not_in(names))
        )
        take = insert_new(self._transaction.dialect, model_names)
        for own, name in sorted(names.items()):
            if self._transaction.run(take, {"folded": own, "model_id": model_id}) == 1:
                continue
            owner = sa.select(model_names.c.model_id).where(model_names.c.folded == own)
            if self._transaction.scalar(owner) != model_id:
                raise Conflict(f"{name!r} is a name of another model", stands_in_the_way=name)


def _changeable(model: Model) -> dict[str, Any]:
    text = "\n".join((model.name, model.description, *model.alternative_ids))
    return {
        "description": model.description,
        "tags": model.tags,
        "alternative_ids": model.alternative_ids,
        "archived": model.archived,
        "updated_at": model.updated_at,
        "revision": model.revision,
        "search": fold_text(text),
    }


def _model(row: sa.Row[Any]) -> Model:
    return Model(
        name=row.name,
        created_at=row.created_at,
        created_by=row.created_by,
        description=row.description,
        tags=row.tags,
        alternative_ids=tuple(row.alternative_ids),
        archived=row.archived,
        updated_at=row.updated_at,
        revision=row.revision,
    )
