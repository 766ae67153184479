"""How databases are opened, and what becomes of what they report."""

from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.persistence.examples import artifact, ask, do, event, model, start

from headway.kernel.clock import MINUTE, utc_now
from headway.kernel.errors import (
    Busy,
    Contended,
    HeadwayError,
    Invalid,
    OutcomeUnknown,
    Refused,
    StorageUnavailable,
    Unavailable,
    Undone,
)
from headway.persistence import work as sql
from headway.persistence.engine import (
    Database,
    StorageFailed,
    Transaction,
    checkpoint,
    open_database,
    safe_for_several_writers,
)
from headway.persistence.tables import counters, settings
from headway.testing.postgres import Postgres

ONE = sa.select(sa.literal(1))


def ping(database: Database) -> None:
    """Ask for an answer, waiting for no writer."""
    with Transaction(database, read_only=True) as transaction:
        assert transaction.scalar(ONE) == 1


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 4), True),
    ],
)
def test_a_sqlite_that_can_corrupt_the_log_is_known(
    version: tuple[int, ...], *, safe: bool
) -> None:
    assert safe_for_several_writers(version) is safe


def test_every_connection_to_sqlite_is_durable_and_careful(sqlite_database: Database) -> None:
    with sqlite_database.engine.connect() as connection:
        found = {
            pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
            for pragma in ("journal_mode", "synchronous", "foreign_keys", "trusted_schema")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
    }


def test_every_connection_to_postgres_is_durable_and_bounded(postgres_server: Postgres) -> None:
    url = postgres_server.create_database("bounded")
    with open_database(url) as database, database.engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in (
                "synchronous_commit",
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
                "transaction_isolation",
                "application_name",
            )
        }
    assert found == {
        "synchronous_commit": "on",
        "statement_timeout": "10s",
        "lock_timeout": "3s",
        "idle_in_transaction_session_timeout": "15s",
        "transaction_isolation": "read committed",
        "application_name": "headway",
    }
    postgres_server.drop_database("bounded")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "headway.db",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://root:hunter2@host/db",
        "://hunter2@",
    ],
)
def test_a_url_of_no_database_is_refused_and_its_password_not_repeated(url: str) -> None:
    with pytest.raises(Invalid, match="sqlite:////path") as refused:
        open_database(url)
    assert "hunter2" not in str(refused.value)


def test_the_clock_of_the_database_is_utc(database: Database) -> None:
    with sql.begin(database) as work:
        assert abs(work.now() - utc_now()) < MINUTE


def test_a_reader_cannot_write(database: Database) -> None:
    reader = partial(sql.begin, database, read_only=True)
    with suppress(HeadwayError):
        do(reader, lambda work: work.settings.keep("a", "b"))
    if not database.is_sqlite:
        assert ask(reader, lambda work: work.settings.get("a")) is None


def test_a_reader_sees_one_moment(database: Database) -> None:
    with sql.begin(database, read_only=True) as reader:
        assert reader.settings.get("a") is None
        do(partial(sql.begin, database), lambda work: work.settings.keep("a", "b"))
        assert reader.settings.get("a") is None
    assert ask(partial(sql.begin, database), lambda work: work.settings.get("a")) == "b"


LONG = sa.text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) "
    "SELECT count(*) FROM n"
)
SHORT = sa.text(str(LONG).replace("1000000000", "50000"))


def test_a_statement_that_reads_for_too_long_is_ended(sqlite_database: Database) -> None:
    hasty = replace(sqlite_database, longest_read=0.05)
    with (
        Transaction(hasty, read_only=True) as reader,
        pytest.raises(StorageUnavailable, match="too long"),
    ):
        reader.rows(LONG)
    ping(sqlite_database)


def test_who_writes_on_a_connection_after_a_reader_may_take_longer(
    sqlite_database: Database,
) -> None:
    hasty = replace(sqlite_database, longest_read=0)
    ping(hasty)
    with Transaction(hasty) as writer:
        assert writer.scalar(SHORT) == 50_000
        assert writer.scalar(SHORT) == 50_000


def test_a_reader_that_stays_for_too_long_is_ended_and_its_connection_is_free(
    database: Database,
) -> None:
    with Transaction(replace(database, longest_read=0), read_only=True) as reader:
        assert reader.scalar(ONE) == 1
        with pytest.raises(StorageUnavailable, match="too long"):
            reader.scalar(ONE)
        assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # this kind


def test_a_writer_that_waited_too_long_is_told_that_somebody_writes(
    sqlite_database: Database,
) -> None:
    assert sqlite_database.library is not None
    # The same library: two of them in one process do not see each other's locks.
    connect = sqlite_database.library.module.connect
    with closing(connect(str(sqlite_database.file), isolation_level=None)) as other_process:
        other_process.execute("BEGIN IMMEDIATE")
        with pytest.raises(Contended, match="somebody else is writing"):
            start(partial(sql.begin, sqlite_database))
        ping(sqlite_database)


def test_two_writers_of_one_process_stand_in_a_line(sqlite_database: Database) -> None:
    begin = partial(sql.begin, sqlite_database)
    with begin() as first:
        first.models.add(model())
        with pytest.raises(Contended):
            start(begin)
        first.commit()
        start(begin)


def test_a_full_disk_undoes_the_transaction_and_the_next_one_works(
    sqlite_database: Database,
) -> None:
    begin = partial(sql.begin, sqlite_database)
    with sqlite_database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    def fill(work: sql.SqlWork) -> None:
        for number in range(1_000):
            work.outbox.add(event(why="x" * 1_000, kind=f"k{number}"))

    with pytest.raises(Unavailable, match="disk of the database is full"):
        do(begin, fill)  # type: ignore[arg-type]  # this kind of work
    # That connection was thrown away, and its limit with it.
    do(begin, fill)  # type: ignore[arg-type]  # this kind of work
    assert len(ask(begin, lambda work: work.outbox.history(limit=5_000))) == 1_000


def test_a_broken_file_is_a_failed_storage_and_no_connection_to_it_is_kept(
    sqlite_database: Database,
) -> None:
    ends: list[str] = []
    database = replace(sqlite_database, failed=lambda: ends.append("the process ends"))
    ping(database)
    assert database.file is not None
    whole = database.file.read_bytes()
    database.file.write_bytes(b"not a database" * 1_000)
    with pytest.raises(StorageFailed):
        ask(partial(sql.begin, database), lambda work: work.settings.get("a"))
    assert ends == ["the process ends"]
    database.file.write_bytes(whole)
    ping(database)


def test_a_database_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    for url in (
        f"sqlite:///{tmp_path}/nowhere/headway.db",
        f"postgresql://nobody@/none?host={tmp_path}",
    ):
        with open_database(url) as database, pytest.raises(Unavailable):
            ping(database)


def test_a_mistake_of_ours_is_not_hidden(database: Database) -> None:
    with Transaction(database) as transaction, pytest.raises(sa.exc.DBAPIError):
        transaction.rows(sa.text("SELECT * FROM nothing"))


def test_what_postgres_cannot_store_is_refused(postgres_database: Database) -> None:
    with pytest.raises(Refused):
        do(partial(sql.begin, postgres_database), lambda work: work.settings.keep("a", "\x00"))


def _end(database: Database, transaction: Transaction) -> None:
    """Cut the connection of a transaction, from another one."""
    backend = transaction.scalar(sa.select(sa.func.pg_backend_pid()))
    with database.engine.connect() as another:
        another.execute(sa.select(sa.func.pg_terminate_backend(backend)))


def test_a_connection_lost_in_the_middle_is_unavailable(postgres_database: Database) -> None:
    with Transaction(postgres_database) as transaction:
        _end(postgres_database, transaction)
        with pytest.raises(Unavailable) as lost:
            transaction.rows(ONE)
        assert not isinstance(lost.value, OutcomeUnknown)
    ping(postgres_database)


def test_a_connection_lost_during_commit_leaves_the_outcome_unknown(
    postgres_database: Database,
) -> None:
    with Transaction(postgres_database) as transaction:
        transaction.run(sa.insert(settings).values(name="a", value="b"))
        transaction.before_commit(lambda: _end(postgres_database, transaction))
        with pytest.raises(OutcomeUnknown):
            transaction.commit()
    ping(postgres_database)


def test_writers_that_block_each_other_are_told_to_try_again(postgres_database: Database) -> None:
    change = sa.update(counters).values(number=counters.c.number + 1)
    with Transaction(postgres_database) as first, Transaction(postgres_database) as second:
        first.run(change)
        with pytest.raises(Undone):
            second.run(change)


def test_when_every_connection_is_in_use_one_is_told_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/small.db"
    with open_database(url, pool_size=1, busy_timeout=10) as database:
        held = [Transaction(database, read_only=True) for _ in range(5)]
        for transaction in held:
            transaction.rows(ONE)
        with pytest.raises(Busy):
            ping(database)
        for transaction in held:
            transaction.close()
        ping(database)


def test_a_checkpoint_empties_the_log(sqlite_database: Database) -> None:
    do(partial(sql.begin, sqlite_database), lambda work: work.artifacts.add(artifact()))
    log = Path(f"{sqlite_database.file}-wal")
    assert log.stat().st_size > 0
    checkpoint(sqlite_database)
    assert log.stat().st_size == 0


def test_a_transaction_may_go_on_after_its_commit(database: Database) -> None:
    with sql.begin(database) as work:
        work.settings.keep("a", "1")
        work.commit()
        work.settings.keep("b", "2")
        work.commit()
        work.settings.keep("c", "3")
    names = ["a", "b", "c"]
    read = [ask(partial(sql.begin, database), lambda w, n=n: w.settings.get(n)) for n in names]  # type: ignore[misc]  # a default binds it
    assert read == ["1", "2", None]
