"""The whole story, told by the real processes while they are killed and the database is locked."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from tests.e2e.processes import free_port, processes_of

pytestmark = pytest.mark.story
_SHM_LOCKS = 120
"""Where a WAL database keeps its locks in the `-shm` file: write, checkpoint, recover, read."""


def kill_one(data: Path, kind: str) -> None:
    """Kill a process of that kind as `kill -9` does."""
    os.kill(processes_of(data, kind)[0], signal.SIGKILL)


def lock_out_everybody(data: Path, seconds: float) -> None:
    """Make the database unreadable: hold every lock that a reader or writer needs."""
    with (data / "headway.db-shm").open("r+b") as shm:
        deadline = time.monotonic() + 10
        while True:
            with suppress(BlockingIOError):
                fcntl.lockf(shm, fcntl.LOCK_EX | fcntl.LOCK_NB, 8, _SHM_LOCKS)
                break
            if time.monotonic() > deadline:
                fcntl.lockf(shm, fcntl.LOCK_EX, 8, _SHM_LOCKS)
                break
        time.sleep(seconds)
        fcntl.lockf(shm, fcntl.LOCK_UN, 8, _SHM_LOCKS)


@pytest.fixture
def story(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
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
            str(free_port()),
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
    story: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    data, lines = tmp_path / "d", []
    assert story.stdout is not None
    faults: list[Callable[[], None]] = [
        partial(kill_one, data, "scribe"),
        partial(kill_one, data, "control"),
        partial(kill_one, data, "gateway"),
        partial(kill_one, data, "runner"),
        partial(lock_out_everybody, data, 10),
    ]
    for line in story.stdout:
        lines.append(line)
        if "flow in" in line:  # from here on there is traffic
            for fault in faults:
                time.sleep(4)
                fault()
    code = story.wait(30)
    told = "".join(lines)

    assert code == 0, told
    failed = [line for line in lines if "requests," in line and not line.startswith("2.0.0")]
    assert failed, told
    assert all(" 0 failed" in line for line in failed), told
