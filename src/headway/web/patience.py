"""How often an address may present a key that does not work, before it has to wait."""

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from headway.kernel.clock import MINUTE, SECOND, Clock
from headway.kernel.errors import Busy

MOST: Final = 20
"""Failures of one address in a minute."""
_ADDRESSES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Failures:
    """The latest failures of each address; decided before any key is hashed."""

    clock: Clock
    _seen: OrderedDict[str, deque[int]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, address: str) -> None:
        """Raise `Busy` if the address failed too often of late."""
        now = self.clock()
        with self._lock:
            seen = self._seen.get(address, ())
            recent = [at for at in seen if 0 <= now - at < MINUTE]
        if len(recent) >= MOST:
            wait = -(-(recent[-MOST] + MINUTE - now) // SECOND)
            raise Busy(
                f"more than {MOST} keys that do not work came from your address in a minute",
                retry_after=max(1, wait),
            )

    def note(self, address: str) -> None:
        with self._lock:
            self._seen.setdefault(address, deque(maxlen=MOST)).append(self.clock())
            self._seen.move_to_end(address)
            if len(self._seen) > _ADDRESSES:
                self._seen.popitem(last=False)
