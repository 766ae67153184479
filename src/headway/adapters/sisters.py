"""Requests under way at the gateways of one host, counted in memory that they share.

    flags: a byte per place      1: somebody has counted here
    place 0: buckets             a key's bucket follows from its id; eight entries each,
    place 1: buckets             an entry is a key's id and how many of its requests are under way
    ...

A gateway takes a place by a lock on its flag; the kernel ends it with the process, however that
ends. It writes in its own place only, so nobody waits for anybody, and what it reads is true to
the microsecond. What a dead one left is cleared by whoever would refuse a caller because of it, or
takes the place.
"""

import fcntl
import mmap
import os
import struct
import zlib
from contextlib import suppress
from typing import Final

PLACES: Final = 64
"""More gateways than one host has, renewed ones beside their successors included."""
_ID: Final = 24
_ENTRY: Final = struct.Struct(f"<{_ID}sQ")
_ENTRIES: Final = 8
_BUCKET: Final = _ENTRIES * _ENTRY.size
BUCKETS: Final = 512
_PLACE: Final = BUCKETS * _BUCKET
_SIZE: Final = PLACES + PLACES * _PLACE
_EMPTY: Final = bytes(_PLACE)


class SistersByMemory:
    """What a gateway tells its sisters, and hears of them; one for each process.

    `memory`: a descriptor of what all of them share. A place is 128 KB, and there when it is used.
    """

    def __init__(self, memory: int) -> None:
        self._file = memory
        os.ftruncate(memory, _SIZE)
        self._memory = mmap.mmap(memory, _SIZE)
        self._mine = self._take()
        self._flags = b""
        self._others: tuple[int, ...] = ()

    def tell(self, key_id: str, n: int) -> None:
        """Say how many requests of a key are under way here.

        More keys than a bucket has entries are not told of: a sister then lets more through.
        """
        key = _padded(key_id)
        if self._mine is None or key is None:
            return
        memory, start = self._memory, _bucket(self._mine, key)
        free = -1
        for at in range(start, start + _BUCKET, _ENTRY.size):
            there, under_way = _ENTRY.unpack_from(memory, at)
            if there == key:
                _ENTRY.pack_into(memory, at, key, n)
                return
            if not under_way and free < 0:
                free = at
        if free >= 0 and n:
            _ENTRY.pack_into(memory, free, key, n)

    def under_way(self, key_id: str) -> int:
        """Return how many requests of a key are under way at the others."""
        key = _padded(key_id)
        if key is None:
            return 0
        flags = self._memory[:PLACES]
        if flags != self._flags:
            self._flags = flags
            self._others = tuple(i for i in range(PLACES) if flags[i] and i != self._mine)
        return sum(self._at(place, key) for place in self._others)

    def forget_the_dead(self) -> bool:
        """Clear what those left who are gone; say whether there was any."""
        gone = False
        for place in tuple(self._others):
            if self._lock(place):
                self._clear(place)
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
                gone = True
        return gone

    def _at(self, place: int, key: bytes) -> int:
        start = _bucket(place, key)
        bucket = self._memory[start : start + _BUCKET]
        found = bucket.find(key)
        if found < 0:
            return 0
        n: int = _ENTRY.unpack_from(bucket, found)[1]
        return n

    def _take(self) -> int | None:
        for place in range(PLACES):
            if self._lock(place):
                self._clear(place)
                self._memory[place] = 1
                return place
        return None

    def _lock(self, place: int) -> bool:
        with suppress(OSError):
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            return True
        return False

    def _clear(self, place: int) -> None:
        if self._memory[place]:
            start = PLACES + place * _PLACE
            self._memory[start : start + _PLACE] = _EMPTY
            self._memory[place] = 0


def _padded(key_id: str) -> bytes | None:
    """Return a key's id as it stands in an entry; None: it is too long for one."""
    key = key_id.encode()
    return key.ljust(_ID, b"\0") if key and len(key) <= _ID else None


def _bucket(place: int, key: bytes) -> int:
    return PLACES + place * _PLACE + zlib.crc32(key) % BUCKETS * _BUCKET
