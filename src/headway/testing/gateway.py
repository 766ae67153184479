"""A whole gateway on a loopback port, in a thread, fed with documents instead of a database.

with RunningGateway(prepare=…) as gateway:
    gateway.adopt(document(gateway, {"bot": target}))
    OpenAI(base_url=gateway.url + "/v1", api_key=gateway.key)
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self

from headway.auth.key import Digester, Secret, digester
from headway.gateway.accumulator import Accumulator
from headway.gateway.exchange import Prepared, Release
from headway.gateway.limits import Guards
from headway.gateway.own import Health
from headway.gateway.passing import Passing
from headway.gateway.pipeline import Pipeline
from headway.gateway.service import Gateway
from headway.gateway.view import Compiler
from headway.kernel.canonical import Json, digest
from headway.kernel.clock import Clock, utc_now
from headway.routing.route import Arm, Epoch, Guard, Role, Route, Rule, Segment
from headway.tracking.measurement import Batch, Measurement
from headway.tracking.stamp import Stamper
from headway.wire.connection import ServerLimits
from headway.wire.loop import loop_factory
from headway.wire.origin import Connector, Origin
from headway.wire.server import Server, serve
from headway.wire.upstream import Pool

CHECK_SECRET: Final = "what-control-shows"  # noqa: S105 - of nothing but tests
HOP_SECRET: Final = "hop-secret-of-this-start"  # noqa: S105 - of nothing but tests
_STAMP_KEY: Final = b"stamp key for tests only"
_KEY_HASH: Final = b"key hash for tests only"


class RunningGateway:
    """Use it in a `with`. What it saw is taken with `taken`."""

    def __init__(
        self,
        *,
        prepare: Callable[[Release], Prepared],
        connect: Connector | None = None,
        control: str = "/nowhere/control.sock",
        runner: str = "",
        limits: ServerLimits | None = None,
        plain: bool = False,
        environment: str = "production",
        pipeline_options: Mapping[str, Any] | None = None,
    ) -> None:
        """`prepare` makes versions ready; `plain` runs asyncio's own loop instead of uvloop."""
        self.secret = Secret.generate()
        self.digest: Digester = digester(_KEY_HASH)
        self.stamper = Stamper(_STAMP_KEY)
        self.compiler = Compiler(prepare, b"pin key for tests")
        self.clock: Clock = utc_now
        """Milliseconds UTC; what it is set to counts from then on."""
        self.accumulator = Accumulator()
        self.gateway: Gateway
        self.server: Server
        self.port = 0
        self.free_bytes = 1 << 40
        self.faults: list[Exception] = []
        """What was reported as a fault of the gateway itself."""
        self._connect = connect
        self._control = control
        self._runner = runner
        self._limits = limits
        self._environment = environment
        self._options = pipeline_options or {}
        self._plain = plain
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self._ready = threading.Event()
        self._seq = 0

    @property
    def key(self) -> str:
        """Return the key of an admin, which every document of `document` holds."""
        return self.secret.text

    @property
    def url(self) -> str:
        """Return where it listens, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._loop = loop_factory(plain=self._plain)()
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def adopt(self, document: Mapping[str, Any]) -> None:
        """Compile a document and swap the view; back when it is answered by."""
        view = self.compiler.compile(document)
        self.on_loop(lambda: self.gateway.adopt(view))

    def on_loop(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        """Do something on the gateway's thread, and return what it returned."""
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as failure:  # noqa: BLE001 - it belongs to who asked
                done.set_exception(failure)

        self._loop.call_soon_threadsafe(run)
        return done.result(10)

    def taken(self) -> Batch:
        """Take what was seen since the last time."""

        def take() -> Batch:
            self._seq += 1
            return self.accumulator.freeze("boot", self._seq, self.gateway.applied_generation)

        batch: Batch = self.on_loop(take)
        return batch

    def outcomes(self) -> dict[str, dict[str, int]]:
        """Take what was seen, as outcomes by version."""
        found: dict[str, dict[str, int]] = {}
        for measurement in self.taken().measurements:
            _add(found.setdefault(measurement.version, {}), measurement)
        return found

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.close()

    async def _start(self) -> None:
        loop = self._loop
        pool = self._pool = Pool(connect=self._connect, clock=loop.time)
        pipeline = Pipeline(
            pool=pool,
            accumulator=self.accumulator,
            stamper=self.stamper,
            compiler=self.compiler,
            guards=Guards(self.accumulator, utc_now),
            digest=self.digest,
            clock=lambda: self.clock(),  # noqa: PLW0108 - it may be set to another
            monotonic=loop.time,
            later=loop.call_later,
            report=self.faults.append,
            hop_secret=HOP_SECRET,
            check_secret=CHECK_SECRET,
            environment=self._environment,
            **self._options,
        )
        parts = {"control": (Origin("unix", self._control), "/controlz")}
        if self._runner:
            parts["runner"] = (Origin("unix", self._runner), "/v2/health/ready")
        self.gateway = Gateway(
            pipeline,
            Passing(pool, socket_path=self._control, hop_secret=HOP_SECRET),
            Health(
                pipeline,
                parts=parts,
                database=lambda: {"ok": True},
                space=lambda: self.free_bytes,
            ),
        )
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        self.server = await serve(
            sock, self.gateway, self._limits, error_body=self.gateway.error_body
        )
        self.server.on_sweep(pool.sweep)
        self.server.on_sweep(self.gateway.sweep)

    async def _close(self) -> None:
        await self.server.close()
        await self._pool.close()


def _add(outcomes: dict[str, int], measurement: Measurement) -> None:
    for outcome, n in measurement.outcomes.items():
        outcomes[outcome] = outcomes.get(outcome, 0) + n


def key_entry(
    text: str,
    digest_of: Digester,
    *,
    role: str = "admin",
    models: Sequence[str] = ("*",),
    environments: Sequence[str] = ("*",),
    expires_at: int | None = None,
    paths: Sequence[str] = ("*",),
    limits: Mapping[str, int] | None = None,
) -> dict[str, Json]:
    """Return a key as documents hold it."""
    return {
        "digest": digest_of(text),
        "id": text[3:11],
        "name": "test",
        "role": role,
        "models": list(models),
        "environments": list(environments),
        "paths": list(paths),
        "limits": dict(limits or {}),
        "expires_at": expires_at,
    }


def route_of(
    model: str,
    arms: Sequence[tuple[str, str, int]],
    *,
    environment: str = "production",
    revision: int = 1,
    epoch: Epoch | None = None,
    guards: Sequence[Guard] = (),
    **more: Any,  # noqa: ANN401 - fields of `Route`
) -> Route:
    """Return a route with one rule; `arms` are (role, version, share in basis points)."""
    made = tuple(Arm(role, version, f"sha256:{version}", Role(role)) for role, version, _ in arms)
    segments = tuple(Segment(role, share) for role, _, share in arms if share)
    return Route(
        model=model,
        environment=environment,
        rules=(Rule(made, segments),),
        salt=more.pop("salt", "salt"),
        revision=revision,
        id=more.pop("id", revision),
        epoch=epoch,
        guards=tuple(guards),
        **more,
    )


def document(
    *,
    keys: Sequence[Mapping[str, Json]],
    versions: Mapping[tuple[str, str], Mapping[str, Json]],
    routes: Sequence[Route],
    aliases: Mapping[tuple[str, str], str] | None = None,
    states: Mapping[tuple[str, str], str] | None = None,
    names: Mapping[str, str] | None = None,
    prices: Mapping[tuple[str, str], Sequence[Json]] | None = None,
    generation: int = 1,
) -> dict[str, Json]:
    """Return what gateways read; `versions` are targets by (model, version), prices likewise."""
    states, prices = states or {}, prices or {}
    return {
        "generation": generation,
        "at": utc_now(),
        "keys": list(keys),
        "routes": [
            {
                "id": route.id,
                "model": route.model,
                "environment": route.environment,
                "revision": route.revision,
                "declared": route.declared(),
                "epoch": route.epoch.document() if route.epoch else None,
                "guards": [guard.document() for guard in route.guards],
            }
            for route in routes
        ],
        "versions": [
            {
                "model": model,
                "version": version,
                "digest": digest(target),
                "state": states.get((model, version), "active"),
                "target": target,
                "prices": list(prices.get((model, version), ())),
            }
            for (model, version), target in versions.items()
        ],
        "aliases": [
            {"model": model, "alias": alias, "version": version}
            for (model, alias), version in (aliases or {}).items()
        ],
        "names": [{"name": name, "model": model} for name, model in (names or {}).items()],
    }
