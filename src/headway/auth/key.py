"""API keys: their form, their checksum, and the record that is kept instead of them."""

from dataclasses import dataclass
from typing import Final

from headway.auth.policy import ANY, Caller, Kind
from headway.auth.role import Role

KEY_PATTERN: Final = r"hw_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}"
"""For secret scanners."""


@dataclass(frozen=True, slots=True)
class Key:
    """The record of a key. The key itself is never kept, only its keyed `digest` (64 hex digits).

    `id` is the key's own public part, 8 characters, shown in lists and logs. Times are ms.
    `revoked_at` is a tombstone: rows stay. `last_used` is exact to the minute.
    """

    id: str
    name: str
    role: Role
    digest: str
    created_at: int
    created_by: str
    models: tuple[str, ...] = ANY
    environments: tuple[str, ...] = ANY
    kind: Kind = Kind.PERSON
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used: int | None = None
    revision: int = 0

    def works_at(self, now: int) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def caller(self) -> Caller:
        return Caller(self.id, self.name, self.role, self.models, self.environments, self.kind)
