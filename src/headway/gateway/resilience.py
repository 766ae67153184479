"""How a version's provider is spared: a budget for retries, and a circuit breaker.

    closed ──(it fails and fails)──> open ──(after a while)──> half open: one request tries
      ^                               ^                              │
      └──────────(it answered)────────┼──────────────────────────────┤
                                      └───────(it failed again)──────┘

Pure; one `Resilience` per version and gateway process, on the loop's thread. Only what the
provider did wrong is told here: what the caller caused, and a 429, say nothing of its health.

A request goes with a `Leave`, which is worth something until the state changes. So what was sent
before a breaker opened is never taken for the one that tries.
"""

from enum import StrEnum
from typing import Final

SHARE: Final = 0.15
"""Retries that a request earns. With what was saved up they are a fifth at most from 200 requests
of a failure on, which is what a provider that falls over can bear."""
_CREDIT: Final = 10.0
"""Retries that a version may have saved up; also what it starts with."""
_LEAST_SEEN: Final = 10
"""Requests within the window below which nothing is concluded but from a row of failures."""
_ROW: Final = 5
_WINDOW_SECONDS: Final = 10.0
_BAD_SHARE: Final = 0.5
_FIRST_REST_SECONDS: Final = 1.0
_LONGEST_REST_SECONDS: Final = 30.0
_PROBE_SECONDS: Final = 60.0
"""After so long without a word the one that tried is forgotten, and another tries."""
_MOST_VERSIONS: Final = 4_096


class State(StrEnum):
    """Of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Leave:
    """What requests go with that a breaker lets through: the same for all in one state."""

    __slots__ = ("_breaker",)

    def __init__(self, breaker: "Breaker") -> None:
        self._breaker = breaker

    def ended(self, now: float, *, good: bool | None) -> None:
        """Tell how a request ended that went with it; None: that says nothing."""
        self._breaker.ended(self, now, good=good)


class Breaker:
    """Opens after five failures in a row, or when half of ten or more within 10 s failed.

    It rests for a second, twice as long after each probe that fails, 30 s at most.
    """

    __slots__ = ("_failed", "_leave", "_rest", "_row", "_seen", "_since", "_until", "state")

    def __init__(self) -> None:
        self.state = State.CLOSED
        self._row = 0
        self._seen = self._failed = 0
        self._since = 0.0
        self._rest = _FIRST_REST_SECONDS
        self._until = 0.0
        self._leave = Leave(self)
        """Of the present state; any other is of one that is over."""

    def admit(self, now: float) -> Leave | None:
        """Return with what a request may go; None: it may not, and `wait` says how long.

        `now` in monotonic seconds. A request that is let through while half open is the probe.
        """
        if self.state is not State.CLOSED:
            if now < self._until:
                return None
            self._change(State.HALF_OPEN)
            self._until = now + _PROBE_SECONDS
        return self._leave

    def wait(self, now: float) -> float:
        """Return for how many seconds no request may go."""
        return 0.0 if self.state is State.CLOSED else max(0.0, self._until - now)

    def ended(self, leave: Leave, now: float, *, good: bool | None) -> None:
        """Take note of how a request ended that went with a leave; see `Leave.ended`."""
        if leave is not self._leave:
            return  # it was sent in a state that is over, and tells of that time
        if good is None:
            if self.state is State.HALF_OPEN:
                self._until = now  # the next one tries
        elif self.state is State.HALF_OPEN:
            self._probed(now, good=good)
        elif self.state is State.CLOSED:
            self._count(now, good=good)

    def _probed(self, now: float, *, good: bool) -> None:
        if good:
            self._change(State.CLOSED)
            self._rest = _FIRST_REST_SECONDS
            self._forget(now)
        else:
            self._rest = min(_LONGEST_REST_SECONDS, 2 * self._rest)
            self._open(now)

    def _count(self, now: float, *, good: bool) -> None:
        if now - self._since > _WINDOW_SECONDS:
            self._since, self._seen, self._failed = now, 0, 0
        self._seen += 1
        if good:
            self._row = 0
            return
        self._row += 1
        self._failed += 1
        many = self._seen >= _LEAST_SEEN and self._failed >= _BAD_SHARE * self._seen
        if self._row >= _ROW or many:
            self._open(now)

    def _open(self, now: float) -> None:
        self._change(State.OPEN)
        self._until = now + self._rest
        self._forget(now)

    def _change(self, state: State) -> None:
        self.state = state
        self._leave = Leave(self)

    def _forget(self, now: float) -> None:
        self._row = self._seen = self._failed = 0
        self._since = now


class Resilience:
    """What one gateway knows of how a version's provider fares."""

    __slots__ = ("_credit", "breaker")

    def __init__(self) -> None:
        self._credit = _CREDIT
        self.breaker = Breaker()

    def sent(self) -> None:
        """Count one request, not a retry."""
        self._credit = min(_CREDIT, self._credit + SHARE)

    @property
    def may_retry(self) -> bool:
        """Say whether the budget has a retry left."""
        return self._credit >= 1

    def retried(self) -> None:
        """Take one retry from the budget."""
        self._credit -= 1


class Resiliences:
    """By a version's digest; beyond a bound the one that was met first is forgotten."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, Resilience] = {}

    def of(self, digest: str) -> Resilience:
        """Return what is known of a version."""
        found = self._known.get(digest)
        if found is None:
            found = self._known[digest] = Resilience()
            if len(self._known) > _MOST_VERSIONS:
                del self._known[next(iter(self._known))]
        return found
