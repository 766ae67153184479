"""A disk that fails a running process: strace lets its calls to the kernel fail."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_SECONDS = 10.0


@contextmanager
def failing(processes: list[int], *calls: str, error: str, folder: Path) -> Iterator[None]:
    """Let these calls of some processes fail for as long as the block lasts."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    names = ",".join(calls)
    with ExitStack() as stack:
        for process in processes:
            log = folder / f"strace.{process}"
            told = stack.enter_context(log.open("wb"))
            tracer = stack.enter_context(
                subprocess.Popen(
                    [
                        *(strace, "-f", "-p", str(process), "-o", "/dev/null"),
                        *("-e", f"trace={names}", "-e", f"inject={names}:error={error}"),
                    ],
                    stderr=told,
                )
            )
            stack.callback(tracer.terminate)  # it lets go of the process, which lives on
            _wait_until_attached(tracer, log)
        yield


def _wait_until_attached(tracer: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while "attached" not in (words := log.read_text()):
        if "ptrace" in words:
            pytest.skip(f"strace may not trace here: {words.splitlines()[0]}")
        assert tracer.poll() is None, words
        assert time.monotonic() < deadline, words
        time.sleep(0.01)
