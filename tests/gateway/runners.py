"""Our own runner with real models: on a unix socket for a gateway, on TCP for strangers."""

import asyncio
import socket
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from onnx import TensorProto, helper

from headway.adapters.runtimes.onnx import OnnxRuntime
from headway.kernel.errors import NotFound
from headway.runner.blackbox import BlackBox, Suspects
from headway.runner.cache import Cache
from headway.runner.server import Runner
from headway.wire.server import serve


def scaled(factor: float) -> bytes:
    """Return a model: `y` is `x` times a factor, `words` and `ok` come back as they are."""
    names = [("x", TensorProto.FLOAT), ("words", TensorProto.STRING), ("ok", TensorProto.BOOL)]
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "factor"], ["y"]),
            helper.make_node("Identity", ["words"], ["said"]),
            helper.make_node("Identity", ["ok"], ["fine"]),
        ],
        "scaled",
        [helper.make_tensor_value_info(name, kind, [None, 2]) for name, kind in names],
        [
            helper.make_tensor_value_info(name, kind, [None, 2])
            for name, (_, kind) in zip(("y", "said", "fine"), names, strict=True)
        ],
        [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


class RunningRunner:
    """Use it in a `with`. Models are kept with `add`, which returns their digest."""

    def __init__(self, path: str = "") -> None:
        """`path`: listen on a unix socket there, else on TCP, at `port`."""
        self.port = 0
        self._path = path
        self._models: dict[str, bytes] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="runner", daemon=True)

    def add(self, model: bytes) -> str:
        digest = f"sha256:{sha256(model).hexdigest()}"
        self._models[digest] = model
        return digest

    def read(self, digest: str) -> bytes:
        """Return a model's bytes (`runner.ports.Store`)."""
        if digest not in self._models:
            raise NotFound(f"there is no artifact {digest}")
        return self._models[digest]

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            work = stack.enter_context(ThreadPoolExecutor(1))
            loads = stack.enter_context(ThreadPoolExecutor(1))
            blackbox = BlackBox(
                folder, clock=lambda: 0, monotonic=lambda: 0.0, suspects=Suspects.NONE
            )
            cache = Cache(
                store=self, runtimes={"onnx": OnnxRuntime}, limit=1 << 30, blackbox=blackbox
            )
            sock = socket.socket(socket.AF_UNIX if self._path else socket.AF_INET)
            sock.bind(self._path or ("127.0.0.1", 0))
            if not self._path:
                self.port = sock.getsockname()[1]
            runner = Runner(
                cache=cache, blackbox=blackbox, work=work, loads=loads, body_limit=32 << 20
            )
            server = await serve(sock, runner)
            self._ready.set()
            await self._ended.wait()
            await server.drain(1)
