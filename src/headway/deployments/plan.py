"""A plan: the immutable text of a deployment; a list of steps with one verb each.

Two lines are a complete plan (`model`, `to`); everything else has a safe default:

    check: [loads, smoke] ── send: 1% until not 20x worse ── … ── send: 100% ── watch: 1h

A strategy fills in the steps once, when the deployment is created, and decides nothing later. To
add your own, write a function that returns steps and name it under the entry point group
`headway.strategies`; the built-in ones come in by the same door.

What a plan writes (`text`) is the filled plan in the very words that people write, so that it
reads back by the same reader.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeAlias

from headway.kernel.canonical import Json, canonical
from headway.kernel.clock import DAY, HOUR, MINUTE
from headway.kernel.quantity import (
    WHOLE_BP,
    format_duration,
)
from headway.routing.route import PIN_FOR

PRODUCTION: Final = "production"
PREVIOUS: Final = "previous"
WEBHOOK: Final = "webhook:"
"""What stands before the URL in `notify`."""
LONGEST_WARM: Final = 7 * DAY
"""So long the runners keep what a route left, whatever its plan said."""


class Else(StrEnum):
    """What happens when a step was not over in time."""

    HOLD = "hold"
    ROLLBACK = "rollback"
    ADVANCE = "advance"
    """A promotion without proof: wants a `why`."""


@dataclass(frozen=True, slots=True)
class Until:
    """Proof that the candidate is not `factor` times worse."""

    factor: float
    metrics: tuple[str, ...] = ()
    """None named: every metric of `judge.worse`."""

    def words(self) -> str:
        named = f" on {', '.join(self.metrics)}" if self.metrics else ""
        return f"not {self.factor:g}x worse{named}"


@dataclass(frozen=True, slots=True)
class Healthy:
    """No verdict "worse", no limit hit; with an `at_least`, since no data is never a pass."""

    def words(self) -> str:
        return "healthy"


@dataclass(frozen=True, slots=True)
class Requests:
    """So many first measured requests of units on the candidate."""

    n: int

    def words(self) -> str:
        return f"{self.n} requests"


@dataclass(frozen=True, slots=True)
class Check:
    """Ask something of the version before any user's traffic reaches it."""

    names: tuple[str, ...]
    within: int = 10 * MINUTE
    """Tried again with back-off until then, ms."""
    else_: Else = Else.ROLLBACK

    def document(self) -> dict[str, Json]:
        return {
            "check": list(self.names),
            "within": format_duration(self.within),
            "else": str(self.else_),
        }

    def words(self) -> str:
        return f"check {', '.join(self.names)}"


@dataclass(frozen=True, slots=True)
class Send:
    """Give the candidate this share; over when all that it names holds."""

    share_bp: int
    until: Until | Healthy | None = None
    at_least: Requests | int | None = None
    """So many requests, or so many milliseconds."""
    for_: int | None = None
    """Not over before, ms."""
    at_most: int | None = None
    """When `else_` decides, ms."""
    else_: Else = Else.HOLD

    @property
    def lasts(self) -> int:
        """How long it lasts at least, whatever is proven, ms."""
        return max(self.for_ or 0, self.at_least if isinstance(self.at_least, int) else 0)

    def document(self) -> dict[str, Json]:
        document: dict[str, Json] = {"send": format_share(self.share_bp)}
        if self.until is not None:
            document["until"] = self.until.words()
        if self.for_ is not None:
            document["for"] = format_duration(self.for_)
        if isinstance(self.at_least, Requests):
            document["at_least"] = self.at_least.words()
        elif self.at_least is not None:
            document["at_least"] = format_duration(self.at_least)
        if self.at_most is not None:
            document |= {"at_most": format_duration(self.at_most), "else": str(self.else_)}
        return document

    def words(self) -> str:
        until = f" until {self.until.words()}" if self.until else ""
        lasting = f" for {format_duration(self.for_)}" if self.for_ is not None else ""
        return f"send {format_share(self.share_bp)}{lasting}{until}"


@dataclass(frozen=True, slots=True)
class Watch:
    """Change nothing for a while; the way back stays open."""

    for_: int
    """Milliseconds."""

    def document(self) -> dict[str, Json]:
        return {"watch": format_duration(self.for_)}

    def words(self) -> str:
        return f"watch for {format_duration(self.for_)}"


Step: TypeAlias = Check | Send | Watch
Steps: TypeAlias = tuple[Step, ...]
Strategy: TypeAlias = Callable[[], Steps]
"""Fills in the steps of a plan that has none."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A `never` limit: acts at once when it is proven to be exceeded."""

    metric: str
    """`errors`, or `latency` (then `slower_than_ms` says what is slow)."""
    above: float
    """The rate that must never be exceeded, 0..1."""
    slower_than_ms: int | None = None

    @property
    def name(self) -> str:
        """Its key in the plan: `errors`, `latency_p95`."""
        if self.slower_than_ms is None:
            return self.metric
        return f"{self.metric}_p{round((1 - self.above) * 100)}"

    def words(self) -> str:
        if self.slower_than_ms is None:
            return f"> {format_exactly(self.above)}"
        return f"> {format_duration(self.slower_than_ms)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """What the judge is to promise, and of what."""

    sure: float = 0.99
    worse: Mapping[str, float] = field(
        default_factory=lambda: {"errors": 0.0, "latency": 0.2, "score.*": 0.0}
    )
    """Tolerated margin per metric; `score.*` are the scores that the stable version has."""
    never: tuple[Limit, ...] = (Limit("errors", 0.5),)
    floor: float = 0.005
    """Rates below it are good enough."""
    matures: int = 72 * HOUR
    """By when a score has come, ms."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Per metric, 1 if not named."""

    @property
    def alpha(self) -> float:
        """The part of harmless versions that may be rolled back."""
        return round(1 - self.sure, 12)

    def document(self) -> dict[str, Json]:
        return {
            "sure": format_exactly(self.sure),
            "worse": {
                metric: format_exactly(margin) if margin else "any"
                for metric, margin in self.worse.items()
            },
            "never": {limit.name: limit.words() for limit in self.never},
            "no_data": "hold",
            "floor": format_exactly(self.floor),
            "matures": format_duration(self.matures),
            "weights": dict(self.weights),
        }


@dataclass(frozen=True, slots=True)
class GoingBack:
    """Where a rollback leads, and how long the way back stays short."""

    to: str = PREVIOUS
    keep_warm: int = 24 * HOUR
    """So long at least, ms; at most `LONGEST_WARM`."""

    def document(self) -> dict[str, Json]:
        return {"to": self.to, "keep_warm": format_duration(self.keep_warm)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    model: str
    to: str
    """As asked for: a version, a range or an alias. The deployment holds what it came to."""
    steps: Steps
    environment: str = PRODUCTION
    why: str = ""
    strategy: str = "canary"
    stick_to: str | None = None
    """What stays on one arm; None: as the route has it."""
    judging: Judging = field(default_factory=Judging)
    going_back: GoingBack = field(default_factory=GoingBack)
    pin_for: int = PIN_FOR
    """How long an echoed `Headway-Pin` holds that is given out while it runs, ms."""
    alias: str | None = None
    """Moves with the promotion; None: none does."""
    notify: tuple[str, ...] = ()
    metadata: Mapping[str, Json] = field(default_factory=dict)
    filled_in: bool = field(default=False, compare=False)
    """The strategy wrote the steps, not the author."""

    def document(self) -> dict[str, Json]:
        """Return the filled plan in the words of the plan language."""
        document: dict[str, Json] = {
            "model": self.model,
            "to": self.to,
            "environment": self.environment,
            "strategy": self.strategy,
            "steps": [step.document() for step in self.steps],
            "judge": self.judging.document(),
            "rollback": self.going_back.document(),
            "pin_for": format_duration(self.pin_for),
            "conflict": "reject",
            "notify": list(self.notify),
            "metadata": self.metadata,
        }
        optional = {"why": self.why, "stick_to": self.stick_to, "alias": self.alias}
        return document | {key: value for key, value in optional.items() if value}

    @property
    def webhooks(self) -> tuple[str, ...]:
        """The URLs that are told what happens."""
        return tuple(to.removeprefix(WEBHOOK) for to in self.notify)

    def text(self) -> str:
        """Canonical JSON of the whole plan, steps filled in."""
        return canonical(self.document())

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.text().encode()).hexdigest()}"

    def as_first(self) -> "Plan":
        """Return this plan for a route that has no stable version: always direct.

        There is nothing to go back to yet, so it is watched only if its author wrote so.
        """
        steps = tuple(step for step in self.steps if self._fits_a_first(step))
        return replace(self, steps=steps, strategy="direct")

    def _fits_a_first(self, step: Step) -> bool:
        if isinstance(step, Watch):
            return not self.filled_in
        return not isinstance(step, Send) or step.share_bp == WHOLE_BP


def format_share(share_bp: int) -> str:
    """Write basis points as a percentage: 50 -> "0.5%"."""
    return f"{share_bp / 100:g}%"


def format_exactly(fraction: float) -> str:
    """Write a fraction as a percentage that reads back as the very same number."""
    text = f"{fraction * 100:.6f}".rstrip("0").rstrip(".")
    return f"{text}%"
