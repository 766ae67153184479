"""Which schema a database has, and how it gets the present one.

Alembic is imported when a database is upgraded, and only then: gateways never need it.
"""

from collections.abc import Sequence
from enum import StrEnum
from importlib.resources import as_file, files
from typing import Any, Final

import sqlalchemy as sa

from headway.kernel.errors import Refused
from headway.persistence.engine import Database, Transaction
from headway.persistence.migrations import REVISIONS

_version: Final = sa.table("alembic_version", sa.column("version_num"))
_ADVISORY_LOCK: Final = 0x4865616477617901


class Schema(StrEnum):
    FRESH = "fresh"
    """There are no tables yet."""
    OLDER = "older"
    """An earlier version of this program made it."""
    CURRENT = "current"


def check_schema(database: Database, *, known: Sequence[str] = REVISIONS) -> Schema:
    """Say how old the schema is; `known` are the revisions that there are, oldest first.

    Raise `Refused` for one that this program does not know, because a newer one made it, and for
    tables that are not ours.
    """
    with Transaction(database, read_only=True) as transaction:
        tables = set(transaction.rows(_tables(database)))
        names = {row[0] for row in tables}
        if "alembic_version" not in names:
            if "deployments" in names:
                raise Refused("the database holds tables that are not Headway's")
            return Schema.FRESH
        found = transaction.scalar(sa.select(_version.c.version_num))
    if found is None:
        return Schema.FRESH
    if found not in known:
        raise Refused(
            f"the database has the schema {found}, this program knows {known[0]} to {known[-1]}: "
            "a newer version of Headway has been here; start that one, or restore a backup"
        )
    return Schema.CURRENT if found == known[-1] else Schema.OLDER


def _tables(database: Database) -> sa.Select[Any]:
    if database.is_sqlite:
        known = sa.table("sqlite_master", sa.column("name"), sa.column("type"))
        return sa.select(known.c.name).where(known.c.type == "table")
    known = sa.table("pg_tables", sa.column("tablename"), sa.column("schemaname"))
    return sa.select(known.c.tablename).where(known.c.schemaname == sa.func.current_schema())


def upgrade(database: Database) -> Schema:
    """Bring the schema up to date in one transaction; return what it was before.

    May be called by several processes at once. Raise as `check_schema` does.
    """
    before = check_schema(database)
    if before is Schema.CURRENT:
        return before
    with as_file(files("headway.persistence.migrations")) as folder:
        _run_migrations(database, str(folder))
    return before


def _run_migrations(database: Database, folder: str) -> None:
    from alembic.config import Config  # noqa: PLC0415 - 10 MB that only an upgrade needs
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415 - likewise
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - likewise

    config = Config()
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)

    def steps(revision: Any, _context: object) -> Any:  # noqa: ANN401 - alembic's own types are private
        return script._upgrade_revs("head", revision)  # noqa: SLF001 - what its own commands call

    with database.engine.connect() as connection:
        if database.is_sqlite:
            # It cannot be switched in a transaction, and a copied table would trip over it.
            connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                if not database.is_sqlite:
                    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
                    lock = sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)
                    connection.execute(sa.select(lock))
                with EnvironmentContext(config, script, fn=steps) as environment:
                    environment.configure(connection=connection, render_as_batch=True)
                    environment.run_migrations()
                if (
                    database.is_sqlite
                    and connection.exec_driver_sql("PRAGMA foreign_key_check").all()
                ):
                    raise Refused("the upgrade would leave rows that point to nothing: undone")
        finally:
            connection.invalidate()  # its settings are not those of the others
