"""Once more, when somebody else was faster: a few times, and not for long."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from headway.kernel.errors import Conflict

T = TypeVar("T")

LONGEST: Final = 5.0
"""Seconds after which nothing is begun anew: a store that somebody holds takes as long as that to
say so, each time it is asked, and whoever asked us waits for all of them."""


def _never(_error: Conflict) -> bool:
    return False


def repeated(
    unit: Callable[[], T],
    *,
    tries: int,
    unless: Callable[[Conflict], bool] = _never,
    pause: Callable[[int], None] = lambda _tried: None,
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
