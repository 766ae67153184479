"""The runner process: its cache, its threads, its socket."""

import asyncio
import ctypes
import faulthandler
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from headway.artifacts.artifact import Digest
from headway.kernel.clock import utc_now
from headway.runner.blackbox import BlackBox, Suspects
from headway.runner.cache import Cache
from headway.runner.server import Runner
from headway.settings import Settings
from headway.wire.loop import run as run_loop
from headway.wire.server import serve
from headway.wiring import plugins
from headway.wiring.folders import private_folder, unix_socket
from headway.wiring.lifeline import Shared, follow_the_supervisor, read_shared

_LOADS: Final = 2
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""Of mallopt(3)."""
_BLAMED: Final = 70
"""Exit code: a model neither ended nor could be stopped."""


@dataclass(frozen=True, slots=True)
class _Bytes:
    """The artifact store as the runner needs it."""

    read_bytes: Callable[[Digest], bytes]

    def read(self, digest: str) -> bytes:
        return self.read_bytes(Digest.parse(digest))


def run(settings: Settings) -> None:
    """Serve until SIGTERM."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _give_memory_back()
    shared = read_shared()
    follow_the_supervisor(shared)
    private_folder(settings.run_folder)
    if settings.runner_memory:
        _limit_memory(settings.runner_memory)
    blackbox = BlackBox(
        settings.run_folder,
        clock=utc_now,
        monotonic=time.monotonic,
        suspects=_suspects(shared),
    )
    crashes = blackbox.crash_file.open("w")  # open as long as the process lives
    faulthandler.enable(crashes, all_threads=True)
    store = plugins.store("local", settings.data / "artifacts")
    runner = Runner(
        cache=Cache(
            store=_Bytes(store.read_bytes),
            runtimes=plugins.runtimes(),
            limit=settings.runner_cache,
            blackbox=blackbox,
        ),
        blackbox=blackbox,
        work=ThreadPoolExecutor(settings.runner_threads, thread_name_prefix="run"),
        loads=ThreadPoolExecutor(_LOADS, thread_name_prefix="load"),
        body_limit=settings.body_limit,
    )
    run_loop(_serve(runner, settings.runner_socket, settings.drain_s))
    os._exit(0)  # threads that still run a model are not waited for


def _suspects(shared: Shared) -> Suspects:
    if not shared.supervised:
        return Suspects.ALL  # nobody told how the one before ended
    if shared.before in (None, 0):
        return Suspects.NONE
    return Suspects.LOADING if shared.before == -signal.SIGKILL else Suspects.ALL


async def _serve(runner: Runner, path: Path, drain_s: float) -> None:
    with unix_socket(path) as sock:
        server = await serve(sock, runner)
        server.on_sweep(partial(runner.watch, die=_die))
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        await ended.wait()
        await server.drain(drain_s)


def _die(digest: str) -> None:
    sys.stderr.write(f"{digest} neither ended nor could be stopped; the runner starts anew\n")
    sys.stderr.flush()
    os._exit(_BLAMED)


def _give_memory_back() -> None:
    """Have large blocks go back to the system when they are freed.

    Else glibc keeps them for later: after three loads that failed for lack of memory, the runner
    held 610 MiB of nothing, and other models were refused for it (now: 170).
    """
    with suppress(OSError, AttributeError):  # there is another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 20)
        libc.mallopt(_M_ARENA_MAX, 2)


def _limit_memory(limit: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or hard > limit:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        except (OSError, ValueError):  # macOS knows the name and refuses the value
            sys.stderr.write("this system does not limit the runner's memory\n")
