"""A deployment: one attempt to make a version the stable one of a route, by a plan.

                ┌─────────> scheduled ──┐
     created ───┼─────────> queued ─────┤
                └────────────────────── ▼
                        ┌────────── running <──────> paused
                        │              │
          (judge worse, │              ├──> succeeded
         never, abort,  │              │
              time-out) ▼              ▼
                   rolling_back ──> rolled_back          cancelled (before running)
                        │  ^
                        ▼  │ (backs off, pages, walks the fallback chain)
                   rollback_failed ──> rolled_back, or by a person: abandoned

`rolling_back` is committed already: it waits for the gateways and for the restored version. Hold
is not a state: a held deployment is `running`, with `held_since` and `held_because`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Self

from headway.deployments.plan import Plan, Send, Step
from headway.kernel.canonical import Json
from headway.kernel.errors import IllegalMove
from headway.outbox.event import Event


class State(StrEnum):
    CREATED = "created"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    ROLLING_BACK = "rolling_back"
    ROLLBACK_FAILED = "rollback_failed"
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"


_ENDED: Final = frozenset[State]()
MOVES: Final = MappingProxyType(
    {
        State.CREATED: frozenset({State.SCHEDULED, State.QUEUED, State.RUNNING, State.CANCELLED}),
        State.SCHEDULED: frozenset({State.QUEUED, State.RUNNING, State.CANCELLED}),
        State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
        State.RUNNING: frozenset(
            {
                State.RUNNING,
                State.PAUSED,
                State.SUCCEEDED,
                State.ROLLING_BACK,
                State.ROLLED_BACK,
            }
        ),
        State.PAUSED: frozenset(
            {State.RUNNING, State.SUCCEEDED, State.ROLLING_BACK, State.ROLLED_BACK}
        ),
        State.ROLLING_BACK: frozenset(
            {State.ROLLING_BACK, State.ROLLED_BACK, State.ROLLBACK_FAILED}
        ),
        State.ROLLBACK_FAILED: frozenset({State.ROLLING_BACK, State.ROLLED_BACK, State.ABANDONED}),
        State.SUCCEEDED: _ENDED,
        State.ROLLED_BACK: _ENDED,
        State.CANCELLED: _ENDED,
        State.ABANDONED: _ENDED,
    }
)
"""The whole state machine. A move that is not here does not happen."""

FINISHED: Final = frozenset(state for state, moves in MOVES.items() if not moves)
"""Nothing happens to a deployment in one of these any more."""

ACTIVE: Final = frozenset({State.RUNNING, State.PAUSED, State.ROLLING_BACK, State.ROLLBACK_FAILED})
"""At most one deployment of a route is in one of these."""


@dataclass(frozen=True, slots=True)
class Shares:
    """The life of one set of shares: an epoch of the evidence."""

    epoch: int
    """The id of the route revision."""
    share_bp: int
    """Of the candidate."""
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """A way back that is committed, and how far it has come."""

    rollback: str
    """The id of its row in the history of rollbacks."""
    version: str | None
    """Which version must answer again; None: nobody is to answer (nothing was there before)."""
    since: int
    tried: int = 1
    """How often the restored version was asked."""
    asked_at: int = 0
    good: int | None = None
    """How many good answers it had given when every gateway had gone back."""
    unanswered: tuple[str, ...] = ()
    """Versions of the chain that did not answer."""
    failures: int = 0
    retry_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the reconciler keeps between two looks."""

    shares: tuple[Shares, ...] = ()
    published: int = 0
    """The revision of the route that this deployment made last; 0: none yet."""
    generation: int = 0
    """What every gateway must have applied for that."""
    tried: int = 0
    """How often the checks of the present step were asked."""
    asked_at: int = 0
    passed: tuple[str, ...] = ()
    """Checks of the present step that are done."""
    watches: tuple[Json, ...] = ()
    """The state of the `never` limits (`Verdict.watches`)."""
    folded_at: int = 0
    fitted_at: int = 0
    """When it was last seen whether more thresholds can be known."""
    paused_at: int | None = None
    frozen_at: int | None = None
    """When it was told that the evidence is frozen."""
    undo: Undo | None = None

    @property
    def way_back(self) -> Undo:
        """The way back, of a deployment that is on it or has gone it."""
        if self.undo is None:
            raise AssertionError(self)
        return self.undo

    def document(self) -> dict[str, Json]:
        return {
            "shares": [[of.epoch, of.share_bp, of.step] for of in self.shares],
            "published": self.published,
            "generation": self.generation,
            "tried": self.tried,
            "asked_at": self.asked_at,
            "passed": list(self.passed),
            "watches": list(self.watches),
            "folded_at": self.folded_at,
            "fitted_at": self.fitted_at,
            "paused_at": self.paused_at,
            "frozen_at": self.frozen_at,
            "undo": None
            if self.undo is None
            else {name: _plain(getattr(self.undo, name)) for name in Undo.__slots__},
        }

    @classmethod
    def read(cls, document: Json) -> Self:
        """Read what `document` wrote; None: nothing has happened yet."""
        if not isinstance(document, Mapping):
            return cls()
        fields: dict[str, Any] = dict(document)
        fields["shares"] = tuple(Shares(*row) for row in fields["shares"])
        fields["passed"] = tuple(fields["passed"])
        fields["watches"] = tuple(fields["watches"])
        if fields["undo"] is not None:
            undo = fields["undo"]
            fields["undo"] = Undo(**{**undo, "unanswered": tuple(undo["unanswered"])})
        return cls(**fields)


def _plain(value: Json) -> Json:
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    id: str
    model: str
    environment: str
    version: str
    """The version that it was resolved to when it was created, SemVer text."""
    digest: str
    plan: Plan
    created_at: int
    created_by: str
    state: State = State.CREATED
    entered: int = 0
    """How many steps were entered; the present one is `plan.steps[entered - 1]`."""
    since: int = 0
    """When the present step began."""
    because: str = "created"
    """Why it is as it is, in one sentence."""
    held_since: int | None = None
    held_because: str | None = None
    started_at: int | None = None
    finished_at: int | None = None
    before: int | None = None
    """The route's revision when this started, what a rollback goes back to. None: no route."""
    facts: Json = None
    """What is fixed when it starts: ages, thresholds, alpha, first gateway, base rates."""
    progress: Json = field(default=None)
    """What the reconciler keeps between ticks (`Progress`)."""
    revision: int = 0
    """Counts writes: who writes second gets `Conflict`."""
    fence: int = 0
    """Counts claims: who was frozen past the lease gets `Conflict`, even under the same name."""
    lease_owner: str = ""

    @property
    def finished(self) -> bool:
        return self.state in FINISHED

    @property
    def step(self) -> Step | None:
        return self.plan.steps[self.entered - 1] if self.entered else None

    @property
    def next_step(self) -> Step | None:
        return self.plan.steps[self.entered] if self.entered < len(self.plan.steps) else None

    @property
    def subject(self) -> str:
        """What it is called in the history."""
        return f"deployment:{self.id}"

    @property
    def whole_step(self) -> int:
        """The number of the step that gives everybody to the candidate."""
        return max(
            number for number, step in enumerate(self.plan.steps, 1) if isinstance(step, Send)
        )

    def moved(self, to: State, *, because: str, at: int, entered: int | None = None) -> Self:
        """Return it in another state (or another step), or raise `IllegalMove`.

        Into a step means: what was held is no longer, and the step begins now.
        """
        if to not in MOVES[self.state]:
            raise IllegalMove(f"deployment {self.id} is {self.state}, not to be {to}")
        stepped = entered is not None and entered != self.entered
        return replace(
            self,
            state=to,
            because=because,
            entered=self.entered if entered is None else entered,
            since=at if stepped else self.since,
            held_since=None if stepped or to in FINISHED else self.held_since,
            held_because=None if stepped or to in FINISHED else self.held_because,
            finished_at=at if to in FINISHED else None,
        )

    def remembered(self) -> dict[str, Json]:
        """Return what the history says of it after each change; see `replay`."""
        return {name: getattr(self, name) for name in _REMEMBERED}


_REMEMBERED: Final = (
    "state",
    "entered",
    "since",
    "because",
    "held_since",
    "held_because",
    "started_at",
    "finished_at",
    "before",
)


def replay(events: Iterable[Event]) -> Mapping[str, Json]:
    """Return what the history says of a deployment, oldest event first; as `remembered`.

    Each event says which state it found and which it left. Raises `IllegalMove` if one did not
    find what the one before had left, or moved as the table does not allow.
    """
    known: Mapping[str, Json] = {}
    for event in events:
        detail = event.detail
        if not isinstance(detail, Mapping) or "after" not in detail:
            continue
        after: Any = detail["after"]
        if detail.get("before") != (known.get("state") if known else None):
            raise IllegalMove(f"event {event.seq} found {detail.get('before')!r}, not {known!r}")
        if known and after["state"] != known["state"]:
            to = State(after["state"])
            if to not in MOVES[State(str(known["state"]))]:
                raise IllegalMove(f"event {event.seq} moved from {known['state']} to {to}")
        known = after
    return known
