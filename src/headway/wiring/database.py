"""The database of this machine: opened, upgraded, described; keys made beside a running server."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Final, TypeAlias

from headway.auth.key import Secret, digester
from headway.auth.policy import ANY
from headway.auth.role import Role
from headway.auth.rootkey import Purpose, RootKey
from headway.auth.service import KeyService, Wish
from headway.kernel.clock import utc_now
from headway.kernel.errors import HeadwayError, Refused, StorageUnavailable, Unavailable
from headway.persistence.engine import Database, open_database
from headway.persistence.schema import Schema, check_schema
from headway.persistence.schema import upgrade as upgrade_schema
from headway.persistence.work import SqlWork, begin
from headway.settings import Settings
from headway.wiring.driver import check_driver
from headway.wiring.folders import private_folder
from headway.wiring.rootkey import load_root_key

Begin: TypeAlias = Callable[[], AbstractContextManager[SqlWork]]
_ROOT_KEY_CHECK: Final = "root-key-check"
_PORT: Final = 5432
"""Of PostgreSQL, where the URL names none."""
_LOOK_SECONDS: Final = 0.05
"""Between two looks at the schema."""


def open_settled(settings: Settings, *, pool_size: int) -> Database:
    """Open the database that the settings name."""
    check_driver(settings)
    private_folder(settings.data)
    return open_database(settings.database, pool_size=pool_size)


def beginner(database: Database, *, read_only: bool = False) -> Begin:
    """Return what opens a transaction on it."""
    return partial(begin, database, read_only=read_only)


def verify_root_key(begin_work: Begin, root_key: RootKey) -> None:
    """Remember which root key this database was made with, or raise `Refused` for another."""
    with begin_work() as work:
        stored = work.settings.keep(_ROOT_KEY_CHECK, root_key.check_value())
        work.commit()
    root_key.verify(stored)


@contextmanager
def _reached(settings: Settings) -> Iterator[Database]:
    """Open it for a moment; where it does not answer, say which one that is.

    People at the machine hear that. Callers of the API do not: it is no business of theirs.
    """
    with open_settled(settings, pool_size=1) as database:
        try:
            yield database
        except StorageUnavailable as error:
            url = database.engine.url
            if database.is_sqlite or url.host is None:
                raise
            there = f"{url.host}:{url.port or _PORT}/{url.database or ''}"
            raise StorageUnavailable(
                f"{there}: {error}; is HEADWAY_DATABASE_URL right?"
            ) from error


def upgrade(settings: Settings) -> str:
    """Bring the schema to this version; say what it was."""
    with _reached(settings) as database:
        before = upgrade_schema(database)
    if before is Schema.CURRENT:
        return "the schema is up to date"
    return f"the schema was {before} and is up to date now"


def upgrade_apart(settings: Settings) -> None:
    """Bring the schema to this version in a child: what Alembic takes (15 MB) goes with it.

    To be called before this process has threads or connections. Raise as `check_schema` does.
    """
    with _reached(settings) as database:
        schema = check_schema(database)
        if schema is Schema.CURRENT:
            return
        if schema is Schema.FRESH and database.is_sqlite and settings.view_file.exists():
            # A new one would answer to nobody's key, and whoever started it would not notice.
            raise Unavailable(
                f"the database of {settings.data} is empty or gone, and this folder has served "
                f"before: put it back, or remove {settings.view_file.name} to begin anew"
            )
    child = os.fork()
    if child == 0:
        code = 1
        try:
            upgrade(settings)
            code = 0
        except Exception as error:  # noqa: BLE001 - told, and the parent tries again
            sys.stderr.write(f"headway: {error}\n")
            sys.stderr.flush()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise Unavailable("the schema could not be brought to this version; see the words above")


def await_schema(
    database: Database,
    ended: threading.Event,
    *,
    report: Callable[[str], None],
    seconds: float,
    monotonic: Callable[[], float] = time.monotonic,
) -> bool:
    """Wait until the schema is this version's, and say whether it is: else somebody ended us.

    Before it is known to be ours nothing may be written: a newer version's tables may look like
    ours and mean something else. `report` hears once what is missing after so many `seconds`.
    Raise `Refused` for a schema that this version does not know.
    """
    until: float | None = monotonic() + seconds
    while True:
        try:
            schema = check_schema(database)
            if schema is Schema.CURRENT:
                return True
            words = f"schema: {schema}"
        except Refused:
            raise
        except HeadwayError as error:  # a table that is being made may be locked for a moment
            words = str(error)
        if until is not None and monotonic() >= until:
            until = None
            report(words)
        if ended.wait(_LOOK_SECONDS):
            return False


def describe(settings: Settings) -> str:
    """Say which library and which schema there are; raises `Refused` for an unknown one."""
    with _reached(settings) as database:
        schema = check_schema(database)
        library = database.library.verdict if database.library else "PostgreSQL"
    return f"{library}; schema: {schema}"


def create_key(
    settings: Settings,
    name: str,
    role: str,
    *,
    models: tuple[str, ...] = ANY,
    environments: tuple[str, ...] = ANY,
    paths: tuple[str, ...] = ANY,
) -> str:
    """Make a key on the machine that holds database and root key; return it, this once."""
    with _keys(settings) as service:
        made = service.create_on_machine(Wish(name, Role(role), models, environments, paths=paths))
    return made.secret.text


def revoke_key(settings: Settings, key_id: str) -> None:
    """Revoke a key on the machine that holds database and root key."""
    with _keys(settings) as service:
        service.revoke_on_machine(key_id)


@contextmanager
def _keys(settings: Settings) -> Iterator[KeyService]:
    root_key = load_root_key(settings)
    with _reached(settings) as database:
        upgrade_schema(database)
        begin_work = beginner(database)
        verify_root_key(begin_work, root_key)
        digest = digester(root_key.sub_key(Purpose.KEY_HASH))
        yield KeyService(begin=begin_work, clock=utc_now, digest=digest)


def generate_key() -> str:
    """Return a new key that nobody knows yet, for HEADWAY_ADMIN_KEY."""
    return Secret.generate().text
