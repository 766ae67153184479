"""A snapshot: a route revision kept by name, so that it can be gone back to."""

from dataclasses import dataclass
from typing import Final

PREVIOUS: Final = "previous"
"""What `rollback to` may say for: the snapshot that the last change left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    id: str
    """`snap_…`"""
    model: str
    environment: str
    revision: int
    """The route's revision; its text and digest stand in that row."""
    digest: str
    """Of the route's text: a rollback publishes a revision with this very digest."""
    reason: str
    created_at: int
    created_by: str
    deployment: str | None = None
    """The deployment before whose change it was taken."""
