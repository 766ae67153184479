"""A rollback: a change of a route back to a snapshot or a version; it has a history of its own.

committed ──> finished      every living gateway applied it, and the restored version answered
    │  ^
    ▼  │ (backs off; pages; walks the fallback chain)
  failed ──> failed, with a `finished_at`: overtaken by another rollback or another change
"""

from dataclasses import dataclass
from enum import StrEnum


class RollbackState(StrEnum):
    COMMITTED = "committed"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    id: str
    """`rb_…`"""
    model: str
    environment: str
    state: RollbackState
    from_revision: int
    """The route's revision that was left."""
    to_revision: int
    """The route's revision whose text was published again, or the new one for a version."""
    published: int
    """The revision that it made."""
    generation: int
    """What every living gateway must have applied."""
    automatic: bool
    actor: str
    why: str
    created_at: int
    deployment: str | None = None
    finished_at: int | None = None
    """When it was over, for good or ill; None: it is seen to."""
    revision: int = 0
    """Counts writes: who writes second gets `Conflict`."""
