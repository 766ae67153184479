"""Versions: added once, their content refused to every change by a trigger.

Each list is read from an index: the model's id stands as one value in each statement, because
PostgreSQL would not see through a join that the index is in the order asked for. A range is bounds
of the precedence key, so that the database finds what it allows.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from headway.kernel.errors import Conflict, NotFound
from headway.kernel.names import folded
from headway.persistence.engine import Transaction
from headway.persistence.pages import turn_to, write_cursor
from headway.persistence.statements import has_tag, insert_new
from headway.persistence.tables import artifacts, fold_text, models, versions
from headway.registry.model import State, Version
from headway.registry.ports import Page, VersionQuery
from headway.registry.requirement import Comparator, Requirement
from headway.registry.signature import Signature
from headway.registry.target import LocalTarget, target_from_document
from headway.registry.version import SemVer

_TESTS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
_ORDERS: Final = {
    "precedence": (versions.c.precedence,),
    "created": (versions.c.created_at, versions.c.id),
}


class SqlVersions:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, version: Version) -> Version:
        query = sa.select(models.c.id, models.c.name).where(
            models.c.folded == folded(version.model)
        )
        model = self._transaction.row(query)
        if model is None:
            raise NotFound(f"there is no model {version.model!r}")
        target = version.target
        artifact = target.artifact if isinstance(target, LocalTarget) else None
        self._check_stored(artifact)
        added = replace(version, model=model.name, revision=1)
        row = _changeable(added) | {
            "model_id": model.id,
            "number": str(version.number),
            "precedence": version.number.precedence_key(),
            "release": version.number.is_release,
            "target": target.document(),
            "artifact": artifact,
            "signature": version.signature.document(),
            "components": version.components,
            "digest": version.digest,
            "metadata": version.metadata,
            "created_at": version.created_at,
            "created_by": version.created_by,
        }
        insert = insert_new(self._transaction.dialect, versions).returning(versions.c.id)
        version_id = self._transaction.scalar(insert, row)
        if version_id is None:
            raise Conflict(f"there is a version {model.name}@{version.number} already")
        self._transaction.changes_view()
        return replace(added, id=version_id)

    def get(self, model: str, number: SemVer) -> Version:
        if (found := self.find(model, number)) is None:
            raise NotFound(f"there is no version {model}@{number}")
        return found

    def find(self, model: str, number: SemVer) -> Version | None:
        row = self._transaction.row(_select(model).where(*_is(model, number)))
        return None if row is None else _version(row)

    def save(self, version: Version) -> Version:
        saved = replace(version, revision=version.revision + 1)
        save = (
            sa.update(versions)
            .where(*_is(version.model, version.number), versions.c.revision == version.revision)
            .values(_changeable(saved))
        )
        if self._transaction.run(save) != 1:
            self.get(version.model, version.number)
            raise Conflict(f"somebody else changed {version.model}@{version.number}; look again")
        self._transaction.changes_view()
        return self.get(version.model, version.number)

    def latest(self, model: str) -> Version | None:
        query = (
            _select(model)
            .where(versions.c.state == State.ACTIVE)
            .order_by(versions.c.release.desc(), versions.c.precedence.desc())
            .limit(1)
        )
        row = self._transaction.row(query)
        return None if row is None else _version(row)

    def highest(self, model: str) -> SemVer | None:
        query = (
            sa.select(versions.c.number)
            .where(versions.c.model_id == _id(model))
            .order_by(versions.c.precedence.desc())
            .limit(1)
        )
        number = self._transaction.scalar(query)
        return None if number is None else SemVer.parse(number)

    def best(self, model: str, requirement: Requirement, state: State) -> Version | None:
        query = (
            _select(model)
            .where(versions.c.state == state, *_fits(requirement))
            .order_by(versions.c.precedence.desc())
            .limit(1)
        )
        row = self._transaction.row(query)
        return None if row is None else _version(row)

    def page(self, query: VersionQuery) -> Page[Version]:
        columns = _ORDERS[query.order.removeprefix("-")]
        found = turn_to(
            _select(query.model), order=query.order, columns=columns, after=query.after
        )
        if query.state is not None:
            found = found.where(versions.c.state == query.state)
        if query.tag is not None:
            found = found.where(has_tag(self._transaction.dialect, versions.c.tags, *query.tag))
        if query.requirement is not None:
            found = found.where(*_fits(query.requirement))
        if words := fold_text(query.q).split():
            found = found.where(self._holds(query.model, words))
        rows = self._transaction.rows(found.limit(query.limit + 1))
        items = rows[: query.limit]
        more = len(rows) > query.limit
        return Page(
            tuple(map(_version, items)),
            write_cursor(query.order, _place(items[-1], columns)) if more else None,
        )

    def _holds(self, model: str, words: Sequence[str]) -> sa.ColumnElement[bool]:
        """Say in SQL whether a version has each of the words, somewhere."""
        there = [versions.c.search.contains(word, autoescape=True) for word in words]
        if self._transaction.dialect != "sqlite":
            return sa.and_(*there)
        # Rows are wide: the index on `search` says which ones, and only those are read.
        alike = sa.select(versions.c.id).where(versions.c.model_id == _id(model), *there)
        return versions.c.id.in_(alike)

    def _check_stored(self, artifact: str | None) -> None:
        if artifact is None:
            return
        # Who removes it from now on meets the foreign key, or this transaction does.
        query = sa.select(artifacts.c.digest).where(artifacts.c.digest == artifact)
        if self._transaction.scalar(query) is None:
            raise Conflict(f"the artifact {artifact} is not stored")


def _id(model: str) -> sa.ScalarSelect[Any]:
    return sa.select(models.c.id).where(models.c.folded == folded(model)).scalar_subquery()


def _select(model: str) -> sa.Select[Any]:
    name = sa.select(models.c.name).where(models.c.folded == folded(model)).scalar_subquery()
    corrupt = (
        sa.select(artifacts.c.corrupt_at)
        .where(artifacts.c.digest == versions.c.artifact)
        .correlate(versions)
        .scalar_subquery()
    )
    return sa.select(versions, name.label("model"), corrupt.label("corrupt_at")).where(
        versions.c.model_id == _id(model)
    )


def _is(model: str, number: SemVer) -> tuple[sa.ColumnElement[bool], ...]:
    return versions.c.model_id == _id(model), versions.c.precedence == number.precedence_key()


def _fits(requirement: Requirement) -> Sequence[sa.ColumnElement[bool]]:
    """Say in SQL what `Requirement.allows` says, and between which keys all of it lies."""
    alternatives = requirement.alternatives
    found = [sa.or_(*map(_meets, alternatives))]
    lows = [[_key(b) for b in bounds if b.test in {">", ">=", "="}] for bounds in alternatives]
    highs = [[_key(b) for b in bounds if b.test in {"<", "<=", "="}] for bounds in alternatives]
    if all(lows):
        found.append(versions.c.precedence >= min(map(max, lows)))
    if all(highs):
        found.append(versions.c.precedence <= max(map(min, highs)))
    return found


def _meets(bounds: Sequence[Comparator]) -> sa.ColumnElement[bool]:
    key = versions.c.precedence
    early = [b.bound.early_keys() for b in bounds if b.bound.prerelease]
    return sa.and_(
        *(_TESTS[b.test](key, _key(b)) for b in bounds),
        sa.or_(
            versions.c.release == sa.literal(value=True, type_=versions.c.release.type),
            *(sa.and_(key >= low, key < high) for low, high in early),
        ),
    )


def _key(bound: Comparator) -> str:
    return bound.bound.precedence_key()


def _place(row: sa.Row[Any], columns: Sequence[sa.ColumnElement[Any]]) -> list[Any]:
    return [row._mapping[column] for column in columns]  # noqa: SLF001 - SQLAlchemy's public name for it


def _changeable(version: Version) -> dict[str, Any]:
    tags = (f"{key}={value}" for key, value in version.tags.items())
    return {
        "description": version.description,
        "tags": version.tags,
        "state": str(version.state),
        "sunset": version.sunset,
        "successor": None if version.successor is None else str(version.successor),
        "reason": version.reason,
        "updated_at": version.updated_at,
        "revision": version.revision,
        "search": fold_text("\n".join((str(version.number), version.description, *tags))),
    }


def _version(row: sa.Row[Any]) -> Version:
    return Version(
        model=row.model,
        number=SemVer.parse(row.number),
        target=target_from_document(row.target),
        signature=Signature(**row.signature),
        components=row.components,
        digest=row.digest,
        created_at=row.created_at,
        created_by=row.created_by,
        id=row.id,
        metadata=row.metadata,
        description=row.description,
        tags=row.tags,
        state=State(row.state),
        sunset=row.sunset,
        successor=None if row.successor is None else SemVer.parse(row.successor),
        reason=row.reason,
        updated_at=row.updated_at,
        revision=row.revision,
        corrupt_at=row.corrupt_at,
    )
