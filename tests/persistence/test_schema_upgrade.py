"""The steps from an empty database to the tables that the program works with."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.schema import SchemaItem
from tests.persistence.examples import NOON

from headway.auth.limits import NO_LIMITS
from headway.kernel.errors import Refused
from headway.persistence import migrations, tables
from headway.persistence.engine import Database, open_database
from headway.persistence.schema import Schema, check_schema, upgrade
from headway.persistence.work import begin
from headway.testing.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        with open_database(f"sqlite:///{tmp_path}/empty.db") as database:
            yield database
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    with open_database(server.create_database("empty")) as database:
        yield database
    server.drop_database("empty")


def test_an_empty_database_gets_exactly_the_tables_of_the_program(empty: Database) -> None:
    assert check_schema(empty) is Schema.FRESH
    assert upgrade(empty) is Schema.FRESH
    assert check_schema(empty) is Schema.CURRENT
    assert upgrade(empty) is Schema.CURRENT
    with empty.engine.connect() as connection:

        def is_here(thing: SchemaItem, *_: object) -> bool:
            return thing.info.get("only") in {None, empty.dialect}

        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": is_here}
        )
        assert compare_metadata(context, tables.metadata) == []


def test_keys_of_the_first_tables_have_no_limits_and_may_call_every_path(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        real = ScriptDirectory._upgrade_revs
        patch.setattr(ScriptDirectory, "_upgrade_revs", lambda s, _, now: real(s, "0001", now))
        upgrade(empty)
    with empty.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO keys (id, name, role, digest, models, environments, kind, created_at,"
                " created_by, revision) VALUES ('k1', 'ada', 'admin', 'd', '[\"*\"]', '[\"*\"]',"
                " 'person', 1, 'ada', 1)"
            )
        )

    assert upgrade(empty) is Schema.OLDER

    with begin(empty, read_only=True) as work:
        key = work.keys.get("k1")
    assert (key.paths, key.limits) == (("*",), NO_LIMITS)


def test_several_processes_may_upgrade_at_once(empty: Database) -> None:
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: upgrade(empty), range(3)))
    assert check_schema(empty) is Schema.CURRENT


def test_sqlite_keeps_its_tables_strict(sqlite_database: Database) -> None:
    with sqlite_database.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT name, strict FROM pragma_table_list").all()
    ours = {name: strict for name, strict in found if name in tables.metadata.tables}
    assert set(ours) == set(tables.metadata.tables)
    assert all(ours.values())


def test_a_schema_of_a_newer_program_is_refused(database: Database) -> None:
    assert check_schema(database, known=[*migrations.REVISIONS, "9999"]) is Schema.OLDER
    with pytest.raises(Refused, match="a newer version of Headway"):
        check_schema(database, known=["0000"])


def test_tables_of_somebody_else_are_refused(empty: Database) -> None:
    with empty.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE deployments (id INTEGER)")
    with pytest.raises(Refused, match="not Headway's"):
        upgrade(empty)


def test_the_program_knows_every_step() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    steps = ScriptDirectory.from_config(config).walk_revisions()
    assert [step.revision for step in steps][::-1] == list(migrations.REVISIONS)


REVISION = {
    "route": "digits/production",
    "model": "digits",
    "environment": "production",
    "revision": 1,
    "declared": "{}",
    "digest": "sha256:r",
    "guards": [],
    "because": "",
    "created_at": NOON,
    "created_by": "ada",
}
VERSION = {
    "model_id": 1,
    "number": "1.0.0",
    "precedence": "1",
    "release": True,
    "target": {},
    "signature": {},
    "components": {},
    "digest": "sha256:v",
    "metadata": {},
    "created_at": NOON,
    "created_by": "ada",
    "description": "",
    "tags": {},
    "state": "active",
    "reason": "",
    "updated_at": NOON,
    "revision": 1,
    "search": "",
}
MODEL = {
    "id": 1,
    "name": "digits",
    "folded": "digits",
    "description": "",
    "tags": {},
    "alternative_ids": [],
    "archived": False,
    "created_at": NOON,
    "created_by": "ada",
    "updated_at": NOON,
    "revision": 1,
    "search": "",
}


@pytest.mark.parametrize(
    "forbidden",
    [
        *(
            sa.update(tables.versions).values({column.name: column})
            for column in tables.versions.c
            if column.name
            not in {
                "description",
                "tags",
                "state",
                "sunset",
                "successor",
                "reason",
                "updated_at",
                "revision",
                "search",
            }
        ),
        sa.delete(tables.versions),
        sa.update(tables.route_revisions).values(because="other"),
        sa.delete(tables.route_revisions),
    ],
    ids=str,
)
def test_the_database_itself_refuses_to_change_what_never_changes(
    database: Database, forbidden: sa.Executable
) -> None:
    with database.engine.connect() as connection:
        connection.execute(sa.insert(tables.models).values(MODEL))
        connection.execute(sa.insert(tables.versions).values(VERSION))
        connection.execute(sa.insert(tables.route_revisions).values(REVISION))
        with pytest.raises(sa.exc.IntegrityError, match=r"never|deleted"):
            connection.execute(forbidden)


def test_a_gateway_never_loads_what_only_an_upgrade_needs() -> None:
    program = (
        "import sys; import headway.persistence.work, headway.persistence.schema; "
        "print({'alembic', 'psycopg', 'sqlalchemy.orm'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
