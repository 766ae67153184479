"""`headway serve`: binds the public port once, hands it to the gateways, restarts what dies.

    supervisor
    ├── control     first: it is the slowest to start
    ├── scribe      speaks to the database for the gateways
    ├── gateway, N  share one listening socket: a dead one's queue is taken by its sister
    └── runner

Each process is started with `-P`: what lies in the folder where somebody types `headway serve` is
never imported.

Each child gets a pipe as its standard input. Its first line is JSON with what the children share
(the hop secret); after it the pipe stays open and silent. When the supervisor dies, however it
dies, the pipe ends and the children leave: never orphans on the port.

SIGUSR1 starts the scribe anew and replaces the gateways one after the other, without a request
lost:

    successor starts ── it listens and has its routes ── the old one drains ── and is gone: next
          │
          └─ dies, or is not ready in time: the old one stays, and so do its sisters
"""

import json
import math
import os
import resource
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NoReturn

_FIRST_WAIT: Final = 0.4
_LONGEST_WAIT: Final = 10.0
_GOOD_LIFE: Final = 10.0
"""Seconds after which earlier deaths are forgotten."""
_STOP_AT_LAST: Final = 10.0
_IDLE: Final = 1.0
_ENDS_WITHIN: Final = 3.0
"""Seconds that a child has which holds nothing, before it is killed."""
_READY_WITHIN: Final = 60.0
"""Seconds that a successor has to listen and to have its routes."""
_ENDS_US: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_RENEWS: Final = signal.SIGUSR1
"""Replaces the gateways. Not SIGHUP: that is what a terminal says when it is closed."""
MISCONFIGURED: Final = 78
"""Exit code (EX_CONFIG) of a child that no restart can help: everything stops."""
_PROVIDERS: Final = "HEADWAY_SECRET_"
_OF_CONTROL: Final = ("HEADWAY_ADMIN_KEY", "HEADWAY_WEBHOOK_SECRET", "HEADWAY_METRICS_TOKEN")
_KEPT_MEMORY: Final = {
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
}
"""Have glibc keep what one request gave back for the next: else a body of some ten KB costs a
dozen page faults, a sixth of all that its request costs."""
_FEW_ARENAS: Final = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": str(128 << 10)}
"""Control has many threads and little to do: glibc would give each a heap of its own."""
_ROOT_KEY: Final = "HEADWAY_ROOT_KEY"
_DATABASE: Final = "HEADWAY_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class Child:
    """What to run: the words after `headway`."""

    name: str
    words: tuple[str, ...]
    listens: bool = False
    """It answers the public port. Nobody else holds that socket: were it open in a process that
    outlives the gateways, callers would wait in its queue instead of being refused. Such children
    stop before the others, so that what they pass on is still answered."""
    holds_nothing: bool = False
    """A renewal ends it, and it is started again at once: nobody notices."""
    not_told: tuple[str, ...] = ()
    """Variables (by how they begin) that hold secrets which are none of its business."""
    told: Mapping[str, str] = field(default_factory=dict)
    """Variables that are set unless the user has set them."""

    def reads(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the environment that it starts with."""
        mine = {k: v for k, v in environment.items() if not k.startswith(self.not_told)}
        return {**self.told, **mine}


@dataclass(slots=True)
class _Running:
    child: Child
    process: "subprocess.Popen[bytes] | None" = None
    born: float = 0.0
    deaths: int = 0
    again_at: float = 0.0
    served: bool = False
    """It lived well before: what is wrong since then must not end the traffic of the others."""
    before: int | None = None
    """How the process before this one ended."""
    ends_by: float = math.inf
    """It was told to end, for a renewal, and is killed then. Infinite: if it ends, it died."""


@dataclass(slots=True)
class _Successor:
    """A process that shall take the place of one that works."""

    place: _Running
    process: "subprocess.Popen[bytes]"
    ready: int
    """Descriptor: a byte comes when it can answer, and the end when it never will."""
    born: float


@dataclass(slots=True)
class _Leaving:
    """A process that was told to finish, and until when it may."""

    process: "subprocess.Popen[bytes]"
    until: float


@dataclass(slots=True)
class Supervisor:
    children: Sequence[Child]
    socket: socket.socket
    shared: Mapping[str, str]
    """Told to each child by its life-line; never by arguments or environment."""
    environment: Mapping[str, str]
    memory: int
    """Descriptor of memory that those share who listen: it ends with the last of them."""
    drain_s: float
    say: Callable[[str], None]
    life_line: int | None = None
    """Descriptor: its end is the end of who started us, and so ours."""
    _running: list[_Running] = field(default_factory=list)
    _signals: list[int] = field(default_factory=list)
    _exit_code: int = 0
    _asked: int = 0
    """How often a renewal was asked for."""
    _heard: int = 0
    _turns: deque[_Running] = field(default_factory=deque)
    """Whom a successor is still to be started for."""
    _outdated: bool = False
    """Children that hold nothing are to be renewed."""
    _successor: _Successor | None = None
    _leaving: list[_Leaving] = field(default_factory=list)

    def run(self) -> int:
        """Start the children and keep them until SIGTERM or SIGINT; return the exit code."""
        woken, waker = os.pipe()
        os.set_blocking(waker, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(waker)
        for number in _ENDS_US:
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        signal.signal(_RENEWS, lambda _number, _frame: self._ask_renewal())
        # See `become_supervisor`.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_ENDS_US, _RENEWS))
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._running = [_Running(child) for child in self.children]
        for running in self._running:
            self._start(running)
        while not self._signals:
            heard = [woken]
            heard += [] if self._successor is None else [self._successor.ready]
            heard += [] if self.life_line is None else [self.life_line]
            readable, _, _ = select.select(heard, [], [], self._next_look())
            with suppress(BlockingIOError):
                os.read(woken, 4096)
            if self.life_line in readable and not os.read(self.life_line, 4096):
                self._signals.append(signal.SIGTERM)
            self._look()
            self._renew()
        self._stop()
        return self._exit_code

    def _start(self, running: _Running) -> None:
        running.process = self._spawn(running.child, before=running.before)
        running.born = time.monotonic()

    def _spawn(
        self, child: Child, *, before: int | None = None, ready: int | None = None
    ) -> "subprocess.Popen[bytes]":
        listener = self.socket.fileno() if child.listens else None
        memory = self.memory if child.listens else None
        told = {
            **self.shared,
            "socket_fd": listener,
            "before": before,
            "ready_fd": ready,
            "memory_fd": memory,
        }
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own words
            [sys.executable, "-P", "-m", "headway.cli", *child.words],
            stdin=subprocess.PIPE,
            pass_fds=[number for number in (listener, ready, memory) if number is not None],
            env=child.reads(self.environment),
            start_new_session=True,  # Ctrl-C is the supervisor's to hear
        )
        if process.stdin is not None:
            with suppress(BrokenPipeError):  # it is dead already: `_look` will see that
                process.stdin.write(f"{json.dumps(told)}\n".encode())
                process.stdin.flush()
        return process

    def _next_look(self) -> float:
        now = time.monotonic()
        waits = [r.again_at - now for r in self._running if r.process is None]
        return max(0.01, min([_IDLE, *waits]))

    def _look(self) -> None:
        now = time.monotonic()
        for running in self._running:
            process = running.process
            if process is not None and (code := process.poll()) is not None:
                self._died(running, code, now)
            if running.process is None and now >= running.again_at and not self._signals:
                self._start(running)

    def _died(self, running: _Running, code: int, now: float) -> None:
        if running.process is not None:
            _let_go(running.process)
        running.process, running.before = None, code
        if running.ends_by < math.inf:
            running.ends_by, running.again_at = math.inf, now
            self.say(f"{running.child.name} was ended, to be renewed")
            return
        lived = now - running.born > _GOOD_LIFE
        running.served = running.served or lived
        if code == MISCONFIGURED and not running.served:
            self.say(f"{running.child.name} refuses to start; see its words above")
            self._exit_code = code
            self._signals.append(signal.SIGTERM)
            return
        if lived:
            running.deaths = 0
        wait = min(_FIRST_WAIT * 2 ** (running.deaths - 1), _LONGEST_WAIT) if running.deaths else 0
        running.deaths += 1
        running.again_at = now + wait
        how = f"signal {-code}" if code < 0 else f"code {code}"
        self.say(f"{running.child.name} ended with {how}; starting it again")

    # Renewal

    def _ask_renewal(self) -> None:
        self._asked += 1

    def _renew(self) -> None:
        """Bring the renewal on by what has happened since the last look."""
        now = time.monotonic()
        in_round = bool(self._turns or self._successor or self._leaving)
        if self._heard != self._asked:
            self._heard = self._asked
            places = [r for r in self._running if r.child.listens]
            self._turns.extend(r for r in places if r not in self._turns)
            self._outdated = True
        # Once in a round: who asks without end would else have one that never comes up.
        if self._outdated and not in_round:
            self._outdated = False
            self._end_what_holds_nothing(now)
        for running in self._running:
            if running.process is not None and now >= running.ends_by:
                running.process.kill()
        for leaving in list(self._leaving):
            if leaving.process.poll() is not None:
                _let_go(leaving.process)
                self._leaving.remove(leaving)
            elif now >= leaving.until:
                leaving.process.kill()
        if (successor := self._successor) is not None:
            self._look_at(successor, now)
        elif self._turns and not self._leaving:
            self._start_successor(self._turns.popleft(), now)

    def _end_what_holds_nothing(self, now: float) -> None:
        for running in self._running:
            if running.child.holds_nothing and running.process is not None:
                running.process.terminate()
                running.ends_by = now + _ENDS_WITHIN

    def _start_successor(self, place: _Running, now: float) -> None:
        if place.process is None:
            return  # it is dead, and started anew by `_look`
        ready, tells = os.pipe()
        process = self._spawn(place.child, ready=tells)
        os.close(tells)
        self._successor = _Successor(place, process, ready, now)

    def _look_at(self, successor: _Successor, now: float) -> None:
        readable, _, _ = select.select([successor.ready], [], [], 0)
        if not readable and now - successor.born < _READY_WITHIN:
            return
        ready = bool(readable and os.read(successor.ready, 1))
        os.close(successor.ready)
        self._successor = None
        place = successor.place
        name = place.child.name
        if not ready:
            successor.process.kill()
            successor.process.wait()
            _let_go(successor.process)
            self._turns.clear()
            self.say(f"the successor of {name} does not come up; nothing more is renewed")
            return
        if place.process is not None:
            place.process.terminate()
            self._leaving.append(_Leaving(place.process, now + self.drain_s + 1))
        place.process, place.born, place.deaths = successor.process, successor.born, 0
        self.say(f"{name} was renewed")

    # The end

    def _stop(self) -> None:
        """Gateways first, each with time to finish; then the rest."""
        first = [r.process for r in self._running if r.child.listens]
        first += [leaving.process for leaving in self._leaving]
        if self._successor is not None:
            first.append(self._successor.process)
        rest = [r.process for r in self._running if not r.child.listens]
        self.socket.close()
        self._end(first, self.drain_s + 1)
        self._end(rest, _STOP_AT_LAST)

    @staticmethod
    def _end(group: "Sequence[subprocess.Popen[bytes] | None]", patience: float) -> None:
        processes = [each for each in group if each is not None and each.poll() is None]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + patience
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _memory() -> int:
    """Return a descriptor of memory that has no name; where there is none, of such a file."""
    if sys.platform == "linux":
        return os.memfd_create("headway")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _let_go(process: "subprocess.Popen[bytes]") -> None:
    """Close the life-line of a process that is dead."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()


def children(gateways: int) -> tuple[Child, ...]:
    """Return the tree of one machine; control first, since it is the slowest to start."""
    return (
        Child("control", ("control",), not_told=(_PROVIDERS,), told=_FEW_ARENAS),
        Child(
            "scribe",
            ("scribe",),
            holds_nothing=True,
            not_told=(_PROVIDERS, *_OF_CONTROL, _ROOT_KEY),
            told=_FEW_ARENAS,
        ),
        *(
            Child(
                f"gateway {number}",
                ("gateway", "--number", str(number)),
                listens=True,
                not_told=(*_OF_CONTROL, _DATABASE),
                told=_KEPT_MEMORY,
            )
            for number in range(1, gateways + 1)
        ),
        # It runs what others trained: it knows no secret at all.
        Child(
            "runner",
            ("runner",),
            not_told=(_PROVIDERS, *_OF_CONTROL, _ROOT_KEY, _DATABASE, "HEADWAY_KEY"),
        ),
    )


def become_supervisor(
    sock: socket.socket, *, gateways: int, drain_s: float, life_line: int | None
) -> NoReturn:
    """Replace this process by a small one that supervises: the settings are read, and not kept.

    Who tells us something meanwhile is heard as soon as the new one can listen.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (*_ENDS_US, _RENEWS))
    settings = {
        "socket_fd": sock.fileno(),
        "gateways": gateways,
        "drain_s": drain_s,
        "life_line": life_line,
    }
    words = ["-P", "-m", "headway.supervisor", json.dumps(settings)]
    os.execv(sys.executable, [sys.executable, *words])  # noqa: S606 - our own interpreter, our own words


def main() -> None:
    """Supervise, as `become_supervisor` says."""
    settings = json.loads(sys.argv[1])
    # What a process holds in memory are keys and prompts: none of it is left in a core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def say(words: str) -> None:
        sys.stderr.write(f"headway: {words}\n")
        sys.stderr.flush()

    supervisor = Supervisor(
        children=children(settings["gateways"]),
        socket=socket.socket(fileno=settings["socket_fd"]),
        shared={"hop_secret": secrets.token_urlsafe(32)},
        environment=os.environ | {"HEADWAY_SUPERVISED": "1"},
        memory=_memory(),
        drain_s=settings["drain_s"],
        say=say,
        life_line=settings["life_line"],
    )
    sys.exit(supervisor.run())


if __name__ == "__main__":
    main()
