"""The root key: 32 bytes from which every other key of an installation is derived (HKDF)."""

import base64
import hmac
import secrets
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Self

from headway.kernel.errors import Refused

LENGTH: Final = 32


class Purpose(Enum):
    """What a sub-key is for; one is never used for two things."""

    KEY_HASH = "key-hash"
    SESSION = "session"
    SEAL = "seal"
    AUDIT = "audit"
    HOP = "hop"
    STAMP = "stamp"
    CHECK = "check"
    ASK = "ask"
    """What control shows to a gateway of which it asks whether a version answers."""


@dataclass(frozen=True, slots=True)
class RootKey:
    """32 secret bytes; never shown, also not by `repr`."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != LENGTH:
            raise Refused(f"a root key has {LENGTH} bytes, this one has {len(self.secret)}")

    @classmethod
    def generate(cls) -> Self:
        return cls(secrets.token_bytes(LENGTH))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 64 hex digits, or base64 of 32 bytes; `Refused` never quotes what it met."""
        text = text.strip()
        try:
            return cls(bytes.fromhex(text))
        except (ValueError, Refused):
            pass
        padded = text + "=" * (-len(text) % 4)
        try:
            return cls(base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True))
        except (ValueError, Refused):
            raise Refused(
                "a root key is written as 64 hex digits, or as base64 of 32 bytes"
            ) from None

    def text(self) -> str:
        """Write it so that `parse` reads it again."""
        return self.secret.hex()

    def sub_key(self, purpose: Purpose) -> bytes:
        """Return the 32 bytes for one purpose (HKDF-SHA256, RFC 5869, the purpose as `info`)."""
        return _hkdf(self.secret, f"headway {purpose.value}".encode())

    def check_value(self) -> str:
        """Return what is stored to recognise this key by; it tells nothing about it."""
        return self.sub_key(Purpose.CHECK).hex()

    def verify(self, stored: str) -> None:
        """Raise `Refused` unless the stored check value is of this key."""
        if not hmac.compare_digest(self.check_value(), stored):
            raise Refused(
                "this root key is not the one that this database was made with: every API key "
                "would be refused. Point HEADWAY_ROOT_KEY_FILE (or HEADWAY_ROOT_KEY) at the right "
                "one"
            )


def _hkdf(secret: bytes, info: bytes) -> bytes:
    """Extract without a salt, then expand to a single block: all of HKDF that is needed here.

    Two HMACs of the standard library; a library for it is 6 MB in each of our processes.
    """
    extracted = hmac.digest(bytes(LENGTH), secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")
