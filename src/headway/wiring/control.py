"""The control plane: its services on one database, its server, its loops."""

import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from flask import Blueprint, Flask

from headway.adapters import published
from headway.adapters.carriers import Carriers, ThroughGateway
from headway.adapters.notifiers.webhook import Webhook
from headway.adapters.outbound import Audience, Outbound
from headway.adapters.runners import Runners
from headway.artifacts.artifact import corrupt_words
from headway.artifacts.service import ArtifactService
from headway.auth.key import digester
from headway.auth.rootkey import Purpose, RootKey
from headway.auth.service import KeyService
from headway.auth.session_service import SessionService
from headway.deployments.reconciler import Reconciler
from headway.deployments.rollback_service import RollbackService
from headway.deployments.service import DeploymentService
from headway.kernel.batches import Batches
from headway.kernel.clock import DAY, SECOND, utc_now
from headway.kernel.errors import Refused
from headway.kernel.ids import new_id
from headway.outbox.answer import KEPT
from headway.outbox.courier import Courier
from headway.outbox.history import HistoryService
from headway.persistence.engine import Database, checkpoint
from headway.persistence.schema import Schema, check_schema
from headway.registry.service import RegistryService
from headway.routing.service import RoutingService
from headway.services import Services
from headway.settings import Settings
from headway.snapshots.service import SnapshotService
from headway.tracking.feedback import FeedbackService
from headway.tracking.price_service import PriceService
from headway.tracking.served import ServedBy
from headway.tracking.service import TrackingService
from headway.tracking.stamp import Stamper
from headway.web.dashboard import PAGES
from headway.web.transaction import Joined
from headway.wiring import plugins
from headway.wiring.database import Begin, beginner, open_settled, upgrade_apart, verify_root_key
from headway.wiring.folders import LONGEST_SOCKET, private_folder
from headway.wiring.lifeline import Shared, follow_the_supervisor, read_shared
from headway.wiring.logs import configure
from headway.wiring.loops import Loops
from headway.wiring.outbound import outbound
from headway.wiring.pins import Pins
from headway.wiring.rootkey import load_root_key
from headway.wiring.server import server_of

_NICENESS: Final = 10
_RECONCILE: Final = 0.25
_CARRY: Final = 0.25
_TEND: Final = 10.0
_LOOK_UP: Final = 5.0
_SERVED_BY: Final = 30.0
_LOOK_AT_RUNNERS: Final = 0.25
_CHECKPOINT: Final = 15.0
_UPKEEP: Final = 60.0
_SWEEP: Final = 3600.0
_BROKEN_STORAGE: Final = 74
"""Exit code (EX_IOERR): the disk failed; only a fresh process with fresh connections goes on."""


class CreateApp(Protocol):
    """Makes the WSGI application; handed in, since it stands above."""

    def __call__(
        self,
        services: Services,
        *,
        hop_secret: str | None,
        trusted_hosts: Sequence[str] | None,
        metrics_token: str | None,
        pages: Sequence[Blueprint],
    ) -> Flask: ...


@dataclass(frozen=True, slots=True)
class Control:
    """Everything that the control process is made of."""

    services: Services
    reconciler: Reconciler
    courier: Courier
    served_by: ServedBy
    runners: Runners
    begin: Begin
    database: Database


def build(settings: Settings, root_key: RootKey, database: Database) -> Control:
    """Make the services; nothing is started."""
    begin = beginner(database)
    look = beginner(database, read_only=True)
    joined = Joined(begin, look)
    guard = outbound(
        host=settings.host,
        port=settings.port,
        allow=settings.outbound_allow,
        ca=settings.outbound_ca,
    )
    runners = Runners(_runner_sockets(settings))
    checks: Mapping[str, Any] = plugins.load("checks")
    stamper = Stamper(root_key.sub_key(Purpose.STAMP))
    snapshots = SnapshotService(joined, utc_now, new_id)
    secret = settings.webhook_secret
    services = Services(
        registry=RegistryService(
            joined,
            utc_now,
            describe=runners.describe,
            check_url=lambda url, pointer: guard.check_url(url, pointer=pointer),
        ),
        artifacts=ArtifactService(
            joined,
            plugins.store("local", settings.data / "artifacts"),
            utc_now,
            limit=settings.upload_limit,
        ),
        keys=KeyService(joined, utc_now, digester(root_key.sub_key(Purpose.KEY_HASH))),
        sessions=SessionService(joined, utc_now, digester(root_key.sub_key(Purpose.SESSION))),
        deployments=DeploymentService(
            joined,
            plugins.load("strategies"),
            checks,
            check_webhook=partial(_webhook, guard),
        ),
        rollbacks=RollbackService(joined, checks),
        routing=RoutingService(joined, utc_now, new_id, stamper.read, snapshots.keep),
        snapshots=snapshots,
        tracking=TrackingService(joined, utc_now, keep=settings.keep_minutes_s * SECOND),
        feedback=FeedbackService(joined, stamper, window=settings.feedback_window_s * SECOND),
        prices=PriceService(joined, utc_now, published.published, published.edition),
        history=HistoryService(joined),
        begin=joined,
        clock=utc_now,
    )
    owner = f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(4)}"
    carriers = Carriers(
        runners,
        services.artifacts.is_corrupt,
        ThroughGateway(
            f"http://{_reachable(settings.host)}:{settings.port}",
            root_key.sub_key(Purpose.ASK).hex(),
        ),
        Webhook(
            outbound=guard,
            clock=utc_now,
            secret=secret.get_secret_value() if secret else None,
            tls=guard.tls,
        ),
    )
    courier = Courier(
        owner,
        begin,
        {"check": carriers.check, "probe": carriers.probe, "webhook": carriers.notify},
        aside=_carry,
    )
    reconciler = Reconciler(
        owner,
        begin,
        checks,
        read=look,
        pages=settings.pages,
        tell=lambda words: _log().warning(words),
    )
    return Control(
        services=services,
        reconciler=reconciler,
        courier=courier,
        served_by=ServedBy(begin, utc_now),
        runners=runners,
        begin=begin,
        database=database,
    )


def run(settings: Settings, create_app: CreateApp) -> None:
    """Serve until SIGTERM."""
    shared = read_shared()
    with suppress(OSError):
        os.nice(_NICENESS)
    private_folder(settings.run_folder)
    root_key = load_root_key(settings)
    shared = shared.known_to(root_key)
    upgrade_apart(settings)
    follow_the_supervisor(shared)
    configure("control", settings.log_level)
    opened = open_settled(settings, pool_size=settings.threads + 4)
    database = replace(opened, failed=_end_at_once)
    verify_root_key(beginner(database), root_key)
    library = database.library
    if library is not None and not library.safe:
        _log().warning("sqlite", sqlite=library.verdict)
    control = build(settings, root_key, database)
    _first_admin_key(settings, control.services.keys)
    os.environ.pop("HEADWAY_ADMIN_KEY", None)
    loops = Loops(_warn)
    _start_loops(loops, control)
    try:
        _serve(settings, shared, control, create_app)
    finally:
        loops.stop()
        database.close()


def application(settings: Settings, create_app: CreateApp) -> Flask:
    """Return the WSGI application on its own: no loop, no first key, the schema as it must be."""
    root_key = load_root_key(settings)
    database = open_settled(settings, pool_size=settings.threads + 4)
    if check_schema(database) is not Schema.CURRENT:
        raise Refused("the schema is not up to date: run `headway db upgrade` first")
    verify_root_key(beginner(database), root_key)
    control = build(settings, root_key, database)
    return _made(settings, None, control.services, create_app)


def _made(
    settings: Settings, hop_secret: str | None, services: Services, create_app: CreateApp
) -> Flask:
    token = settings.metrics_token
    hosts = [host.strip() for host in settings.trusted_hosts.split(",")]
    return create_app(
        services,
        hop_secret=hop_secret,
        trusted_hosts=[host for host in hosts if host] or None,
        metrics_token=token.get_secret_value() if token else None,
        pages=PAGES,
    )


def _serve(settings: Settings, shared: Shared, control: Control, create_app: CreateApp) -> None:
    app = _made(settings, shared.hop_secret, control.services, create_app)
    path = settings.control_socket
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        sys.stderr.write(f"{path} is too long for a socket; set HEADWAY_RUN to a shorter folder\n")
        raise SystemExit(78)
    with suppress(FileNotFoundError):
        path.unlink()
    server = server_of(app, path, threads=settings.threads)
    stopping = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        if not stopping.is_set():
            stopping.set()
            app.extensions["headway"].viewers.close()
            threading.Thread(target=server.stop, name="stop", daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.prepare()
    path.chmod(0o600)
    server.serve()


def _start_loops(loops: Loops, control: Control) -> None:
    loops.start("reconciler", _RECONCILE, control.reconciler.tick)
    loops.start("courier", _CARRY, control.courier.tick)
    loops.start("tracking", _TEND, control.services.tracking.tend)
    loops.start("prices", _LOOK_UP, control.services.prices.look_up)
    loops.start("served by", _SERVED_BY, control.served_by.look)
    pins = Pins(control.begin, control.runners, control.services.artifacts, _corrupt)
    loops.start("pins", _LOOK_AT_RUNNERS, pins.look)
    loops.start("corrupt artifacts", _UPKEEP, control.services.artifacts.look_at_corrupt)
    loops.start("leftovers", _SWEEP, control.services.artifacts.sweep)
    loops.start("upkeep", _UPKEEP, partial(_forget, control))
    library = control.database.library
    if library is not None and not library.safe:
        loops.start("checkpoint", _CHECKPOINT, partial(checkpoint, control.database))


def _corrupt(digest: str) -> None:
    _log().warning("artifact corrupt", detail=corrupt_words(digest))


def _forget(control: Control) -> None:
    """Delete kept answers and sessions that nobody may ask for any more, a few at a time."""

    def answers(limit: int) -> int:
        with control.begin() as work:
            gone = work.idempotency.prune(before=work.now() - KEPT, limit=limit)
            work.commit()
        return gone

    def sessions(limit: int) -> int:
        with control.begin() as work:
            gone = work.sessions.prune(before=work.now() - DAY, limit=limit)
            work.commit()
        return gone

    for kind in (answers, sessions):
        Batches().run(kind)


def _first_admin_key(settings: Settings, keys: KeyService) -> None:
    """Make the first admin key if there is none; it is seen once, or stands in a private file."""
    given = settings.admin_key
    made = keys.ensure_admin(given.get_secret_value() if given else None)
    if made is None or given is not None:
        return
    path = settings.data / "admin.key"
    with suppress(FileNotFoundError):
        path.unlink()  # of a database that is gone
    if sys.stdout.isatty():
        sys.stdout.write(f"The admin key, shown this once: {made.secret.text}\n")
        sys.stdout.flush()
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(made.secret.text + "\n")
        file.flush()
        os.fsync(file.fileno())
    sys.stdout.write(f"The admin key is in {path}\n")
    sys.stdout.flush()


def _runner_sockets(settings: Settings) -> tuple[Path, ...]:
    named = [name.strip() for name in settings.runners.split(",") if name.strip()]
    return tuple(map(Path, named)) or (settings.runner_socket,)


def _reachable(host: str) -> str:
    """Return an address of this machine under which a wildcard listener answers."""
    found = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{found}]" if ":" in found and not found.startswith("[") else found


def _log() -> Any:  # noqa: ANN401 - structlog's loggers have no type of their own
    import structlog  # noqa: PLC0415 - see `headway.wiring.logs.configure`

    return structlog.get_logger("headway.control")


def _webhook(guard: Outbound, url: str, pointer: str) -> None:
    guard.check_url(url, audience=Audience.NOTIFIER, pointer=pointer)


def _carry(do: Callable[[], None]) -> None:
    """Carry a message out beside the loop that found it."""

    def carry() -> None:
        try:
            do()
        except Exception as error:  # noqa: BLE001 - a loop would outlive it as well
            _warn("courier", error)

    threading.Thread(target=carry, name="carrying", daemon=True).start()


def _warn(loop: str, error: Exception) -> None:
    _log().warning("loop failed", loop=loop, error=type(error).__name__, detail=str(error)[:300])


def _end_at_once() -> None:
    """Leave it to a fresh process: whatever this one was about to answer may not be stored."""
    _log().error("the disk of the database failed")
    os._exit(_BROKEN_STORAGE)
