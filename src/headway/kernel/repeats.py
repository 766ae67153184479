"""Once more, when somebody else was faster: a few times, and not for long."""

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from headway.kernel.errors import Conflict

T = TypeVar("T")

LONGEST: Final = 5.0
"""Seconds after which nothing is begun anew: a store that somebody holds takes as long as that to
say so, each time it is asked, and whoever asked us waits for all of them."""


_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.1


def _never(_error: Conflict) -> bool:
    return False


def _by_chance(tried: int) -> None:
    """Pause for longer each time, and never as long as somebody else who met us."""
    time.sleep(random.uniform(0, min(_PAUSE * 2**tried, _LONGEST_PAUSE)))  # noqa: S311 - no secret


def repeated(
    unit: Callable[[], T],
    *,
    tries: int,
    unless: Callable[[Conflict], bool] = _never,
    pause: Callable[[int], None] = _by_chance,
    elapsed: Callable[[], float] = time.monotonic,
) -> T:
    """Call `unit`, a whole transaction, again while it meets `Conflict`; return what it does.

    Raise what it met where `unless` says that another look would not help, at the last of the
    `tries`, and once `LONGEST` is over. `pause` is told how often it was tried.
    """
    over = elapsed() + LONGEST
    for tried in range(1, tries):
        try:
            return unit()
        except Conflict as error:
            if unless(error) or elapsed() >= over:
                raise
        pause(tried)
    return unit()
