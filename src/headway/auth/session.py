"""A session of the dashboard: a key was shown once, a cookie stands for it from then on."""

from dataclasses import dataclass
from typing import Final

from headway.kernel.clock import HOUR

LONGEST: Final = 12 * HOUR
"""A session lasts no longer, whatever is done in it; milliseconds."""
LONGEST_IDLE: Final = HOUR
"""Nor longer than this after its last use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    digest: str
    """Of the cookie's value, 64 hex digits: the value itself is never kept."""
    key_id: str
    created_at: int
    seen_at: int
    revoked_at: int | None = None

    def works_at(self, now: int) -> bool:
        return (
            self.revoked_at is None
            and now < self.created_at + LONGEST
            and now < self.seen_at + LONGEST_IDLE
        )
