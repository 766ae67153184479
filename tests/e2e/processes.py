"""Which processes of a Headway run on some data."""

import socket
from contextlib import suppress
from pathlib import Path


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def processes_of(data: Path, kind: str) -> list[int]:
    """Return the ids of the processes `headway <kind>` that work on this data."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
            if kind.encode() in words and f"HEADWAY_DATA={data}".encode() in environment:
                found.append(int(entry.name))
    return sorted(found)
