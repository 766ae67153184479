"""A route: how one model answers in one environment; immutable per revision.

    Route ── rules ── Rule ── when: condition
                        ├──── arms: Arm (version, role), two or more while a deployment runs
                        └──── segments: who gets which buckets; shares sum to 10,000

What a route *declares* is its text: canonical JSON over everything that decides an assignment.
A rollback publishes a new revision with the very text of its snapshot, byte for byte. Beside the
text a revision carries what a deployment needs of it while it runs: its epoch and its guards.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from headway.kernel.canonical import Json, canonical
from headway.kernel.clock import DAY, HOUR
from headway.kernel.quantity import WHOLE_BP
from headway.registry.version import reads_as_version

HASH_VERSION: Final = 1
PIN_FOR: Final = 24 * HOUR
"""How long a pin holds that was given out when no plan said so, ms."""
LONGEST_PIN: Final = 7 * DAY


class Role(StrEnum):
    STABLE = "stable"
    CANDIDATE = "candidate"
    BASELINE = "baseline"
    SHADOW = "shadow"
    PINNED = "pinned"
    """Of no rule: a caller named a version that is on no arm of the route."""


class StickTo(StrEnum):
    """What stays on one arm. `header:X-Team` is written as `header` with a name beside it."""

    REQUEST = "request"
    CONVERSATION = "conversation"
    USER = "user"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class Arm:
    """One destination in a rule."""

    key: str
    """Unique in its rule: `stable`, `candidate`."""
    version: str
    """SemVer text as registered; with `digest` it names one release for ever."""
    digest: str
    role: Role

    def document(self) -> dict[str, Json]:
        return {"key": self.key, "version": self.version, "digest": self.digest, "role": self.role}


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of buckets that belongs to one arm."""

    arm: str
    share_bp: int


@dataclass(frozen=True, slots=True)
class Rule:
    arms: tuple[Arm, ...]
    segments: tuple[Segment, ...]
    """In the order of buckets 0..9999; adjacent segments may share an arm."""
    when: Mapping[str, Json] = field(default_factory=dict)
    """A condition; empty matches everybody."""

    def share_bp(self, arm: str) -> int:
        return sum(segment.share_bp for segment in self.segments if segment.arm == arm)

    def arm(self, key: str) -> Arm:
        return next(arm for arm in self.arms if arm.key == key)

    def document(self) -> dict[str, Json]:
        return {
            "when": self.when,
            "arms": [arm.document() for arm in self.arms],
            "segments": [[segment.arm, segment.share_bp] for segment in self.segments],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A `never` limit as the gateway must know it."""

    arm: str
    metric: str
    """`errors`, or `latency` (then `slower_than_ms` says what is slow)."""
    above: float
    """The rate that must never be exceeded, 0..1."""
    slower_than_ms: int | None = None

    @property
    def event(self) -> str:
        """What it counts: `errors`, or `latency>8000` (milliseconds)."""
        slower = self.slower_than_ms
        return self.metric if slower is None else f"{self.metric}>{slower}"

    def document(self) -> dict[str, Json]:
        return {
            "arm": self.arm,
            "metric": self.metric,
            "above": self.above,
            "slower_than_ms": self.slower_than_ms,
        }


@dataclass(frozen=True, slots=True)
class Ages:
    """When a request is old enough to count, milliseconds; the same for both arms."""

    m: int
    """Bad by this age: counts at this age."""
    l: int  # noqa: E741 - the letter that the formulas use
    """Bad between M and L: counts at this age. Later: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What a gateway and the judge must know of the deployment that made a revision.

    Fixed when the deployment starts, and the same in each of its epochs.
    """

    deployment: str
    step: int
    """Which step of the plan these shares belong to, from 1."""
    alpha: float
    first_gateway: int
    """The lowest number of a living gateway when the deployment started (judge: budget)."""
    ages: Mapping[str, Ages]
    """By metric; `errors` also stands for latency; `score.*` for scores without their own."""
    thresholds_ms: Mapping[str, float] = field(default_factory=dict)
    """`p50` .. `p99` of the stable version's latency, for exceedance."""
    margin: Mapping[str, float] = field(default_factory=dict)
    """Tolerated margin per metric, 0.2 = 20 %."""
    pin_for: int = PIN_FOR
    """How long a pin holds that is given out meanwhile, ms."""

    def document(self) -> dict[str, Json]:
        return {
            "deployment": self.deployment,
            "step": self.step,
            "alpha": self.alpha,
            "first_gateway": self.first_gateway,
            "ages": {metric: [ages.m, ages.l] for metric, ages in self.ages.items()},
            "thresholds_ms": dict(self.thresholds_ms),
            "margin": dict(self.margin),
            "pin_for": self.pin_for,
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Epoch":
        ages = {metric: Ages(*pair) for metric, pair in document["ages"].items()}
        return cls(**{**document, "ages": ages})


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    model: str
    environment: str
    rules: tuple[Rule, ...]
    salt: str
    enabled: bool = True
    hash_version: int = HASH_VERSION
    stick_to: str = StickTo.CONVERSATION
    """A `StickTo`, or `header:<Name>`."""
    slices: tuple[str, ...] = ()
    default: str | None = None
    """The arm when no rule matches; required unless the last rule matches everybody."""
    fallback: str | None = None
    revision: int = 0
    """Counts up from 1 within a route; 0 before it is published."""
    id: int = 0
    """The database's id, below 2^32: what a stamp carries. 0 before it is published."""
    epoch: Epoch | None = None
    guards: tuple[Guard, ...] = ()
    because: str = ""
    created_at: int = 0
    created_by: str = ""

    @property
    def name(self) -> str:
        return f"{self.model}/{self.environment}"

    def declared(self) -> dict[str, Json]:
        """Return what decides an assignment, and nothing else."""
        return {
            "enabled": self.enabled,
            "salt": self.salt,
            "hash_version": self.hash_version,
            "stick_to": self.stick_to,
            "slices": list(self.slices),
            "rules": [rule.document() for rule in self.rules],
            "default": self.default,
            "fallback": self.fallback,
        }

    def text(self) -> str:
        return canonical(self.declared())

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.text().encode()).hexdigest()}"

    @property
    def stable(self) -> Arm:
        """The arm with the role `stable` in the last rule, the one for everybody else.

        While a first version goes out there is none: then it is the one that most are sent to.
        """
        last = self.rules[-1]
        stable = (arm for arm in last.arms if arm.role is Role.STABLE)
        return next(stable, None) or max(last.arms, key=lambda arm: last.share_bp(arm.key))

    @property
    def pin_for(self) -> int:
        """How long a pin holds that is given out now, ms."""
        return PIN_FOR if self.epoch is None else self.epoch.pin_for

    def versions(self) -> frozenset[str]:
        return frozenset(arm.version for rule in self.rules for arm in rule.arms)

    def may_answer(self) -> frozenset[str]:
        """Return the versions that may be asked at any moment: the one it falls back to too."""
        if self.fallback is None or not reads_as_version(self.fallback):
            return self.versions()  # another model has a route of its own
        return self.versions() | {self.fallback}


def whole(arm: Arm) -> Rule:
    """Give everybody to one arm."""
    return Rule(arms=(arm,), segments=(Segment(arm.key, WHOLE_BP),))


def read_route(
    declared: Mapping[str, Any],
    *,
    model: str,
    environment: str,
    epoch: Mapping[str, Any] | None = None,
    guards: Sequence[Mapping[str, Any]] = (),
    revision: int = 0,
    revision_id: int = 0,
    because: str = "",
    created_at: int = 0,
    created_by: str = "",
) -> Route:
    """Read back what `declared`, `Epoch.document` and `Guard.document` wrote."""
    return Route(
        model=model,
        environment=environment,
        rules=tuple(
            Rule(
                when=rule["when"],
                arms=tuple(
                    Arm(arm["key"], arm["version"], arm["digest"], Role(arm["role"]))
                    for arm in rule["arms"]
                ),
                segments=tuple(Segment(arm, share) for arm, share in rule["segments"]),
            )
            for rule in declared["rules"]
        ),
        salt=declared["salt"],
        enabled=declared["enabled"],
        hash_version=declared["hash_version"],
        stick_to=declared["stick_to"],
        slices=tuple(declared["slices"]),
        default=declared["default"],
        fallback=declared["fallback"],
        epoch=None if epoch is None else Epoch.read(epoch),
        guards=tuple(Guard(**guard) for guard in guards),
        revision=revision,
        id=revision_id,
        because=because,
        created_at=created_at,
        created_by=created_by,
    )
