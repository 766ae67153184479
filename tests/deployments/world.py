"""A world for one test: a clock to turn, traffic to invent, gateways, reconcilers to run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from headway.artifacts.artifact import Artifact
from headway.deployments.checks import CheckKind
from headway.deployments.checks.loads import loads
from headway.deployments.checks.smoke import smoke
from headway.deployments.deployment import Deployment
from headway.deployments.reconciler import Pace, Reconciler
from headway.deployments.service import DeploymentService, RollbackService
from headway.deployments.strategies.blue_green import blue_green
from headway.deployments.strategies.canary import canary
from headway.deployments.strategies.direct import direct
from headway.kernel.canonical import Json
from headway.kernel.clock import MINUTE, SECOND
from headway.outbox.actor import Actor
from headway.outbox.event import Event
from headway.outbox.message import Message
from headway.registry.model import Model, Version
from headway.registry.signature import Signature
from headway.registry.target import LocalTarget, Timeouts
from headway.registry.version import SemVer
from headway.routing.route import Route
from headway.snapshots.service import SnapshotService
from headway.testing import memory
from headway.tracking.measurement import Batch, Count, FirstEvent, Measurement, Veto
from headway.tracking.sketch import Sketch

ADA = Actor("ada", "person")
MODEL, PRODUCTION = "digits", "production"
PIXELS: Mapping[str, Json] = {
    "properties": {"x": {"type": "array", "datatype": "FP32", "shape": [-1, 4]}}
}

QUICK: Mapping[str, Json] = {
    "model": MODEL,
    "steps": [
        {"send": "10%", "until": "not 5x worse", "at_most": "2m"},
        {"send": "50%", "until": "not 2x worse"},
        {"send": "100%"},
        {"watch": "1m"},
    ],
    "judge": {"worse": {"errors": "any"}, "never": {"errors": "> 50%"}},
}
DIRECT: Mapping[str, Json] = {
    "model": MODEL,
    "strategy": "direct",
    "steps": [{"send": "100%"}, {"watch": "1m"}],
}


def artifact_of(number: str) -> str:
    return f"sha256:{number.encode().hex():0>64}"


class World:
    """Time stands still unless a test turns it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000
        self.store = memory.Store()
        self.ids = count(1)
        self.checks: dict[str, CheckKind] = {"loads": loads, "smoke": smoke}
        self.boots: dict[str, int] = {}
        self.deployments = DeploymentService(
            begin=self.begin,
            strategies={"direct": direct, "blue-green": blue_green, "canary": canary},
            checks=self.checks,
            new_id=self.new_id,
        )
        self.rollbacks = RollbackService(begin=self.begin, checks=self.checks, new_id=self.new_id)
        self.snapshots = SnapshotService(self.begin, lambda: self.now, self.new_id)
        self.reconciler = self.another_reconciler("first")
        with self.begin() as work:
            work.models.add(Model(MODEL, self.now, "ada"))
            work.commit()
        for number in ("1.0.0", "1.1.0", "1.2.0"):
            self.register(number)

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{next(self.ids):06d}"

    @contextmanager
    def begin(self) -> Iterator[memory.MemoryWork]:
        with memory.begin(self.store, self.clock) as work:
            yield work

    def clock(self) -> int:
        return self.now

    def another_reconciler(self, owner: str) -> Reconciler:
        return Reconciler(
            owner=owner,
            begin=self.begin,
            checks=self.checks,
            new_id=self.new_id,
            pace=Pace(partial(lambda world: world.now / SECOND, self)),
        )

    def interrupted(self, *, after: int, by: Callable[[], None]) -> Reconciler:
        """Return a reconciler to whom something happens after so many transactions."""
        opened = count(1)

        @contextmanager
        def begin() -> Iterator[memory.MemoryWork]:
            if next(opened) == after + 1:
                by()
            with self.begin() as work:
                yield work

        return replace(self.another_reconciler("late"), begin=begin)

    def later(self, milliseconds: int) -> None:
        self.now += milliseconds

    # What people do

    def register(self, number: str, *, total: int = 2 * SECOND, **more: Any) -> Version:  # noqa: ANN401 - fields of a version
        digest = artifact_of(number)
        with self.begin() as work:
            if work.artifacts.find(digest) is None:
                work.artifacts.add(Artifact(digest, 1, self.now, "ada"))
            version = work.versions.add(
                Version(
                    model=MODEL,
                    number=SemVer.parse(number),
                    target=LocalTarget("onnx", digest, Timeouts(total=total)),
                    signature=Signature(input=PIXELS),
                    components={},
                    digest=f"sha256:{number.encode().hex():0>64}",
                    created_at=self.now,
                    created_by="ada",
                    **more,
                )
            )
            work.commit()
        return version

    def corrupt(self, *numbers: str, at: int | None = 1) -> None:
        """Have the artifacts of versions be found corrupt; None: be mended."""
        with self.begin() as work:
            for number in numbers:
                work.artifacts.mark(artifact_of(number), at)
            work.commit()

    def deploy(self, to: str, plan: Mapping[str, Json] = QUICK, **more: Json) -> Deployment:
        return self.deployments.create({**plan, "to": to, **more}, actor=ADA)

    def serve(self, number: str = "1.0.0") -> None:
        """Make a version the stable one, all the way."""
        self.deploy(number, DIRECT)
        self.run(2 * MINUTE)
        assert self.route().stable.version == number

    def by_hand(self, **changes: Any) -> None:  # noqa: ANN401 - fields of a route
        """Change the route as somebody does who puts it."""
        with self.begin() as work:
            seen = work.routes.current(MODEL, PRODUCTION)
            work.routes.add(replace(seen, revision=seen.revision + 1, id=0, **changes))
            work.commit()

    # What machines do

    def tick(self) -> int:
        return self.reconciler.tick()

    def run(self, milliseconds: int, *, step: int = SECOND, answers: bool = True) -> None:
        """Let time pass with gateways that follow, couriers that carry, and ticks."""
        until = self.now + milliseconds
        while self.now < until:
            self.reconciler.tick()
            self.gateways_follow()
            if answers:
                self.courier()
            self.later(step)
        self.reconciler.tick()

    def courier(self, *, ok: bool = True, detail: str = "", final: bool = False) -> list[Message]:
        """Carry out every check and probe that waits."""
        with self.begin() as work:
            claimed = work.outbox.claim_messages(owner="courier", lease=30 * SECOND, limit=100)
            for message in claimed:
                answer: Json = {"ok": ok, "detail": detail, "final": final}
                work.outbox.answer(message.key, answer, owner="courier")
            work.commit()
        return list(claimed)

    def gateway(self, boot: str = "g1") -> None:
        with self.begin() as work:
            work.gateways.start(boot=boot, host="here", pid=1)
            work.commit()
        self.boots[boot] = 0

    def flush(self, boot: str = "g1", *, follows: bool = True, **more: Any) -> None:  # noqa: ANN401 - fields of a batch
        with self.begin() as work:
            generation = work.routes.generation() if follows else 0
            self.boots[boot] += 1
            taken = work.gateways.flush(
                Batch(
                    boot=boot,
                    seq=self.boots[boot],
                    applied_generation=generation,
                    **more,
                )
            )
            work.commit()
        assert taken

    def gateways_follow(self) -> None:
        for boot in self.boots:
            self.flush(boot)

    def traffic(
        self,
        deployment: Deployment,
        *,
        candidate: tuple[int, int] = (0, 0),
        stable: tuple[int, int] = (0, 0),
        metric: str = "errors",
        counts_in: int = 0,
    ) -> None:
        """Let requests of the present shares come: (how many, how many of them bad).

        They are of age now, or will be in `counts_in` ms.
        """
        epoch = self.route().id
        due = self.now - self.now % 5_000 + counts_in
        counts = []
        for arm, (n, bad) in (("candidate", candidate), ("stable", stable)):
            counts.append(Count(epoch, arm, "measured", 0, due, late=False, n=n))
            counts.append(Count(epoch, arm, metric, 1, due, late=False, n=bad))
        with self.begin() as work:
            work.evidence.add(deployment.id, [count for count in counts if count.n], [])
            work.commit()

    def slowness(
        self,
        deployment: Deployment,
        limit: str,
        *,
        candidate: tuple[int, int],
        stable: tuple[int, int],
    ) -> None:
        """Let requests come of age: (how many, how many of them slower than a limit)."""
        epoch, due = self.route().id, self.now - self.now % 5_000
        counts = [
            Count(epoch, arm, limit, bin_, due, late=False, n=n)
            for arm, both in (("candidate", candidate), ("stable", stable))
            for bin_, n in enumerate(both)
        ]
        with self.begin() as work:
            work.evidence.add(deployment.id, counts, [])
            work.commit()

    def units(self, deployment: Deployment, first: int, last: int) -> None:
        """Let units come for the first time, on the candidate and the stable arm in turn."""
        epoch, due = self.route().id, self.now - self.now % 5_000
        events = []
        for unit in range(first, last):
            arm = ("candidate", "stable")[unit % 2]
            count = Count(epoch, arm, "measured", 0, due, late=False, n=1)
            events.append(FirstEvent(unit, 1, due, (count,)))
        self.flush(firsts={deployment.id: tuple(events)})

    def measure(
        self,
        version: str,
        *,
        ok: int,
        provider: int = 0,
        latency: tuple[float, ...] = (),
        bad: tuple[float, ...] = (),
        first: tuple[float, ...] = (),
        tokens: Mapping[str, int] | None = None,
    ) -> None:
        """Let a version answer that often in this minute."""
        with self.begin() as work:
            work.measurements.append(
                Measurement(
                    model=MODEL,
                    environment=PRODUCTION,
                    version=version,
                    arm="stable",
                    minute=self.now - self.now % MINUTE,
                    outcomes={"ok": ok, "provider": provider},
                    latency=Sketch.of(latency),
                    bad=Sketch.of(bad),
                    first=Sketch.of(first),
                    tokens=dict(tokens or {}),
                    served_by={},
                )
            )
            work.commit()

    def veto(self, deployment: Deployment, metric: str = "errors", detail: Json = None) -> None:
        if "veto" not in self.boots:
            self.gateway("veto")
        veto = Veto(
            deployment=deployment.id,
            epoch=self.route().id,
            arm="candidate",
            metric=metric,
            at=self.now,
            detail=detail,
        )
        self.flush("veto", vetoes=(veto,))

    # What somebody sees

    def route(self) -> Route:
        with self.begin() as work:
            return work.routes.current(MODEL, PRODUCTION)

    def shares(self) -> dict[str, int]:
        route = self.route()
        rule = route.rules[-1]
        found = {arm.version: rule.share_bp(arm.key) for arm in rule.arms}
        return {version: share for version, share in found.items() if share}

    def row(self, deployment: Deployment) -> Deployment:
        return self.deployments.get(deployment.id)

    def history(self, deployment: Deployment) -> list[Event]:
        return list(self.deployments.events(deployment.id, limit=1000))

    def kinds(self, deployment: Deployment) -> list[str]:
        return [event.kind.removeprefix("deployment.") for event in self.history(deployment)]
