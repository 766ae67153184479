"""The few statements that SQLite and PostgreSQL spell in words of their own."""

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from headway.kernel.names import folded
from headway.persistence.tables import now


def _insert(dialect: str, table: sa.Table) -> sqlite.Insert:
    """Return an INSERT that may say ON CONFLICT; both dialects have the same methods for it."""
    if dialect == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - 3 MB that SQLite does not need

    found: Any = postgresql.insert(table)
    return found  # type: ignore[no-any-return]  # see above


@cache
def insert_new(dialect: str, table: sa.Table) -> sqlite.Insert:
    """Return an INSERT that leaves a row alone that is there already, by any unique index.

    Unlike an error it leaves the transaction whole, on PostgreSQL too.
    """
    return _insert(dialect, table).on_conflict_do_nothing()


@cache
def add_up(dialect: str, table: sa.Table) -> sqlite.Insert:
    """Return an INSERT that adds its `n` to a row with the same primary key."""
    insert = _insert(dialect, table)
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={"n": table.c.n + insert.excluded.n},
    )


@cache
def set_bits(dialect: str, table: sa.Table) -> sqlite.Insert:
    """Return an INSERT that adds the bits of its `mask` to a row with the same primary key."""
    insert = _insert(dialect, table)
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={"mask": table.c.mask.op("|")(insert.excluded.mask)},
    )


@cache
def replace_row(dialect: str, table: sa.Table) -> sqlite.Insert:
    """Return an INSERT that takes the place of a row with the same primary key."""
    insert = _insert(dialect, table)
    key = {column.name for column in table.primary_key.columns}
    rest = {name: insert.excluded[name] for name in table.c.keys() if name not in key}  # noqa: SIM118 - columns are no dict
    return insert.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=rest)


def replace_older(dialect: str, table: sa.Table, *, than: int) -> sqlite.Insert:
    """Return an INSERT that takes the place of a row whose `created_at` is not above `than`."""
    insert = _insert(dialect, table)
    key = {column.name for column in table.primary_key.columns}
    rest = {name: insert.excluded[name] for name in table.c.keys() if name not in key}  # noqa: SIM118 - columns are no dict
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_=rest,
        where=table.c.created_at <= than,
    )


def has_tag(
    dialect: str, tags: sa.ColumnElement[Any], key: str, value: str | None
) -> sa.ColumnElement[bool]:
    """Say in SQL whether a column of tags holds a key (in any case) and, if given, its value."""
    each = (
        sa.func.json_each(tags)
        if dialect == "sqlite"
        else sa.func.json_each_text(sa.cast(tags, sa.JSON))
    ).table_valued("key", "value")
    wanted = sa.select(sa.literal(1)).where(sa.func.lower(each.c.key) == folded(key))
    if value is not None:
        wanted = wanted.where(each.c.value == value)
    return wanted.exists()


def free(lease_until: sa.ColumnElement[int], lease: int) -> sa.ColumnElement[bool]:
    """Say in SQL whether nobody holds a lease of that length (ms).

    One further ahead than twice its length counts as expired: the clock went back.
    """
    return sa.or_(lease_until <= now(), lease_until > now() + 2 * lease)
