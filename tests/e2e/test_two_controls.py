"""Control may run any number of times beside the gateways; what one began another one ends."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.chaos.running import Running, running, until

from headway.testing.provider import ScriptedProvider


@contextmanager
def another_control(server: Running, folder: Path) -> Iterator[None]:
    """Start a control process that no supervisor knows, on the same data."""
    environment = os.environ | {
        "HEADWAY_DATA": str(server.data),
        "HEADWAY_RUN": str(folder),
        "HEADWAY_PORT": str(server.port),
    }
    command = [sys.executable, "-m", "headway.cli", "control"]
    with subprocess.Popen(command, env=environment) as process:
        try:
            until((folder / "control.sock").exists, seconds=30, what="another control")
            yield
        finally:
            process.terminate()


def writable(database: Path) -> bool:
    """Say whether nobody holds the one lock that SQLite has for writers."""
    connection = sqlite3.connect(database, timeout=2)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def freeze(control: int, database: Path) -> None:
    """Stop a process where it stands, but not where it keeps everybody from writing."""
    os.kill(control, signal.SIGSTOP)
    while not writable(database):
        os.kill(control, signal.SIGCONT)
        os.kill(control, signal.SIGSTOP)


def test_what_one_control_began_another_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedProvider() as provider, running(tmp_path / "d", monkeypatch) as server:
        server.register("1.0.0", "2.0.0", base_url=provider.url)
        server.deploy(to="1.0.0", strategy="direct", steps=[{"send": "100%"}])
        until(lambda: server.chat().version == "1.0.0", seconds=30, what="1.0.0 is live")
        (first,) = server.processes("control")
        with another_control(server, tmp_path / "r"):
            steps = [{"send": "1%", "for": "2s"}, {"check": ["smoke"]}, {"send": "100%"}]
            server.deploy(to="2.0.0", steps=steps)
            freeze(first, server.data / "headway.db")
            # Whatever the first one has claimed is free after its lease of 30 s.
            until(lambda: server.chat().version == "2.0.0", seconds=50, what="2.0.0 is live")
            os.kill(first, signal.SIGCONT)
