"""A program that does what control does, over and over, and is killed in the middle of it.

It reads orders from its standard input, a line of JSON each, forks a child that lives by them, and
tells on its standard output what the child was answered; `ended` when it is dead. The child has
the real services on a real database. What stands beside it, gateways and couriers, is played here.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final

import sqlalchemy as sa
from tests.chaos import mutants

from headway.deployments.checks import CheckKind
from headway.deployments.checks.loads import loads
from headway.deployments.checks.smoke import smoke
from headway.deployments.deployment import Deployment, State
from headway.deployments.intent import Verb
from headway.deployments.reconciler import LEASE, Reconciler
from headway.deployments.rollback_service import RollbackService
from headway.deployments.service import DeploymentService
from headway.deployments.strategies.canary import canary
from headway.kernel.clock import DAY, MINUTE, SECOND, utc_now
from headway.kernel.errors import HeadwayError, NotFound
from headway.kernel.ids import new_id
from headway.outbox.actor import Actor
from headway.outbox.courier import Courier
from headway.persistence.engine import Database, Transaction, open_database
from headway.persistence.tables import deployments, messages, now
from headway.persistence.work import SqlWork
from headway.registry.model import Version
from headway.registry.ports import VersionQuery
from headway.registry.service import RegistryService
from headway.snapshots.service import SnapshotService
from headway.tracking.measurement import Batch, Count, Measurement, Veto
from headway.tracking.sketch import Sketch

MODEL: Final = "bot"
BUSY: Final = ("production", "staging")
SILENT: Final = "silent"
"""Nobody asks anything there: no data, so that no proof may come either."""
BOOT: Final = "gw_chaos"
UNITS: Final = 4_000
"""Requests of each arm in a flush: enough for a proof."""
_ADA: Final = Actor("ada", "person")
_CHECKS: Final[Mapping[str, CheckKind]] = {"loads": loads, "smoke": smoke}
_STEPS: Final = (
    {"check": ["smoke"], "within": "5s"},
    {"send": "10%", "until": "not 5x worse", "at_most": "700ms", "else": "rollback"},
    {"send": "50%", "for": "50ms"},
    {"send": "100%"},
    {"watch": "100ms"},
)
_JUDGE: Final = {"worse": {"errors": "any"}, "never": {"errors": "> 50%"}}
_LIVES: Final = 600
"""After so many things to do a life is over, killed or not."""
_WATCHED: Final = ("routes", "deployments", "snapshots", "outbox", "rollbacks", "gateways")


def tell(*words: object) -> None:
    """Say it at once: what was said before a kill was said."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


@dataclass(slots=True)
class Points:
    """Places to die at: the n-th time that one of that name is passed."""

    name: str = ""
    left: int = 0

    def __call__(self, name: str) -> None:
        if name == self.name:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """A repository with a place to die before and after each call."""

    def __init__(self, repository: object, name: str, points: Points) -> None:
        self._repository = repository
        self._name = name
        self._points = points

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401 - whatever the repository has
        found = getattr(self._repository, method)

        @wraps(found)
        def call(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - likewise
            self._points(f"before {self._name}.{method}")
            result = found(*args, **named)
            self._points(f"after {self._name}.{method}")
            return result

        return call


class WatchedWork(SqlWork):
    """A work with places to die at each repository and at its commit."""

    def __init__(self, transaction: Transaction, points: Points, mutant: str) -> None:
        super().__init__(transaction)
        self._points = points
        # First: a place after a call is then a place after what the mutant makes of that call.
        mutants.infect(self, transaction, mutant)
        for name in _WATCHED:
            setattr(self, name, Watched(getattr(self, name), name, points))

    def commit(self) -> None:
        self._points("before commit")
        super().commit()
        self._points("after commit")


@dataclass
class World:
    """One life: the services, and whatever happens to them."""

    database: Database
    chance: random.Random
    points: Points
    mutant: str
    lateness: mutants.Lateness = field(default_factory=mutants.Lateness)

    def __post_init__(self) -> None:
        def statement(*_: object) -> None:
            self.points("statement")

        sa.event.listen(self.database.engine, "before_cursor_execute", statement)
        sa.event.listen(self.database.engine, "after_cursor_execute", statement)
        if self.mutant == mutants.FALSE_SUCCESS:
            mutants.prove_everything()
        self.registry = RegistryService(self.begin, utc_now)
        self.deployments = DeploymentService(
            self.begin, {"canary": canary}, _CHECKS, read=self.read
        )
        self.rollbacks = RollbackService(self.begin, _CHECKS)
        self.snapshots = SnapshotService(self.begin, utc_now, new_id)
        self.reconciler = Reconciler(f"life:{os.getpid()}", self.begin, _CHECKS, read=self.read)
        self.courier = Courier(
            f"courier:{os.getpid()}",
            self.begin,
            {"check": lambda _: {"ok": True}, "probe": lambda _: {"ok": True}},
        )

    @contextmanager
    def begin(self) -> Iterator[SqlWork]:
        if self.mutant == mutants.ANSWER_BEFORE_COMMIT:
            with self.lateness.begin(self._work) as late:
                yield late
            return
        with self._work() as work:
            yield work

    @contextmanager
    def _work(self) -> Iterator[SqlWork]:
        with Transaction(self.database) as transaction:
            yield WatchedWork(transaction, self.points, self.mutant)

    @contextmanager
    def read(self) -> Iterator[SqlWork]:
        self.lateness.settle()
        with Transaction(self.database, read_only=True) as transaction:
            yield SqlWork(transaction)

    # What people do

    def found(self) -> None:
        """Make the model, and a first version that serves everywhere."""
        self.registry.register_model(MODEL, actor=_ADA)
        version = self.register()
        for environment in (*BUSY, SILENT):
            self.deploy(version, environment)

    def register(self) -> Version:
        newest = self.newest()
        number = f"1.{newest.number.minor + 1 if newest else 0}.0"
        target = {"provider": "openai", "base_url": "https://api.example.com/v1", "model": number}
        release = self.registry.release({"version": number, "target": target})
        made = self.registry.register_version(MODEL, release, actor=_ADA).version
        self.answered("version", made.number, made.digest)
        return made

    def newest(self) -> Version | None:
        return self.registry.latest(MODEL)

    def deploy(self, version: Version, environment: str) -> None:
        made = self.deployments.create(
            {
                "model": MODEL,
                "to": str(version.number),
                "environment": environment,
                "steps": list(_STEPS),
                "judge": _JUDGE,
            },
            actor=_ADA,
        )
        self.answered("deployment", made.id)

    def create(self) -> None:
        environment = self.chance.choice((*BUSY, SILENT))
        with self.read() as work:
            active = work.deployments.active(MODEL, environment)
        if active is not None and self.chance.random() < 0.9:
            return
        self.deploy(self.register(), environment)

    def roll_back(self) -> None:
        environment = self.chance.choice((*BUSY, SILENT))
        to = "previous"
        kind = self.chance.choice(["previous", "snapshot", "version"])
        if kind == "snapshot":
            kept = self.snapshots.listing(MODEL, environment, limit=10)
            to = self.chance.choice(kept).id if kept else to
        if kind == "version":
            with self.read() as work:
                page = work.versions.page(VersionQuery(model=MODEL, limit=5))
            to = str(self.chance.choice(page.items).number)
        made = self.rollbacks.roll_back(
            model=MODEL, environment=environment, to=to, why="chaos", actor=_ADA
        )
        self.answered("rollback", made.id, to)

    def take_snapshot(self) -> None:
        environment = self.chance.choice((*BUSY, SILENT))
        made = self.snapshots.take(MODEL, environment, actor=_ADA, reason="chaos")
        self.answered("snapshot", made.id)

    def intend(self) -> None:
        verb = self.chance.choice([Verb.PAUSE, Verb.RESUME, Verb.RESUME, Verb.PROMOTE, Verb.ABORT])
        for deployment in self.active()[:1]:
            self.deployments.intend(deployment.id, verb, actor=_ADA, why="chaos")

    def answered(self, *what: object) -> None:
        """Tell that the answer is there, as a caller would hear it."""
        tell("answered", *what)
        self.points("after answer")

    # What machines do

    def tick(self) -> None:
        self.reconciler.tick()

    def tick_too_late(self) -> None:
        """A reconciler is frozen with its claims until another one has taken them over."""
        thawed = self.chance.choice([2, 3, 3, 3])
        opened = 0

        def others() -> None:
            age_leases(self.database)
            Reconciler("another", self.begin, _CHECKS, read=self.read).tick()

        def wait(open_work: Callable[[], Any]) -> Callable[[], Any]:
            @contextmanager
            def begin() -> Iterator[SqlWork]:
                nonlocal opened
                opened += 1
                if opened == thawed:
                    others()
                with open_work() as work:
                    yield work

            return begin

        self.wake()
        Reconciler("late", wait(self.begin), _CHECKS, read=wait(self.read)).tick()

    def wake(self) -> None:
        with self.database.engine.begin() as connection:
            free = deployments.c.lease_owner == ""
            connection.execute(sa.update(deployments).where(free).values(wake_at=now()))

    def carry(self) -> None:
        self.courier.tick()

    def flush(self) -> None:
        """Be the gateway: one good answer, evidence of what runs, now and then a veto."""
        with self.begin() as work:
            living = {row.boot: row for row in work.gateways.living(within=DAY)}
            row = living.get(BOOT) or work.gateways.start(boot=BOOT, host="here", pid=1)
            at = work.now()
            counts: dict[str, tuple[Count, ...]] = {}
            vetoes: list[Veto] = []
            for environment in BUSY:
                deployment = work.deployments.active(MODEL, environment)
                if deployment is None or deployment.state is not State.RUNNING:
                    continue
                with suppress(NotFound):
                    route = work.routes.current(MODEL, environment)
                    if route.epoch is None or route.epoch.deployment != deployment.id:
                        continue
                    bad = minor(deployment) % 5 == 4
                    counts[deployment.id] = _counts(route.id, at, bad=bad)
                    if self.chance.random() < 0.02:
                        vetoes.append(
                            Veto(
                                deployment=deployment.id,
                                epoch=route.id,
                                arm="candidate",
                                metric="errors",
                                at=at,
                                detail=None,
                            )
                        )
            work.gateways.flush(
                Batch(
                    boot=BOOT,
                    seq=row.seq + 1,
                    applied_generation=work.routes.generation(),
                    measurements=(_one_answer(at),),
                    counts=counts,
                    vetoes=tuple(vetoes),
                )
            )
            work.commit()

    def active(self) -> list[Deployment]:
        with self.read() as work:
            found = [work.deployments.active(MODEL, name) for name in (*BUSY, SILENT)]
        deployments = [one for one in found if one is not None]
        self.chance.shuffle(deployments)
        return deployments

    # Lives

    def storm(self) -> None:
        """Let everything happen, in any order, until somebody pulls the plug."""
        acts: list[Callable[[], object]] = [
            *[self.tick] * 10,
            *[self.flush] * 6,
            *[self.carry] * 4,
            *[self.create] * 4,
            *[self.roll_back] * 2,
            *[self.tick_too_late] * 2,
            self.take_snapshot,
            self.intend,
        ]
        for _ in range(_LIVES):
            act = self.chance.choice(acts)
            with suppress(HeadwayError):
                act()

    def rest(self) -> None:
        """Let what is running come to its end: nobody asks for anything any more."""
        until = time.monotonic() + 25
        while time.monotonic() < until:
            active = self.active()
            if not active:
                tell("at_rest")
                return
            for deployment in active:
                if deployment.state is State.PAUSED:
                    self.deployments.intend(deployment.id, Verb.RESUME, actor=_ADA)
            for act in (self.tick, self.flush, self.carry):
                act()
            time.sleep(0.02)
        tell("stuck", *(f"{one.id}:{one.state}:{one.because!r}" for one in self.active()))


def minor(deployment: Deployment) -> int:
    return int(deployment.version.split(".")[1])


def _counts(epoch: int, at: int, *, bad: bool) -> tuple[Count, ...]:
    due = at - at % (5 * SECOND)
    counts = [
        Count(epoch, arm, "measured", 0, due, late=False, n=UNITS)
        for arm in ("candidate", "stable")
    ]
    if bad:
        counts.append(Count(epoch, "candidate", "errors", 1, due, late=False, n=UNITS // 2))
    return tuple(counts)


def _one_answer(at: int) -> Measurement:
    return Measurement(
        model=MODEL,
        environment=BUSY[0],
        version="1.0.0",
        arm="stable",
        minute=at - at % MINUTE,
        outcomes={"ok": 1},
        latency=Sketch.of([10]),
        first=Sketch(),
        tokens={},
        served_by={},
    )


def age_leases(database: Database) -> None:
    """Let a lease's length pass for whatever is leased."""
    with database.engine.begin() as connection:
        for table in (deployments, messages):
            older = table.c.lease_until - LEASE - 1
            held = table.c.lease_owner != ""
            connection.execute(sa.update(table).where(held).values(lease_until=older))


def live(order: Mapping[str, Any]) -> None:
    """Be the child."""
    seed = order["seed"]
    points = Points(order.get("at", ""), order.get("times", 0))
    with open_database(order["url"], pool_size=4) as database:
        world = World(database, random.Random(seed), points, order.get("mutant", ""))
        getattr(world, order["life"])()


def main() -> None:
    """Fork a child for each order, and kill it when it is time."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    tell("ready")
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                live(order)
                code = 0
            except BaseException as error:  # noqa: BLE001 - told to the parent, and never goes on
                tell("failed", repr(error)[:2000].replace("\n", " "))
            finally:
                os._exit(code)
        if (after := order.get("after")) is not None and not signal.sigtimedwait(
            {signal.SIGCHLD}, after
        ):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        signal.sigtimedwait({signal.SIGCHLD}, 0)
        tell("ended", os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
