"""Request ids that say where a request went, so that feedback needs no row per request.

`req_` and 48 URL-safe characters are 36 bytes, big-endian:

    format 1 | time 6 | route revision id 4 | arm 1 | slice 1 | flags 1 | unit hash 8 | random 5
    | MAC 9

The MAC is BLAKE2b with a secret of the installation, so nobody else can make an id or change one.
The unit is a keyed hash as well: nothing of the caller is in it.
"""

from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntFlag
from hashlib import blake2b
from hmac import compare_digest
from random import Random, SystemRandom
from struct import Struct
from typing import Final, NamedTuple

from headway.routing.assignment import Assignment

LENGTH: Final = 52
_FORMAT: Final = 1
_MAC_SIZE: Final = 9
_BODY: Final = Struct(">QIBBqBI")
"""The 27 bytes before the MAC; the first number holds format, time and a quarter of the id."""
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
_MOST_IDS: Final = 1 << 32


class Flag(IntFlag):
    """How a request differs from an ordinary one. All but `SINGLE` keep it out of the evidence."""

    PINNED = 1
    CHECK = 2
    SHADOW = 4
    RETRY = 8
    VETOED = 16
    CACHED = 32
    SINGLE = 64
    """The unit is the request itself."""
    DEFAULT = 128
    """No rule matched, so no coin was tossed."""


PINNED: Final = int(Flag.PINNED)
CHECK: Final = int(Flag.CHECK)
SHADOW: Final = int(Flag.SHADOW)
RETRY: Final = int(Flag.RETRY)
VETOED: Final = int(Flag.VETOED)
CACHED: Final = int(Flag.CACHED)
SINGLE: Final = int(Flag.SINGLE)
DEFAULT: Final = int(Flag.DEFAULT)
NO_EVIDENCE: Final = PINNED | CHECK | SHADOW | RETRY | VETOED | CACHED | DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a request id says."""

    at: int
    """When the request was assigned, milliseconds UTC."""
    revision_id: int
    """The id of the route revision that assigned it; 0: no route did."""
    arm: int
    """Counted through the arms of all rules; see `Assignment.arm_index`."""
    slice: int
    flags: Flag
    unit: int
    """Signed 64-bit keyed hash; 0 for single requests."""

    @property
    def single(self) -> bool:
        return bool(self.flags & SINGLE)

    @property
    def is_evidence(self) -> bool:
        """Whether the judge may count it."""
        return not self.flags & NO_EVIDENCE


class Prefix(NamedTuple):
    """What is the same in every stamp of one arm of one route revision."""

    head: int
    tail: int


def flags_of(assignment: Assignment, flags: int = 0) -> int:
    """Return the flags of a request: those given and what its assignment says."""
    if assignment.single:
        flags |= SINGLE
    if assignment.pinned:
        flags |= PINNED
    elif assignment.rule < 0:
        flags |= DEFAULT
    if assignment.vetoed:
        flags |= VETOED
    return flags


class Stamper:
    """Makes and reads request ids. One per process; safe to share between threads.

    `key` is a secret of the installation, 16 to 64 bytes. Ids made with one of the keys in
    `retired` are still read, so that the key can be changed while feedback is on its way.
    """

    def __init__(
        self,
        key: bytes,
        *,
        retired: Sequence[bytes] = (),
        random_bits: Callable[[int], int] | None = None,
    ) -> None:
        for one in (key, *retired):
            if not 16 <= len(one) <= 64:
                raise ValueError("a stamp's key has 16 to 64 bytes")
        self._macs = tuple(
            blake2b(key=one, digest_size=_MAC_SIZE, person=b"headway stamp")
            for one in (key, *retired)
        )
        self._mac = self._macs[0]
        self._units = blake2b(key=key, digest_size=8, person=b"headway unit")
        # Not a secret (the MAC is): two requests of a unit in one millisecond must differ.
        self._random_bits = random_bits or _generator()

    @staticmethod
    def prefix(revision_id: int, arm_index: int) -> Prefix:
        """Return what `stamp` wants; build it once per route revision and arm.

        `revision_id` is below 2^32, `arm_index` below 256.
        """
        if not (0 <= revision_id < _MOST_IDS and 0 <= arm_index < 256):
            raise ValueError(f"revision {revision_id}, arm {arm_index}: too large for a stamp")
        return Prefix(_FORMAT << 56 | revision_id >> 24, (revision_id & 0xFFFFFF) << 8 | arm_index)

    def unit_hash(self, unit: str) -> int:
        """Return the keyed hash of a unit, a signed 64-bit number."""
        hashed = self._units.copy()
        hashed.update(unit.encode("utf-8", "surrogatepass"))
        return int.from_bytes(hashed.digest(), "big", signed=True)

    def stamp(self, prefix: Prefix, at: int, unit: int, flags: int = 0, slice_: int = 0) -> str:
        """Return the id of one request.

        `at`: milliseconds UTC. `unit`: its hash; 0 with the flag `SINGLE`. `flags`: of `Flag`.
        """
        head, tail = prefix
        chance = self._random_bits(40)
        body = _BODY.pack(
            head | at << 8, tail, slice_, flags, unit, chance >> 32, chance & 0xFFFFFFFF
        )
        mac = self._mac.copy()
        mac.update(body)
        text = b2a_base64(body + mac.digest(), newline=False)
        return "req_" + text.translate(_TO_URL).decode("ascii")

    def read(self, text: str) -> Stamp | None:
        """Return what an id says; None if it was not made with one of our keys."""
        if len(text) != LENGTH or not text.startswith("req_") or not text.isascii():
            return None
        letters = text[4:].encode("ascii")
        try:
            raw = a2b_base64(letters.translate(_FROM_URL))
        except NotBase64:
            return None
        # The decoder skips what is no letter of its alphabet; only our own spelling will do.
        if b2a_base64(raw, newline=False).translate(_TO_URL) != letters:
            return None
        body, given = raw[: _BODY.size], raw[_BODY.size :]
        if not any(_matches(mac, body, given) for mac in self._macs):
            return None
        head, tail, slice_, flags, unit, _, _ = _BODY.unpack(body)
        if head >> 56 != _FORMAT:
            return None
        return Stamp(
            at=head >> 8 & 0xFFFF_FFFF_FFFF,
            revision_id=(head & 0xFF) << 24 | tail >> 8,
            arm=tail & 0xFF,
            slice=slice_,
            flags=Flag(flags),
            unit=unit,
        )


def _matches(mac: blake2b, body: bytes, given: bytes) -> bool:
    own = mac.copy()
    own.update(body)
    return compare_digest(own.digest(), given)


def _generator() -> Callable[[int], int]:
    """Return a quick generator with a seed of its own, for ids that only have to differ."""
    return Random(SystemRandom().getrandbits(256)).getrandbits  # noqa: S311 - no secret
