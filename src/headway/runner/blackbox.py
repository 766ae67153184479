"""What the runner was doing when it died: a small mapped file that survives a SIGKILL.

Each thread writes the digest that it works on into its slot before it touches the model, and
clears it after. A slot that is still full at the next start names a model that may have killed
the runner; twice within an hour, and it is quarantined for as long.

How the runner died says who is suspected. A busy model stands in a slot most of the time: were it
blamed for each SIGKILL, an operator who restarts the runner twice would take the stable version
away from its callers; were it blamed for what crashed beside it, so would a bad candidate. So
`faulthandler` writes down which thread crashed, and who ends the runner for a model clears the
slots of the others.
"""

import json
import math
import mmap
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

from headway.kernel.clock import HOUR, Clock

SLOTS: Final = 72
_SLOT: Final = 96
_STRIKES: Final = 2
_LOADING: Final = " loading"
"""Written after the digest while a model is being loaded."""
_CRASHED: Final = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)
"""How `faulthandler` writes which thread it was."""


class Suspects(StrEnum):
    """Which of the models that were touched when the runner died may have killed it."""

    ALL = "all"
    """It crashed, or nobody knows how it died: whoever the crash names, or each of them."""
    LOADING = "loading"
    """It was killed from outside: by a person, or by a kernel that lacked memory to load with.

    The charge is then one of its own, and falls when the model can be loaded."""
    NONE = "none"
    """It was told to end, or its whole machine went down."""


class BlackBox:
    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        monotonic: Callable[[], float],
        suspects: Suspects,
    ) -> None:
        self._clock, self._monotonic = clock, monotonic
        self._deaths_file = folder / "runner-deaths.json"
        path = folder / "runner-slots.bin"
        self.crash_file = folder / "runner-crash.txt"
        """Where `faulthandler` shall write; read when the next runner starts."""
        left = _crashed(self._read(path), self.crash_file)
        self._deaths = self._recall(_suspected(left, suspects))
        self.crash_file.write_bytes(b"")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, SLOTS * _SLOT)
            self._map = mmap.mmap(descriptor, SLOTS * _SLOT)
        finally:
            os.close(descriptor)
        self._map[:] = bytes(SLOTS * _SLOT)
        self._lock = threading.Lock()
        self._free = list(range(SLOTS))
        self._busy: dict[int, tuple[str, float]] = {}

    def quarantined(self, digest: str) -> bool:
        hour_ago = self._clock() - HOUR
        return any(
            sum(at > hour_ago for at in self._deaths.get(charge, ())) >= _STRIKES
            for charge in (digest, f"{digest}{_LOADING}")
        )

    @contextmanager
    def busy(
        self, digest: str, *, loading: bool = False, within: float = math.inf
    ) -> Iterator[None]:
        """Stand in a slot while the model is touched, for at most so many seconds: `overdue`."""
        with self._lock:
            slot = self._free.pop()
            self._busy[slot] = (digest, self._monotonic() + within)
        start = slot * _SLOT
        charge = f"{digest}{_LOADING}" if loading else digest
        text = f"{charge} {threading.get_ident():x}"
        written = text.encode()[:_SLOT].ljust(_SLOT, b"\0")
        self._map[start : start + _SLOT] = written
        try:
            yield
            if loading:
                self._acquit(digest)
        finally:
            self._map[start : start + _SLOT] = bytes(_SLOT)
            with self._lock:
                del self._busy[slot]
                self._free.append(slot)

    def accuse(self, digest: str) -> None:
        """Clear every slot but those of this model: it alone is why the runner ends now."""
        with self._lock:
            for slot, (other, _) in self._busy.items():
                if other != digest:
                    self._map[slot * _SLOT : (slot + 1) * _SLOT] = bytes(_SLOT)

    def _acquit(self, digest: str) -> None:
        """Forget that the runner was killed while it loaded this: there was memory enough."""
        with self._lock:
            if self._deaths.pop(f"{digest}{_LOADING}", None):
                self._deaths_file.write_text(json.dumps(self._deaths), "ascii")

    def overdue(self) -> str | None:
        """Return a digest that has been busy for longer than it was given, or None."""
        now = self._monotonic()
        with self._lock:
            for digest, until in self._busy.values():
                if now > until:
                    return digest
        return None

    @staticmethod
    def _read(path: Path) -> list[str]:
        try:
            whole = path.read_bytes()
        except OSError:
            return []
        slots = (whole[at : at + _SLOT].rstrip(b"\0") for at in range(0, len(whole), _SLOT))
        return [slot.decode("ascii", "replace") for slot in slots if slot]

    def _recall(self, suspected: frozenset[str]) -> dict[str, list[int]]:
        try:
            deaths = json.loads(self._deaths_file.read_text("ascii"))
        except (OSError, ValueError):
            deaths = {}
        hour_ago, now = self._clock() - HOUR, self._clock()
        deaths = {d: [at for at in times if at > hour_ago] for d, times in deaths.items()}
        for charge in suspected:
            deaths.setdefault(charge, []).append(now)
        kept = {digest: times for digest, times in deaths.items() if times}
        self._deaths_file.write_text(json.dumps(kept), "ascii")
        return kept


def _crashed(left: list[str], crash_file: Path) -> list[str]:
    """Return the charges that slots hold; only that of the thread that crashed, if it is known."""
    try:
        named = _CRASHED.search(crash_file.read_text("ascii", "replace"))
    except OSError:
        named = None
    charges = [slot.rpartition(" ")[::2] for slot in left]
    thread = f"{int(named[1], 16):x}" if named else None
    known = [charge for charge, ident in charges if ident == thread]
    return known or [charge for charge, _ in charges]


def _suspected(left: list[str], suspects: Suspects) -> frozenset[str]:
    match suspects:
        case Suspects.ALL:
            return frozenset(slot.removesuffix(_LOADING) for slot in left)
        case Suspects.LOADING:
            return frozenset(slot for slot in left if slot.endswith(_LOADING))
        case Suspects.NONE:
            return frozenset()
