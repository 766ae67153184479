"""Aliases and every move that they made."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from headway.kernel.errors import Conflict, NotFound
from headway.kernel.names import folded
from headway.persistence.engine import Transaction
from headway.persistence.statements import insert_new
from headway.persistence.tables import alias_changes, aliases, models
from headway.registry.model import Alias, AliasChange
from headway.registry.version import SemVer

_SELECT: Final = sa.select(aliases, models.c.name.label("model")).join(
    models, models.c.id == aliases.c.model_id
)
_CHANGES: Final = (
    sa.select(alias_changes, models.c.name.label("model"), aliases.c.name)
    .join(aliases, aliases.c.id == alias_changes.c.alias_id)
    .join(models, models.c.id == aliases.c.model_id)
    .order_by(alias_changes.c.revision.desc())
)


class SqlAliases:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def find(self, model: str, name: str) -> Alias | None:
        row = self._transaction.row(_SELECT.where(*_is(model, name)))
        return None if row is None else _alias(row)

    def of(self, model: str) -> Sequence[Alias]:
        pointing = aliases.c.version.is_not(None)
        query = _SELECT.where(models.c.folded == folded(model), pointing)
        return [_alias(row) for row in self._transaction.rows(query.order_by(aliases.c.folded))]

    def save(self, alias: Alias) -> Alias:
        query = sa.select(models.c.id).where(models.c.folded == folded(alias.model))
        model_id = self._transaction.scalar(query)
        if model_id is None:
            raise NotFound(f"there is no model {alias.model!r}")
        values: dict[str, Any] = {
            "version": _text(alias.version),
            "changed_at": alias.changed_at,
            "changed_by": alias.changed_by,
            "why": alias.why,
            "revision": alias.revision + 1,
        }
        alias_id = self._write(model_id, alias, values)
        if alias_id is None:
            raise Conflict(f"somebody else moved {alias.model}@{alias.name}; look again")
        change = {
            "alias_id": alias_id,
            "revision": alias.revision + 1,
            "version": _text(alias.version),
            "at": alias.changed_at,
            "by": alias.changed_by,
            "why": alias.why,
        }
        self._transaction.run(sa.insert(alias_changes).values(change))
        self._transaction.changes_view()
        return self.find(alias.model, alias.name) or replace(alias, revision=alias.revision + 1)

    def history(self, model: str, name: str) -> Sequence[AliasChange]:
        return [_change(row) for row in self._transaction.rows(_CHANGES.where(*_is(model, name)))]

    def at(self, model: str, name: str, time: int) -> AliasChange | None:
        query = _CHANGES.where(*_is(model, name), alias_changes.c.at <= time).limit(1)
        row = self._transaction.row(query)
        return None if row is None else _change(row)

    def _write(self, model_id: int, alias: Alias, values: dict[str, Any]) -> int | None:
        """Add or change the row; return its id, or None if it is not as it was read."""
        if alias.revision == 0:
            row = values | {"model_id": model_id, "name": alias.name, "folded": folded(alias.name)}
            insert = insert_new(self._transaction.dialect, aliases).returning(aliases.c.id)
            added: int | None = self._transaction.scalar(insert, row)
            return added
        change = (
            sa.update(aliases)
            .where(
                aliases.c.model_id == model_id,
                aliases.c.folded == folded(alias.name),
                aliases.c.revision == alias.revision,
            )
            .values(values)
            .returning(aliases.c.id)
        )
        changed: int | None = self._transaction.scalar(change)
        return changed


def _is(model: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return models.c.folded == folded(model), aliases.c.folded == folded(name)


def _text(version: SemVer | None) -> str | None:
    return None if version is None else str(version)


def _number(text: str | None) -> SemVer | None:
    return None if text is None else SemVer.parse(text)


def _alias(row: sa.Row[Any]) -> Alias:
    return Alias(
        model=row.model,
        name=row.name,
        version=_number(row.version),
        changed_at=row.changed_at,
        changed_by=row.changed_by,
        why=row.why,
        revision=row.revision,
    )


def _change(row: sa.Row[Any]) -> AliasChange:
    return AliasChange(
        model=row.model,
        name=row.name,
        revision=row.revision,
        version=_number(row.version),
        at=row.at,
        by=row.by,
        why=row.why,
    )
