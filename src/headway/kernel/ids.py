"""Identifiers of things without a name: a prefix and a UUIDv7 (RFC 9562), sortable by time."""

import secrets
from collections.abc import Callable

from headway.kernel.clock import Clock, utc_now

NewId = Callable[[str], str]
"""Takes a prefix (`dep`), returns an id (`dep_0192…`)."""


def new_id(prefix: str, *, clock: Clock = utc_now, random_bits: int | None = None) -> str:
    """Return `<prefix>_<32 hex digits>`; ids made later sort later, to the millisecond.

    `random_bits` are the 74 bits that are not time, version or variant; chance if not given.
    """
    chance = secrets.randbits(74) if random_bits is None else random_bits
    high, low = chance >> 62, chance & ((1 << 62) - 1)
    value = (clock() & ((1 << 48) - 1)) << 80 | 0x7 << 76 | (high & 0xFFF) << 64 | 0b10 << 62 | low
    return f"{prefix}_{value:032x}"
