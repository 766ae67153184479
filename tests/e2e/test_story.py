"""The whole story, told by the real processes while they are killed and the database is locked."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.chaos.running import until
from tests.e2e.processes import free_port, processes_of

pytestmark = pytest.mark.story
_SHM_LOCKS = 120
"""Where a WAL database keeps its locks in the `-shm` file: write, checkpoint, recover, read."""


def parts(port: int) -> dict[str, Any]:
    """Return what a gateway says of each part; nothing if it does not answer."""
    with suppress(httpx2.HTTPError):
        found: dict[str, Any] = httpx2.get(
            f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=10
        ).json()
        return found["parts"] if found["status"] == "ready" else {}
    return {}


def kill_one(data: Path, port: int, kind: str) -> None:
    """Kill a process of that kind as `kill -9` does, and see that another takes its place."""
    before = processes_of(data, kind)
    os.kill(before[0], signal.SIGKILL)
    until(
        lambda: before[0] not in (now := processes_of(data, kind)) and len(now) == len(before),
        seconds=30,
        what=f"another {kind}",
    )
    until(lambda: bool(parts(port)), seconds=30, what="all parts are ready")


def lock_out_everybody(data: Path, port: int, milliseconds: int) -> None:
    """Make the database unreadable: hold every lock that a reader or writer needs.

    Until a gateway says that it has had no answer for so long.
    """

    def long_enough() -> bool:
        with suppress(httpx2.HTTPError):
            said = httpx2.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=10)
            age: int = said.json()["parts"]["database"]["last_answer_ms_ago"]
            return age >= milliseconds
        return False

    with (data / "headway.db-shm").open("r+b") as shm:
        fcntl.lockf(shm, fcntl.LOCK_EX, 8, _SHM_LOCKS)
        until(long_enough, seconds=60, what="the gateways miss the database")
        fcntl.lockf(shm, fcntl.LOCK_UN, 8, _SHM_LOCKS)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def story(tmp_path: Path, port: int) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "headway.cli",
            "demo",
            "--exit",
            "--data",
            str(tmp_path / "d"),
            "--port",
            str(port),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        cwd=tmp_path,
    )
    with process:
        yield process
        if process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()


def test_the_story_ends_as_told_whatever_dies_meanwhile(
    story: "subprocess.Popen[str]", tmp_path: Path, port: int
) -> None:
    data, lines = tmp_path / "d", []
    assert story.stdout is not None
    faults: dict[str, Sequence[Callable[[], None]]] = {
        "digits 1.1.0: ": [
            partial(kill_one, data, port, "scribe"),
            partial(kill_one, data, port, "control"),
            partial(kill_one, data, port, "gateway"),
        ],
        "digits 1.2.0: ": [
            partial(kill_one, data, port, "runner"),
            partial(lock_out_everybody, data, port, 10_000),
        ],
    }
    for line in story.stdout:
        lines.append(line)
        for begins in [words for words in faults if words in line]:
            for fault in faults.pop(begins):
                fault()
    code = story.wait(30)
    told = "".join(lines)

    assert code == 0, told
    assert not faults, told
    failed = [line for line in lines if "requests," in line and not line.startswith("2.0.0")]
    assert failed, told
    assert all(" 0 failed" in line for line in failed), told
