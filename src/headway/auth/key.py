"""API keys: their form, their checksum, and the record that is kept instead of them.

hw_ k3yId8Ch _ 43 characters of chance (256 bits) 6 of checksum (CRC-32 of all before)
"""

import re
import secrets
import string
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, Self

from headway.auth.limits import NO_LIMITS, Limits
from headway.auth.policy import ANY, Caller, Kind
from headway.auth.role import Role
from headway.kernel.errors import Unauthenticated

KEY_PATTERN: Final = r"hw_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}"
"""For secret scanners."""
_KEY: Final = re.compile(KEY_PATTERN + r"\Z")
_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID, _SECRET, _CHECKSUM = 8, 43, 6

Digester = Callable[[str], str]
"""Takes a key's text, returns its digest (64 hex digits)."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A key as its owner holds it. Shown once, when it is made; never by `repr`."""

    id: str
    text: str = field(repr=False)

    @classmethod
    def generate(cls, choose: Callable[[str], str] = secrets.choice) -> Self:
        """Make a new key; `choose` picks one character of a text by chance."""
        public = "".join(choose(_BASE62) for _ in range(_ID))
        chance = "".join(choose(_BASE62) for _ in range(_SECRET))
        start = f"hw_{public}_{chance}"
        return cls(public, start + _checksum(start))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a key, or raise `Unauthenticated`: form and checksum, before any hash."""
        if not _KEY.match(text) or _checksum(text[:-_CHECKSUM]) != text[-_CHECKSUM:]:
            raise Unauthenticated("this is no API key")
        return cls(text[3 : 3 + _ID], text)


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM):
        number, rest = divmod(number, len(_BASE62))
        digits = _BASE62[rest] + digits
    return digits


def digester(sub_key: bytes) -> Digester:
    """Return the function that takes a key's text to its digest: BLAKE2b-256, keyed.

    Fast on purpose: the secret is 256 bits of chance, not a password that could be guessed.
    """
    keyed = blake2b(key=sub_key, digest_size=32)

    def digest(text: str) -> str:
        state = keyed.copy()
        state.update(text.encode())
        return state.hexdigest()

    return digest


@dataclass(frozen=True, slots=True)
class Key:
    """The record of a key. The key itself is never kept, only its keyed `digest` (64 hex digits).

    `id` is the key's own public part, 8 characters, shown in lists and logs. Times are ms.
    `revoked_at` is a tombstone: rows stay. `last_used` is exact to the minute.
    """

    id: str
    name: str
    role: Role
    digest: str = field(repr=False)
    created_at: int
    created_by: str
    models: tuple[str, ...] = ANY
    environments: tuple[str, ...] = ANY
    paths: tuple[str, ...] = ANY
    limits: Limits = NO_LIMITS
    kind: Kind = Kind.PERSON
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used: int | None = None
    revision: int = 0

    def works_at(self, now: int) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def caller(self) -> Caller:
        return Caller(
            self.id,
            self.name,
            self.role,
            self.models,
            self.environments,
            self.kind,
            self.paths,
            self.limits if self.limits.any else None,
        )
