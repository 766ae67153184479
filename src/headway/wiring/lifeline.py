"""The life-line from the supervisor: what the children share, and the end of it all.

The first line of standard input is JSON; after it the pipe stays silent until the supervisor dies.
A process that was started by hand (no pipe) has no life-line: what it must share with the others
of its installation follows from their root key.
"""

import json
import os
import signal
import stat
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from headway.auth.rootkey import Purpose, RootKey

_LONGEST: Final = 65_536


@dataclass(frozen=True, slots=True)
class Shared:
    """What the processes of one tree share."""

    hop_secret: str = ""
    """With it control knows that a request came through a gateway."""
    socket_fd: int | None = None
    """The public listening socket, if there is one already."""
    supervised: bool = False
    before: int | None = None
    """How the process whose place this one takes ended: its exit code, or a signal's number below
    0. None: it is the first of its supervisor."""
    ready_fd: int | None = None
    """Where the supervisor waits to hear that this process can take the place of another."""
    memory_fd: int | None = None
    """Memory that the gateways of this supervisor share."""

    def known_to(self, root_key: RootKey) -> "Shared":
        """Return it with a hop secret: without a supervisor, the one of the installation."""
        if self.hop_secret:
            return self
        return replace(self, hop_secret=root_key.sub_key(Purpose.HOP).hex())


def read_shared() -> Shared:
    """Read the first line of the life-line; a process started by hand has none."""
    if os.environ.get("HEADWAY_SUPERVISED") != "1" or not stat.S_ISFIFO(os.fstat(0).st_mode):
        return Shared()
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST:
        byte = os.read(0, 1)
        if not byte:
            raise SystemExit(0)  # the supervisor is gone already
        line += byte
    told = json.loads(line)
    return Shared(
        told["hop_secret"],
        told.get("socket_fd"),
        supervised=True,
        before=told.get("before"),
        ready_fd=told.get("ready_fd"),
        memory_fd=told.get("memory_fd"),
    )


def tell_ready(shared: Shared) -> None:
    """Tell the supervisor that this process can do its work, if it wants to know."""
    if shared.ready_fd is not None:
        with suppress(BrokenPipeError):
            os.write(shared.ready_fd, b"1")
        os.close(shared.ready_fd)


def follow_the_supervisor(shared: Shared) -> None:
    """Have this process get SIGTERM when the supervisor is gone, however it went."""
    if not shared.supervised:
        return
    # Who tells the whole tree to renew itself means the supervisor.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    def wait() -> None:
        while os.read(0, 64):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="life-line", daemon=True).start()
