"""A deployment: one attempt to make a version the stable one of a route, by a plan."""

from dataclasses import dataclass
from enum import StrEnum

from headway.deployments.plan import Plan
from headway.kernel.canonical import Json


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
    progress: Json = None
    """What the reconciler keeps between ticks: attempts of checks, limits, generations."""
    revision: int = 0
    """Counts writes: who writes second gets `Conflict`."""
    fence: int = 0
    """Counts claims: who was frozen past the lease gets `Conflict`, even under the same name."""
    lease_owner: str = ""
