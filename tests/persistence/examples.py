"""Things to store, and who they are stored by."""

# ruff: noqa: ANN401 - what differs from the usual example is whatever the test names

from collections.abc import Callable, Sequence
from typing import Any, Final

from tests.conftest import Begin, Work

from headway.artifacts.artifact import Artifact
from headway.auth.key import Key
from headway.auth.role import Role
from headway.deployments.deployment import Deployment, State
from headway.deployments.plan import Plan, Send
from headway.kernel.clock import MINUTE
from headway.outbox.event import Event
from headway.outbox.message import Message
from headway.registry.model import Model, Version
from headway.registry.signature import Signature
from headway.registry.target import HostedTarget, LocalTarget, Target
from headway.registry.version import SemVer
from headway.routing.route import Arm, Route, whole
from headway.routing.route import Role as ArmRole
from headway.snapshots.snapshot import Snapshot
from headway.tracking.measurement import Batch, Count, FirstEvent, Measurement
from headway.tracking.sketch import Sketch

NOON: Final = 1_790_000_000_000
ARTIFACT: Final = f"sha256:{'ab' * 32}"
PLAN: Final = Plan(model="digits", to="1.1.0", steps=(Send(10_000),))


def do(begin: Begin, what: Callable[[Work], Any]) -> Any:
    """Do one thing in a transaction of its own and commit it; return what came of it."""
    with begin() as work:
        result = what(work)
        work.commit()
    return result


def ask(begin: Begin, what: Callable[[Work], Any]) -> Any:
    """Read one thing in a transaction of its own."""
    with begin() as work:
        return what(work)


def model(name: str = "digits", **more: Any) -> Model:
    usual: dict[str, Any] = {"created_at": NOON, "created_by": "ada", "updated_at": NOON}
    return Model(name, **{**usual, **more})


def version(number: str = "1.0.0", *, of: str = "digits", **more: Any) -> Version:
    target: Target = HostedTarget(
        "openai", "https://api.example.com/v1", "gpt", parameters={"top_p": 0.5}
    )
    usual: dict[str, Any] = {
        "target": target,
        "signature": Signature(input={"type": "object"}),
        "components": {"target": "sha256:t"},
        "digest": f"sha256:{number}",
        "created_at": NOON,
        "created_by": "ada",
        "metadata": {"git": "abc", "rate": 0.1},
        "updated_at": NOON,
    }
    return Version(of, SemVer.parse(number), **{**usual, **more})


def local() -> LocalTarget:
    return LocalTarget("onnx", ARTIFACT)


def artifact(digest: str = ARTIFACT) -> Artifact:
    return Artifact(digest, 123, NOON, "ada")


def key(key_id: str = "k1", **more: Any) -> Key:
    usual: dict[str, Any] = {
        "name": "ada",
        "role": Role.ADMIN,
        "digest": key_id * 32,
        "created_at": NOON,
        "created_by": "headway",
    }
    return Key(key_id, **{**usual, **more})


def route(revision: int = 1, *, of: str = "digits", serves: str = "1.0.0", **more: Any) -> Route:
    arm = Arm("stable", serves, f"sha256:{serves}", ArmRole.STABLE)
    usual: dict[str, Any] = {
        "environment": "production",
        "rules": (whole(arm),),
        "salt": "s",
        "because": "why",
        "created_at": NOON + revision,
        "created_by": "ada",
    }
    return Route(model=of, revision=revision, **{**usual, **more})


def snapshot(snapshot_id: str, revision: int = 1, **more: Any) -> Snapshot:
    usual: dict[str, Any] = {
        "model": "digits",
        "environment": "production",
        "digest": "sha256:r",
        "reason": "before a change",
        "created_at": NOON,
        "created_by": "ada",
    }
    return Snapshot(id=snapshot_id, revision=revision, **{**usual, **more})


def deployment(deployment_id: str = "dep_1", **more: Any) -> Deployment:
    usual: dict[str, Any] = {
        "model": "digits",
        "environment": "production",
        "version": "1.1.0",
        "digest": "sha256:v",
        "plan": PLAN,
        "created_at": NOON,
        "created_by": "ada",
        "state": State.RUNNING,
    }
    return Deployment(id=deployment_id, **{**usual, **more})


def event(subject: str = "model:digits", **more: Any) -> Event:
    usual: dict[str, Any] = {"kind": "model.changed", "at": NOON, "actor": "ada"}
    return Event(subject=subject, **{**usual, **more})


def message(name: str = "m1", **more: Any) -> Message:
    return Message(key=name, kind="webhook", payload={"n": [1]}, created_at=NOON, **more)


def measurement(**more: Any) -> Measurement:
    usual: dict[str, Any] = {
        "model": "digits",
        "environment": "production",
        "version": "1.0.0",
        "arm": "stable",
        "minute": NOON - NOON % MINUTE,
        "outcomes": {"ok": 2},
        "latency": Sketch.of([10, 20]),
        "bad": Sketch.of([20]),
        "first": Sketch(),
        "tokens": {"input": 5},
        "served_by": {"m": 2},
    }
    return Measurement(**{**usual, **more})


def evidence(**more: Any) -> Count:
    usual: dict[str, Any] = {
        "epoch": 1,
        "arm": "candidate",
        "metric": "errors",
        "bin": 1,
        "due": 5_000,
        "late": False,
        "n": 1,
    }
    return Count(**{**usual, **more})


def first(unit: int, *, bit: int = 2, **more: Any) -> FirstEvent:
    count = evidence(**more)
    return FirstEvent(unit, bit, count.due, (count,))


def batch(seq: int = 1, *, boot: str = "b1", **more: Any) -> Batch:
    return Batch(boot=boot, seq=seq, **{"applied_generation": 0, **more})


def start(begin: Begin, boot: str = "b1") -> Any:
    return do(begin, lambda work: work.gateways.start(boot=boot, host="h", pid=7))


def flush(begin: Begin, what: Batch) -> Any:
    return do(begin, lambda work: work.gateways.flush(what))


def claim(begin: Begin, owner: str, *, lease: int = MINUTE) -> Sequence[Deployment]:
    found: Sequence[Deployment] = do(
        begin, lambda work: work.deployments.claim(owner=owner, lease=lease)
    )
    return found
