"""Databases for tests: in memory, SQLite, and a PostgreSQL that is started and stopped here."""

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import pytest
import sqlalchemy as sa
from hypothesis import settings

from headway.kernel.clock import utc_now
from headway.persistence import tables
from headway.persistence import work as sql
from headway.persistence.engine import Database, open_database
from headway.persistence.schema import upgrade
from headway.testing import memory
from headway.testing.postgres import NoPostgres, Postgres, postgres

# A busy machine makes no promise false: no test is timed.
settings.register_profile("headway", deadline=None)
settings.load_profile("headway")

Work: TypeAlias = sql.SqlWork | memory.MemoryWork
Begin: TypeAlias = Callable[[], AbstractContextManager[Work]]

IMPATIENT: Final = 60
"""Milliseconds that a writer waits for another one; tests let writers meet on purpose."""
_WRITTEN: Final = sa.text(
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_relation_size(oid) > 0 "
    "AND relnamespace = 'public'::regnamespace AND relname NOT IN ('counters', 'alembic_version')"
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - pytest passes by name
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let nothing be skipped where everything is installed (HEADWAY_CI): a skip fails there."""
    report = yield
    if report.skipped and os.environ.get("HEADWAY_CI"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and nothing may be: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let no file be skipped as a whole either."""
    report = yield
    if report.skipped and os.environ.get("HEADWAY_CI"):
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, and nothing may be: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """Start a real PostgreSQL, one for each worker of the test run."""
    try:
        with postgres() as server:
            yield server
    except NoPostgres as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres_tables(postgres_server: Postgres) -> Iterator[Database]:
    """Make a database with the tables in it, shared by all tests of a worker."""
    url = postgres_server.create_database("headway")
    with open_database(f"{url}&options=-c%20lock_timeout%3D{IMPATIENT}") as database:
        upgrade(database)
        yield database


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of SQLite with the tables in it."""
    file = tmp_path_factory.mktemp("template") / "headway.db"
    with open_database(f"sqlite:///{file}") as database:
        upgrade(database)
    return file


@pytest.fixture
def sqlite_database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    file = tmp_path / "headway.db"
    shutil.copyfile(sqlite_template, file)
    with open_database(f"sqlite:///{file}", busy_timeout=IMPATIENT) as database:
        yield database


@pytest.fixture
def postgres_database(postgres_tables: Database) -> Iterator[Database]:
    yield postgres_tables
    # A database for each test would cost three times as much as emptying what was written to.
    with postgres_tables.engine.begin() as connection:
        written = connection.execute(_WRITTEN).scalars().all()
        if written:
            connection.execute(sa.text(f"TRUNCATE {', '.join(written)} RESTART IDENTITY CASCADE"))
        connection.execute(sa.update(tables.counters).values(number=0))


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """Give each of the databases in turn, empty."""
    found: Database = request.getfixturevalue(f"{request.param}_database")
    return found


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def begin(request: pytest.FixtureRequest) -> Begin:
    """Give each of the works in turn: what one of them promises all of them do."""
    if request.param == "memory":
        return partial(memory.begin, memory.Store(), utc_now)
    return partial(sql.begin, request.getfixturevalue(f"{request.param}_database"))
