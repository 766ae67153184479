"""The runner over its socket: who waits for what, and what is not done for callers that left."""

import asyncio
import json
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from headway.artifacts.artifact import Corrupt
from headway.runner.blackbox import BlackBox, Suspects
from headway.runner.cache import Cache
from headway.runner.ports import CannotLoad, OutOfTime, Stop, Tensor, TensorSpec
from headway.runner.server import Runner
from headway.wire.loop import run as run_on
from headway.wire.server import serve

INFER = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
).encode()


@dataclass
class Scripted:
    """A runtime and its models: `slow` ones are loaded when told, `endless` ones never end."""

    may_load: threading.Event = field(default_factory=threading.Event)
    loads: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    running: threading.Event = field(default_factory=threading.Event)
    ended: int = 0
    """How many were stopped."""

    def load(self, model: bytes) -> "Session":
        name = model.decode()
        self.loads[name] += 1
        if name == "broken":
            raise CannotLoad("it is no model")
        if name.startswith("slow"):
            assert self.may_load.wait(10)
        return Session(name, self)

    def read(self, digest: str) -> bytes:
        if digest == "sha256:flipped":
            raise Corrupt("the bytes are others")
        return digest.removeprefix("sha256:").encode()


@dataclass
class Session:
    name: str
    script: Scripted
    memory: int = 1
    inputs: tuple[TensorSpec, ...] = (TensorSpec("x", "FP32", (1,)),)
    outputs: tuple[TensorSpec, ...] = (TensorSpec("y", "FP32", (1,)),)

    def run(
        self, inputs: Sequence[Tensor], outputs: Sequence[str], stop: Stop
    ) -> Sequence[Tensor]:
        del inputs, outputs
        self.script.runs[self.name] += 1
        if self.name == "endless":
            ended = threading.Event()
            stop.when_asked(ended.set)
            self.script.running.set()
            assert ended.wait(10), "nobody stopped it"
            self.script.ended += 1
            raise OutOfTime("it was stopped")
        return [Tensor("y", "FP32", (1,), [2.0])]


@dataclass
class Peer:
    """Speaks to the runner, one connection for each request."""

    path: Path

    async def begin(self, model: str, *, patience: int = 0) -> asyncio.StreamWriter:
        """Send a request for inference and wait for nothing."""
        _, writer = await self._send(
            "POST", f"/v2/models/{model}/infer", INFER, more=_patience(patience)
        )
        return writer

    async def ask(self, method: str, target: str, body: bytes = b"", *, patience: int = 0) -> int:
        """Return the status of the answer."""
        reader, writer = await self._send(method, target, body, more=_patience(patience))
        status = int((await reader.readline()).split()[1])
        await hang_up(writer)
        return status

    async def infer(self, model: str, *, patience: int = 0) -> int:
        return await self.ask("POST", f"/v2/models/{model}/infer", INFER, patience=patience)

    async def heard(self, method: str, target: str, body: bytes, more: str = "") -> bytes:
        """Return a whole answer, its head and its body."""
        more += "Connection: close\r\n"
        reader, writer = await self._send(method, target, body, more=more)
        answer = await reader.read()
        await hang_up(writer)
        return answer

    async def _send(
        self, method: str, target: str, body: bytes, more: str = ""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(self.path)
        head = f"{method} {target} HTTP/1.1\r\nHost: runner\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}{more}\r\n".encode() + body)
        await writer.drain()
        return reader, writer


def _patience(milliseconds: int) -> str:
    """Write how long the version has; 0: nobody says."""
    return f"Headway-Patience-Ms: {milliseconds}\r\n" if milliseconds else ""


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


Story = Callable[[Peer], Awaitable[None]]


def with_a_runner(tmp_path: Path, script: Scripted, story: Story) -> None:
    """Tell a story to a runner in which one model runs, and two load, at a time."""
    blackbox = BlackBox(tmp_path, clock=lambda: 0, monotonic=lambda: 0.0, suspects=Suspects.NONE)
    cache = Cache(
        store=script,
        runtimes={"onnx": lambda: script},
        limit=100,
        blackbox=blackbox,
        monotonic=partial(next, count()),
    )

    async def told() -> None:
        path = tmp_path / "s"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        sock.listen()
        with ThreadPoolExecutor(1) as work, ThreadPoolExecutor(2) as loads:
            runner = Runner(
                cache=cache, blackbox=blackbox, work=work, loads=loads, body_limit=1 << 20
            )
            server = await serve(sock, runner)
            try:
                async with asyncio.timeout(20):
                    await story(Peer(path))
            finally:
                script.may_load.set()
                await server.drain(1)

    run_on(told())


def test_nothing_is_run_for_a_caller_that_left_while_it_waited(tmp_path: Path) -> None:
    script = Scripted()

    async def story(peer: Peer) -> None:
        running = await peer.begin("endless")
        await asyncio.to_thread(script.running.wait, 10)
        waiting = await peer.begin("endless")
        assert await peer.ask("GET", "/v2/health/live") == 200  # it waits behind the first now
        await hang_up(waiting)
        assert await peer.ask("GET", "/v2/health/live") == 200
        await hang_up(running)
        assert await peer.infer("quick") == 200

    with_a_runner(tmp_path, script, story)

    assert script.runs == {"endless": 1, "quick": 1}


def test_many_who_wait_for_one_model_keep_no_other_from_being_loaded(tmp_path: Path) -> None:
    script = Scripted()

    async def story(peer: Peer) -> None:
        patient = [asyncio.create_task(peer.infer("slow")) for _ in range(5)]
        patient.append(asyncio.create_task(peer.ask("GET", "/v2/models/slow")))
        assert await peer.ask("GET", "/v2/health/live") == 200
        assert await peer.infer("quick") == 200
        script.may_load.set()
        assert await asyncio.gather(*patient) == [200] * 6

    with_a_runner(tmp_path, script, story)

    assert script.loads == {"slow": 1, "quick": 1}


def test_whoever_waits_behind_a_slow_model_for_too_long_is_given_back(
    tmp_path: Path,
) -> None:
    script = Scripted()

    async def story(peer: Peer) -> None:
        running = await peer.begin("endless", patience=30_000)
        await asyncio.to_thread(script.running.wait, 10)
        assert await peer.infer("quick", patience=200) == 503
        assert script.ended == 0
        await hang_up(running)
        assert await peer.infer("quick", patience=5_000) == 200

    with_a_runner(tmp_path, script, story)

    assert script.runs == {"endless": 1, "quick": 1}


def test_a_model_is_stopped_when_the_time_of_its_version_is_over(tmp_path: Path) -> None:
    script = Scripted()

    async def story(peer: Peer) -> None:
        target, more = "/v2/models/endless/infer", "Headway-Patience-Ms: 300\r\n"
        answer = (await peer.heard("POST", target, INFER, more)).lower()
        assert answer.startswith(b"http/1.1 504 ")
        assert b"\r\nheadway-outcome: version\r\n" in answer
        assert await peer.infer("quick") == 200

    with_a_runner(tmp_path, script, story)

    assert script.ended == 1


def test_whoever_waits_for_a_model_to_be_loaded_for_too_long_is_given_back(
    tmp_path: Path,
) -> None:
    script = Scripted()

    async def story(peer: Peer) -> None:
        assert await peer.infer("slow", patience=100) == 503
        script.may_load.set()
        assert await peer.infer("slow", patience=5_000) == 200

    with_a_runner(tmp_path, script, story)

    assert script.loads == {"slow": 1}


def test_a_model_that_cannot_be_loaded_is_not_tried_for_each_request(tmp_path: Path) -> None:
    script = Scripted()

    async def story(peer: Peer) -> None:
        assert [await peer.infer("broken") for _ in range(5)] == [500] * 5
        assert script.loads == {"broken": 1}
        assert await peer.ask("POST", "/v2/repository/models/broken/load") == 500
        assert script.loads == {"broken": 2}

    with_a_runner(tmp_path, script, story)


@pytest.mark.parametrize("patience", ["", "soon", "-1", "9" * 13])
def test_time_that_nobody_understands_is_no_limit(tmp_path: Path, patience: str) -> None:
    async def story(peer: Peer) -> None:
        target, more = "/v2/models/quick/infer", f"Headway-Patience-Ms: {patience}\r\n"
        assert (await peer.heard("POST", target, INFER, more)).startswith(b"HTTP/1.1 200 ")

    with_a_runner(tmp_path, Scripted(), story)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v2", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v2/models/quick/ready", 503),
        ("POST", "/v2/repository/models/quick/load", 200),
        ("GET", "/v2/models/quick", 200),
        ("GET", "/v2/models/quick/infer", 404),
        ("POST", "/v2/models/quick/infer", 400),
        ("GET", "/elsewhere", 404),
    ],
)
def test_what_the_runner_can_be_asked(
    tmp_path: Path, method: str, target: str, status: int
) -> None:
    async def story(peer: Peer) -> None:
        assert await peer.ask(method, target, b"{}") == status

    with_a_runner(tmp_path, Scripted(), story)


def test_bytes_that_changed_are_refused_with_a_reason_and_told_once(tmp_path: Path) -> None:
    async def story(peer: Peer) -> None:
        for target in ("/v2/models/flipped/infer", "/v2/repository/models/flipped/load"):
            refused = (await peer.heard("POST", target, INFER)).lower()
            assert refused.startswith(b"http/1.1 500 ")
            assert b"\r\nheadway-outcome: version\r\n" in refused
            assert b"\r\nheadway-reason: corrupt\r\n" in refused
        for told in (["sha256:flipped"], []):
            answer = await peer.heard("POST", "/v2/repository/pins", b'{"digests": []}')
            assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"corrupt": told}

    with_a_runner(tmp_path, Scripted(), story)
