"""A message: a side effect that waits to be carried out, outside of any transaction.

    waiting ──leased──> carried out: `answer` is stored ──> read by whoever asked
       ^         │
       └─────────┘  failed: tried again later, with the same key

Checks, probes and notifications are messages. The key makes a repeat harmless.
"""

from dataclasses import dataclass

from headway.kernel.canonical import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    key: str
    """The idempotency key, unique: `dep_…:check:1:loads:1`."""
    kind: str
    """`check`, `probe`, `webhook`."""
    payload: Json
    created_at: int
    deployment: str | None = None
    attempts: int = 0
    lease_owner: str = ""
    answer: Json = None
    """What came of it; None until it was carried out."""
    answered_at: int | None = None
    dead: bool = False
    """Given up after too many attempts."""
