"""The database: how it is opened, what a transaction is, and what its errors mean.

SQLite: every writer durable (`synchronous=FULL`), every transaction that may write a writer from
its first statement, one of them at a time in a process. PostgreSQL: READ COMMITTED; correctness
comes from unique indexes, revisions and row locks.

What a driver reports becomes one of the errors of `headway.kernel.errors`:

    Contended               another writer holds the database for long: tell the caller
    └── Undone              lost against another writer; repeat the same unit of work
    StorageUnavailable      no answer, no space
    ├── OutcomeUnknown      the connection broke during COMMIT: look it up before repeating
    └── StorageFailed       the disk failed: nothing may go on with this process' connections
"""

import contextlib
import importlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from headway.kernel.errors import (
    Busy,
    Conflict,
    Contended,
    Invalid,
    OutcomeUnknown,
    Refused,
    StorageUnavailable,
    Unavailable,
    Undone,
)
from headway.persistence.tables import GENERATION, counters, now

POOL: Final = 20
"""Connections of a process: 16 threads of control and its loops. A gateway needs 2."""
BUSY_TIMEOUT: Final = 5_000
CHECKPOINT_TIMEOUT: Final = 60_000
LONGEST_READ: Final = 5.0
"""Seconds: while a reader stays, SQLite's log only grows."""
_LOOK_EVERY: Final = 10_000
"""Steps of SQLite's machine between two looks at the clock."""
_OPTIONS: Final = {"preserve_rowcount": True}
"""Of an INSERT too: an INSERT that did nothing is how a row that is there already shows."""
_POSTGRESQL: Final = (
    "-c synchronous_commit=on -c statement_timeout=10000 -c lock_timeout=3000 "
    "-c idle_in_transaction_session_timeout=15000"
)


T = TypeVar("T")


class StorageFailed(StorageUnavailable):
    """The disk or the database file failed: the process should start anew."""


@dataclass(frozen=True, slots=True)
class Library:
    """The SQLite that this process uses."""

    module: ModuleType
    version: str
    safe: bool
    """False: it can corrupt a database that several processes write (fixed in 3.51.3)."""

    @property
    def verdict(self) -> str:
        if self.safe:
            return f"SQLite {self.version} ({self.module.__name__})"
        return (
            f"SQLite {self.version} ({self.module.__name__}) can corrupt a database while one "
            "process checkpoints and another commits: the control process alone checkpoints"
        )


def sqlite_library() -> Library:
    """Choose the SQLite of `pysqlite3` where that is installed, else Python's own."""
    try:
        module = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        module = importlib.import_module("sqlite3")  # two libraries in a process are 1 MB more
    version = module.sqlite_version_info
    return Library(module, module.sqlite_version, safe_for_several_writers(version))


def safe_for_several_writers(version: tuple[int, ...]) -> bool:
    """Say whether a SQLite has the fix of 3.51.3, which 3.50.7 and 3.44.6 were given too."""
    return (
        version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    )


@dataclass(frozen=True, slots=True)
class Database:
    """An open database; made by `open_database`, shared by all threads of a process."""

    engine: sa.Engine
    file: Path | None
    """SQLite's file; None for PostgreSQL."""
    library: Library | None
    busy_timeout: int
    """Milliseconds that a writer waits for the one before."""
    failed: Callable[[], None] = lambda: None
    """Told that the disk failed, after every connection was thrown away: a process that can be
    spared ends here, and another one starts."""
    longest_read: float = LONGEST_READ
    """Seconds after which a transaction that only reads is ended."""
    writer: threading.Lock = field(default_factory=threading.Lock)
    """One writer at a time: SQLite's own wait is a poll without a queue."""

    @property
    def is_sqlite(self) -> bool:
        return self.file is not None

    @property
    def dialect(self) -> str:
        return self.engine.dialect.name

    def close(self) -> None:
        self.engine.dispose()

    def give_up(self) -> None:
        """Throw every connection away: what they hold in memory may not be what the disk has."""
        self.engine.dispose()
        self.failed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_database(
    url: str,
    *,
    pool_size: int = POOL,
    busy_timeout: int = BUSY_TIMEOUT,
    application: str = "headway",
) -> Database:
    """Open `sqlite:////path/to/file.db` or `postgresql://…`; nothing is connected yet.

    `busy_timeout` is in milliseconds. Raise `Invalid` for another URL, which is never quoted: it
    may hold a password.
    """
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError as error:
        raise Invalid.at("", f"the database's URL cannot be read; {_URLS}") from error
    match parsed.get_backend_name():
        case "sqlite":
            return _open_sqlite(parsed, pool_size=pool_size, busy_timeout=busy_timeout)
        case "postgresql" | "postgres":
            return _open_postgresql(parsed, pool_size=pool_size, application=application)
        case other:
            raise Invalid.at("", f"{other!r} is no database that is known; {_URLS}")


_URLS: Final = "write sqlite:////path/to/headway.db or postgresql://user@host/database"


def _open_sqlite(url: sa.URL, *, pool_size: int, busy_timeout: int) -> Database:
    if not url.database or url.database == ":memory:":
        raise Invalid.at("", f"several processes share the database, so it is a file; {_URLS}")
    library = sqlite_library()
    if not library.safe:
        busy_timeout = max(busy_timeout, CHECKPOINT_TIMEOUT)
    engine = sa.create_engine(
        url,
        module=library.module,
        pool_size=pool_size,
        max_overflow=4,
        pool_timeout=busy_timeout / 1000,
        pool_use_lifo=True,  # the fewest connections stay warm
        execution_options=_OPTIONS,
    )
    pragmas = [
        f"busy_timeout={busy_timeout:d}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "fullfsync=ON",
        "foreign_keys=ON",
        "trusted_schema=OFF",
        "journal_size_limit=67108864",
        "cache_size=-1024",
    ]
    if not library.safe:
        pragmas.append("wal_autocheckpoint=0")

    @sa.event.listens_for(engine, "connect")
    def settle(connection: Any, _record: object) -> None:  # noqa: ANN401 - of either library
        # Without `isolation_level` the driver leaves it to us when a transaction begins.
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A read that turns into a write fails at once when another writer was faster.
        reads = connection.get_execution_options().get("read_only")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return Database(engine, Path(url.database), library, busy_timeout)


def _open_postgresql(url: sa.URL, *, pool_size: int, application: str) -> Database:
    url = url.set(drivername="postgresql+psycopg")
    options = " ".join(filter(None, [_POSTGRESQL, _option(url.query.get("options"))]))
    url = url.difference_update_query(["options"])
    engine = sa.create_engine(
        url,
        connect_args={
            "options": options,
            "application_name": application,
            "connect_timeout": 5,
        },
        pool_size=pool_size,
        max_overflow=4,
        pool_timeout=BUSY_TIMEOUT / 1000,
        pool_pre_ping=True,  # after a restart of the database nobody meets a dead connection
        pool_use_lifo=True,
        isolation_level="READ COMMITTED",
        execution_options=_OPTIONS,
    )
    return Database(engine, None, None, BUSY_TIMEOUT)


def _option(value: str | tuple[str, ...] | None) -> str:
    return " ".join(value) if isinstance(value, tuple) else value or ""


def checkpoint(database: Database) -> None:
    """Carry SQLite's log over into the database file and empty it; nothing for PostgreSQL.

    With a library that is not `safe` the control process alone calls this, now and then: the mode
    TRUNCATE holds the writer's lock, so that no commit can meet it.
    """
    if not database.is_sqlite:
        return
    raw = database.engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except Exception as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_FAILED:
            raw.invalidate()
            database.give_up()
            raise StorageFailed(_FAILED) from error
        raise StorageUnavailable(f"the database's log could not be emptied: {error}") from error
    finally:
        raw.close()


class Transaction:
    """One transaction, begun at its first statement and undone unless committed.

    Not for several threads. Of a query the rows are returned, all of them, so that no error can
    come later and no reader stays open.
    """

    def __init__(self, database: Database, *, read_only: bool = False) -> None:
        self._database = database
        self._read_only = read_only
        self._connection: sa.Connection | None = None
        self._holds = False
        self._failed = False
        self._reads_until = float("inf")
        self._changed_view = False
        self._generation: int | None = None
        self._at_commit: list[Callable[[], None]] = []

    @property
    def dialect(self) -> str:
        return self._database.dialect

    def rows(self, statement: sa.Executable, values: object = None) -> Sequence[sa.Row[Any]]:
        """Run it and return every row."""
        return self._run(statement, values, lambda result: result.all())

    def row(self, statement: sa.Executable, values: object = None) -> sa.Row[Any] | None:
        """Run it and return the first row, or None."""
        return self._run(statement, values, lambda result: result.first())

    def scalar(self, statement: sa.Executable, values: object = None) -> Any:  # noqa: ANN401 - whatever stands in the column
        """Run it and return the first column of the first row, or None."""
        return self._run(statement, values, lambda result: result.scalar())

    def run(self, statement: sa.Executable, values: object = None) -> int:
        """Run it (once per item of a list of values) and return how many rows it changed."""
        return self._run(statement, values, lambda result: result.rowcount)

    def changes_view(self) -> None:
        """Note that this transaction changes what gateways read: the generation rises by one.

        It rises as late as can be, so that its row is locked for a moment only.
        """
        self._changed_view = True

    def generation(self) -> int:
        """Return the generation, this transaction's own change included."""
        if self._changed_view and self._generation is None:
            self._generation = self.count(GENERATION)
        if self._generation is not None:
            return self._generation
        query = sa.select(counters.c.number).where(counters.c.name == GENERATION)
        return int(self.scalar(query) or 0)

    def count(self, counter: str, *, at_least: int = 0) -> int:
        """Raise a counter by one, and to `at_least`, and return it."""
        number = counters.c.number
        higher = sa.case((number + 1 > at_least, number + 1), else_=at_least)
        raised = (
            sa.update(counters)
            .where(counters.c.name == counter)
            .values(number=higher)
            .returning(number)
        )
        return int(self.scalar(raised))

    def now(self) -> int:
        """Return the time on the database's clock, milliseconds UTC."""
        return int(self.scalar(sa.select(now())))

    def before_commit(self, call: Callable[[], None]) -> None:
        """Let this be done as the last thing before COMMIT, in the order of asking."""
        self._at_commit.append(call)

    def commit(self) -> None:
        """Make it last.

        Raise `Contended` if the database gave another writer the preference, `OutcomeUnknown` if
        the connection broke meanwhile.
        """
        if self._failed:
            raise Conflict(_UNDONE)
        if self._changed_view:
            self.generation()
        for call in self._at_commit:
            call()
        connection = self._connection
        if connection is None or not connection.in_transaction():
            return
        try:
            connection.commit()
        except exc.DBAPIError as error:
            self._fail(error, at_commit=True)
        self._changed_view, self._generation = False, None
        self._at_commit.clear()
        self._release()

    def close(self) -> None:
        """Undo what was not committed and give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if self._read_only and not connection.invalidated:
                    self._watch(connection, None)
                connection.close()
            except exc.DBAPIError:
                # A connection that cannot even roll back is of no use to anybody.
                with contextlib.suppress(exc.SQLAlchemyError):
                    connection.invalidate()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(
        self,
        statement: sa.Executable,
        values: Any,  # noqa: ANN401 - one mapping or many
        read: Callable[[sa.CursorResult[Any]], T],
    ) -> T:
        connection = self._begun()
        try:
            return read(connection.execute(statement, values))
        except exc.DBAPIError as error:
            self._fail(error)

    def _begun(self) -> sa.Connection:
        if self._failed:
            raise Conflict(_UNDONE)
        connection = self._connection
        if connection is not None and connection.in_transaction():
            if time.monotonic() > self._reads_until:
                self.close()
                self._failed = True
                raise StorageUnavailable(_TOO_LONG)
            return connection
        if self._database.is_sqlite and not self._read_only and not self._holds:
            wait = self._database.busy_timeout / 1000
            if not self._database.writer.acquire(timeout=wait):
                raise Contended(_BUSY)
            self._holds = True
        try:
            if connection is None:
                connection = self._connection = self._connect()
            if self._read_only:
                self._reads_until = time.monotonic() + self._database.longest_read
                self._watch(connection, lambda: time.monotonic() > self._reads_until)
            connection.begin()
        except exc.TimeoutError as error:
            self._release()
            raise Busy("every connection to the database is in use; try again") from error
        except exc.DBAPIError as error:
            self._fail(error)
        return connection

    def _connect(self) -> sa.Connection:
        connection = self._database.engine.connect()
        if not self._read_only:
            return connection
        if self._database.is_sqlite:
            return connection.execution_options(read_only=True)
        # One moment for all statements of a reader, as SQLite gives it.
        return connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    def _watch(self, connection: sa.Connection, over: Callable[[], bool] | None) -> None:
        """Have SQLite ask now and then whether a statement goes on for too long.

        PostgreSQL has its `statement_timeout`.
        """
        if self._database.is_sqlite:
            driver: Any = connection.connection.driver_connection
            driver.set_progress_handler(over, _LOOK_EVERY)

    def _fail(self, error: exc.DBAPIError, *, at_commit: bool = False) -> NoReturn:
        """Undo everything, throw away a connection that cannot be trusted, say what it means."""
        failure = meaning(error, at_commit=at_commit)
        connection = self._connection
        if connection is not None and isinstance(failure, Unavailable):
            with contextlib.suppress(exc.SQLAlchemyError):
                connection.invalidate()
        self.close()
        self._failed = True
        if isinstance(failure, StorageFailed):
            self._database.give_up()
        if failure is error:
            raise error
        raise failure from error

    def _release(self) -> None:
        if self._holds:
            self._holds = False
            self._database.writer.release()


_UNDONE: Final = "an earlier statement of this transaction failed, so all of it was undone"
_BUSY: Final = "somebody else is writing to the database; look again"

_TOO_LONG: Final = "reading takes too long: ask for less at a time"
_FAILED: Final = "the database's file cannot be read or written"

_SQLITE_BUSY: Final = {5, 6}  # BUSY, LOCKED
_SQLITE_FAILED: Final = {10, 11, 26}  # IOERR, CORRUPT, NOTADB
_SQLITE_INTERRUPTED: Final = 9
_SQLITE_FULL: Final = 13
_SQLITE_ERROR: Final = 1  # as in: no such table
_TRY_AGAIN: Final = {"40001", "40P01", "55P03"}
_ABORTED: Final = "25P02"


def meaning(error: exc.DBAPIError, *, at_commit: bool = False) -> Exception:
    """Say in our own words what a driver reported; its own words may quote values.

    A statement that the database does not understand is a mistake of ours: it stays as it is.
    """
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return _meaning_of_sqlite(int(code) & 0xFF, error)
    state: str | None = getattr(error.orig, "sqlstate", None)
    if isinstance(error, exc.ProgrammingError) and state:
        return error
    if state in _TRY_AGAIN:
        return Undone("somebody else changed the same rows at the same time; look again")
    if state == _ABORTED:
        return Conflict("an earlier statement of this transaction failed; look again")
    if isinstance(error, exc.IntegrityError):
        return Conflict(_broken_rule(error))
    if isinstance(error, exc.DataError):
        return Refused("the database cannot store one of these values")
    if at_commit and (error.connection_invalidated or state is None or state.startswith("57P")):
        return OutcomeUnknown("the connection to the database was lost while it committed")
    return StorageUnavailable(
        f"the database does not answer ({state or type(error.orig).__name__})"
    )


def _meaning_of_sqlite(code: int, error: exc.DBAPIError) -> Exception:
    if code in _SQLITE_BUSY:
        return Contended(_BUSY)
    if isinstance(error, exc.IntegrityError):
        return Conflict(_broken_rule(error))
    if code in _SQLITE_FAILED:
        return StorageFailed(_FAILED)
    if code == _SQLITE_FULL:
        return StorageUnavailable("the disk of the database is full")
    if code == _SQLITE_INTERRUPTED:
        return StorageUnavailable(_TOO_LONG)
    if code == _SQLITE_ERROR:
        return error
    return StorageUnavailable(f"the database does not answer (SQLite's code {code})")


def _broken_rule(error: exc.IntegrityError) -> str:
    text = str(error.orig).splitlines()[0] if error.orig else ""
    return f"the database refuses it: {text}"


def values_of(row: sa.Row[Any], names: Sequence[str]) -> Mapping[str, Any]:
    """Return the named columns of a row."""
    found = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return {name: found[name] for name in names}
