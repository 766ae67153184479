"""The gateway process: the engine on the inherited socket, and a thread for the scribe."""

import asyncio
import gc
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from headway.adapters.outbound import Secrets
from headway.adapters.scribe.client import ScribeBySocket
from headway.adapters.sisters import SistersByMemory
from headway.auth.key import digester
from headway.auth.rootkey import Purpose, RootKey
from headway.gateway.accumulator import Accumulator
from headway.gateway.exchange import Prepared, Release
from headway.gateway.flush import POLL_SECONDS, Reporter
from headway.gateway.limits import Addresses, Guards
from headway.gateway.own import Health
from headway.gateway.passing import Passing
from headway.gateway.pipeline import Pipeline
from headway.gateway.ports import Around, Provider
from headway.gateway.service import Gateway
from headway.gateway.spending import NoSisters, Sisters
from headway.gateway.view import Compiler, View, ViewFile
from headway.kernel.clock import utc_now
from headway.kernel.errors import Unsupported
from headway.kernel.ids import new_id
from headway.registry.target import LocalTarget
from headway.tracking.stamp import Stamper
from headway.wire.connection import ServerLimits
from headway.wire.loop import run as run_loop
from headway.wire.origin import Origin
from headway.wire.server import Server, serve
from headway.wire.upstream import Pool
from headway.wiring import plugins
from headway.wiring.folders import listen, private_folder
from headway.wiring.lifeline import Shared, follow_the_supervisor, read_shared, tell_ready
from headway.wiring.logs import LateLog, configure_libraries
from headway.wiring.options import GatewayOptions
from headway.wiring.outbound import outbound

T = TypeVar("T")
_STARTS_BESIDE: Final = 2.0
"""Seconds that a gateway waits for the scribe, before it serves the routes that it has kept."""
_LAST_FLUSH: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Prepare:
    """Finds the provider of a version and has it made ready."""

    providers: Mapping[str, Provider]
    around: Around

    def __call__(self, release: Release) -> Prepared:
        target = release.target
        name = "local" if isinstance(target, LocalTarget) else target.provider
        provider = self.providers.get(name)
        if provider is None:
            raise Unsupported(f"no plug-in called {name!r} is installed on this gateway")
        return provider.prepare(release, self.around)


def run(options: GatewayOptions, *, number: int) -> None:
    """Serve until SIGTERM."""
    shared = read_shared()
    follow_the_supervisor(shared)
    configure_libraries()
    private_folder(options.run_folder)
    root_key = options.root_key()
    scribe = ScribeBySocket(options.scribe_socket)
    scribe.await_it(_STARTS_BESIDE)
    log = LateLog("gateway", options.log_level)
    shared = shared.known_to(root_key)
    run_loop(_Process(options, shared, root_key, scribe, log, number).serve())


@dataclass(frozen=True, slots=True)
class _Process:
    options: GatewayOptions
    shared: Shared
    root_key: RootKey
    scribe: ScribeBySocket
    log: LateLog
    number: int
    """Among its sisters on this machine; the store gives each start a number of its own."""

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        pipeline, gateway, reporter = self._build(loop)
        reporter.start()
        stop = threading.Event()
        # Made and started before the socket is served: the first request finds a view.
        thread = threading.Thread(
            target=reporter.run, args=(stop, time.monotonic), name="reporter", daemon=True
        )
        thread.start()
        server = await serve(
            self._socket(),
            gateway,
            ServerLimits(connections=self.options.connections),
            error_body=gateway.error_body,
            clock=time.monotonic,
        )
        server.on_sweep(gateway.sweep)
        server.on_sweep(pipeline.pool.sweep)
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 50, 50)
        ready = loop.create_task(self._announce(pipeline))
        await self._until_told(loop, server)
        ready.cancel()
        pipeline.leave_behind()
        stop.set()
        await asyncio.to_thread(thread.join, _LAST_FLUSH)
        await pipeline.pool.close()

    async def _announce(self, pipeline: Pipeline) -> None:
        """Tell the supervisor when requests can be answered: there are routes to answer by."""
        while pipeline.view.generation < 0:  # noqa: ASYNC110 - a thread brings it: no event
            await asyncio.sleep(POLL_SECONDS)
        tell_ready(self.shared)

    async def _until_told(self, loop: asyncio.AbstractEventLoop, server: Server) -> None:
        ended = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, ended.set)
        await ended.wait()
        await server.drain(self.options.drain_s)

    def _build(self, loop: asyncio.AbstractEventLoop) -> tuple[Pipeline, Gateway, Reporter]:
        options, root_key = self.options, self.root_key
        runner = options.runner_socket
        compiler = Compiler(
            prepare=_Prepare(
                {provider.name: provider for provider in _providers()},
                Around(Secrets(os.environ).value, str(runner)),
            ),
            pin_key=root_key.sub_key(Purpose.SEAL),
        )
        guard = outbound(
            host=options.host,
            port=options.port,
            allow=options.outbound_allow,
            ca=options.outbound_ca,
        )
        accumulator = Accumulator()
        guards = Guards(accumulator, utc_now)
        pipeline = Pipeline(
            pool=Pool(connect=guard.connect, clock=time.monotonic),
            accumulator=accumulator,
            stamper=Stamper(root_key.sub_key(Purpose.STAMP)),
            compiler=compiler,
            guards=guards,
            digest=digester(root_key.sub_key(Purpose.KEY_HASH)),
            clock=utc_now,
            monotonic=time.monotonic,
            later=loop.call_later,
            report=self._report,
            access=self._access if options.log_level == "debug" else None,
            hop_secret=self.shared.hop_secret,
            check_secret=root_key.sub_key(Purpose.ASK).hex(),
            environment=options.environment,
            body_limit=options.body_limit,
            addresses=Addresses(options.trusted_proxies),
            sisters=self._sisters(),
        )
        reporter: Reporter
        control = Origin("unix", str(options.control_socket))

        def adopt(view: View) -> None:
            guards.number = reporter.number
            gateway.adopt(view)

        reporter = Reporter(
            scribe=self.scribe,
            accumulator=accumulator,
            compiler=compiler,
            deliver=lambda view: _hand(loop, adopt, view),
            applied=lambda: gateway.applied_generation,
            hear=lambda others: _hand(loop, pipeline.spending.told, others),
            boot=new_id("gw"),
            host=socket.gethostname(),
            pid=os.getpid(),
            clock=utc_now,
            log=self._told,
            file=ViewFile(options.view_file),
            starts=self.number,
            new_boot=lambda: new_id("gw"),
        )
        health = Health(
            pipeline,
            parts={
                "control": (control, "/controlz"),
                "runner": (Origin("unix", str(runner)), "/v2/health/ready"),
            },
            database=reporter.state,
            space=lambda: shutil.disk_usage(options.data).free,
        )
        passing = Passing(
            pipeline.pool,
            socket_path=str(options.control_socket),
            hop_secret=self.shared.hop_secret,
        )
        gateway = Gateway(pipeline, passing, health)
        return pipeline, gateway, reporter

    def _told(self, what: str, circumstances: Mapping[str, Any]) -> None:
        where = str(circumstances.get("what", ""))
        self.log.warning(what, where=where, detail=str(dict(circumstances)))

    def _access(self, fields: Mapping[str, object]) -> None:
        self.log.debug("request", **fields)

    def _report(self, error: Exception) -> None:
        kind = type(error).__name__
        self.log.error("a fault of our own", error=kind, detail=str(error)[:300])

    def _sisters(self) -> Sisters:
        memory = self.shared.memory_fd
        return NoSisters() if memory is None else SistersByMemory(memory)

    def _socket(self) -> socket.socket:
        if self.shared.socket_fd is not None:
            return socket.socket(fileno=self.shared.socket_fd)
        return listen(self.options.host, self.options.port)


def _hand(loop: asyncio.AbstractEventLoop, take: Callable[[T], None], what: T) -> None:
    """Hand something to the loop's thread; before the loop turns, it is this very thread."""
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if running is loop:
        take(what)
    else:
        loop.call_soon_threadsafe(take, what)


def _providers() -> list[Provider]:
    return [made() for made in plugins.load("providers").values()]
