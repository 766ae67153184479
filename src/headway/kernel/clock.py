"""Time, passed in rather than looked up, so that a test can choose it.

All times in the domain are integers: milliseconds since 1970 in UTC. The web turns them into
RFC 3339. Leases are compared on the database's clock, never on this one.
"""

import time
from collections.abc import Callable
from typing import Final

Clock = Callable[[], int]
"""Returns the present time in milliseconds since 1970, UTC."""

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


def utc_now() -> int:
    """Return the present time in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
