"""Bulk work in small pieces: whoever else writes waits for a moment only.

SQLite's writers do not stand in a line: one that works without a pause starves the others for
seconds. So a piece takes 50 ms at most, and there are 20 ms for everybody else after it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 0.05
"""Seconds that one piece may take."""
PAUSE: Final = 0.02
ENOUGH: Final = 5.0
"""Seconds after which the rest is left for another time."""
FEW: Final = 16
MANY: Final = 5_000
"""Items of the first piece, before it is known how long they take, and of any piece."""


@dataclass(frozen=True, slots=True)
class Batches:
    """Does bulk work piece by piece; `elapsed` gives seconds that never jump."""

    elapsed: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self, piece: Callable[[int], int]) -> int:
        """Call `piece` again and again with the most items that it may take, in a transaction.

        It returns how many it took; fewer than it might have: there are no more. Returns the sum.
        """
        began = self.elapsed()
        most, done = FEW, 0
        while True:
            start = self.elapsed()
            taken = piece(most)
            end = self.elapsed()
            done += taken
            if taken < most or end - began >= ENOUGH:
                return done
            # Half of what would fit, at most twice as many as before: the next may be slower.
            fits = int(most * LONGEST / 2 / max(end - start, 1e-6))
            most = max(1, min(fits, most * 2, MANY))
            self.sleep(PAUSE)
