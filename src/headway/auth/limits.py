"""What a key may use: requests and tokens a minute, requests at a time, money a day or a month.

Windows are fixed and the same everywhere: minutes, days and months of UTC. Money is kept as
integers: what a key may spend in micro-dollars, what it spent in nano-dollars, since one request
to a small model costs less than a micro-dollar.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Self

from headway.kernel.clock import DAY, MINUTE, SECOND
from headway.kernel.money import MICRO_OF_DOLLAR

MOST: Final = 10**12
"""The most that any limit may say; of money in dollars a millionth of it."""
MOST_MONEY: Final = 10**9 * MICRO_OF_DOLLAR


class Window(StrEnum):
    """What is counted, and for how long."""

    REQUESTS = "requests/minute"
    TOKENS = "tokens/minute"
    DAY = "usd/day"
    """Nano-dollars."""
    MONTH = "usd/month"
    UNPRICED_DAY = "unpriced/day"
    """Requests whose tokens have no known price: they cost something, nobody knows how much."""
    UNPRICED_MONTH = "unpriced/month"


SHORT: Final = frozenset({Window.REQUESTS, Window.TOKENS})
"""Windows of a minute: of no use to anybody when it is over."""
LONGEST: Final = 32 * DAY
"""Longer than any window lasts."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no such limit."""

    requests: int | None = None
    """A minute."""
    tokens: int | None = None
    """A minute."""
    concurrent: int | None = None
    """Requests at a time."""
    day: int | None = None
    """Micro-dollars a day."""
    month: int | None = None
    """Micro-dollars a month."""

    @property
    def any(self) -> bool:
        return self != NO_LIMITS

    def document(self) -> dict[str, int]:
        """Write it for the store and for gateways; what is not limited is left out."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: n for name, n in values.items() if n is not None}

    @classmethod
    def of(cls, document: Mapping[str, int] | None) -> Self:
        return cls(**(document or {}))


NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Starts:
    """When the windows began in which a moment lies, milliseconds UTC, and when they end."""

    minute: int
    day: int
    month: int
    next_month: int

    @classmethod
    def at(cls, now: int) -> Self:
        moment = datetime.fromtimestamp(now // SECOND, UTC)
        first = moment.replace(day=1, hour=0, minute=0, second=0)
        after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
        return cls(
            now - now % MINUTE,
            now - now % DAY,
            int(first.timestamp()) * SECOND,
            int(after.timestamp()) * SECOND,
        )

    def of(self, window: Window) -> int:
        """Return when a window began."""
        if window in SHORT:
            return self.minute
        return self.day if window in {Window.DAY, Window.UNPRICED_DAY} else self.month

    def end(self, window: Window) -> int:
        """Return when a window ends."""
        if window in SHORT:
            return self.minute + MINUTE
        if window in {Window.DAY, Window.UNPRICED_DAY}:
            return self.day + DAY
        return self.next_month

    def windows(self) -> tuple[tuple[Window, int], ...]:
        """Return every window with its start."""
        return tuple((window, self.of(window)) for window in Window)


@dataclass(frozen=True, slots=True)
class Use:
    """What all gateways together were told that a key used in the present windows."""

    starts: Starts
    windows: Mapping[Window, int]
    """What is not there was not used."""
    under_way: int
    """Requests at this moment, as far as the store was told."""
