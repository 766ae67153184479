"""Folders and sockets that belong to us alone."""

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from headway.kernel.errors import Conflict, Refused

_BACKLOG: Final = 4096
LONGEST_SOCKET: Final = 103
"""Bytes of a unix socket's path (104 with the closing NUL on macOS, 108 on Linux)."""


def private_folder(path: Path) -> Path:
    """Make a folder that nobody else may enter, or refuse one that is everybody's (`/tmp`)."""
    try:
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync(path.parent)
        mode = path.stat().st_mode
        if mode & (stat.S_ISVTX | stat.S_IWOTH):
            raise Refused(f"{path} is everybody's folder; name one of its own, such as {path}/hw")
        if stat.S_IMODE(mode) & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise Refused(f"{path} cannot be used as a folder: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise Refused(f"{path} cannot be written to")
    return path


def _sync(folder: Path) -> None:
    """Make the names in a folder last, if it is one that may be opened."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def claim(folder: Path) -> None:
    """Have this folder of sockets to ourselves until this process ends, or raise `Conflict`.

    The lock outlives `exec`, is not given to children, and cannot be left behind.
    """
    descriptor = os.open(folder / "serve.lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)  # noqa: FBT003 - its only parameter
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Conflict(
            f"another `headway serve` works on {folder}; stop it, or choose other data with "
            "HEADWAY_DATA"
        ) from error


@contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """Listen on a unix socket; a stale file of a dead process is taken away first."""
    name = os.fsencode(path)
    if len(name) > LONGEST_SOCKET:
        raise Refused(f"{path} is too long for a socket; set HEADWAY_RUN to a shorter folder")
    with suppress(FileNotFoundError):
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(0o600)
        sock.listen(1024)
        ours = path.stat().st_ino
        yield sock
    finally:
        sock.close()
        with suppress(FileNotFoundError):
            if path.stat().st_ino == ours:  # else it is our successor's by now
                path.unlink()


def listen(host: str, port: int) -> socket.socket:
    """Bind the public port, or raise `Conflict` if somebody has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if isinstance(error, PermissionError):
            raise Refused(f"{host}:{port} may not be bound: {error.strerror}") from error
        raise Conflict(
            f"{host}:{port} cannot be bound ({error.strerror}); choose another with HEADWAY_PORT"
        ) from error
    sock.listen(_BACKLOG)
    sock.set_inheritable(True)
    return sock
