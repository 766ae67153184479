"""A session of the dashboard: a key was shown once, a cookie stands for it from then on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    digest: str
    """Of the cookie's value, 64 hex digits: the value itself is never kept."""
    key_id: str
    created_at: int
    seen_at: int
    revoked_at: int | None = None
