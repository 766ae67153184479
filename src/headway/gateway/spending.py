"""What keys with limits may still use: counted on the loop's thread, without a lock.

    admit ── a request counts from here on ──> Admission ── spent: tokens, money ── ended
      │                                            │
    429 (policy)                                 lines: what is left, for the head of the answer

A gateway knows its own use to the request, and that of the others as of a second or two ago. What
the others have admitted since cannot be known, so a limit may be passed by that much and no more;
nobody is refused who is within his limits. Tokens and money are known when the answer is there:
who is below the limit is let through, and pays afterwards.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from headway.auth.limits import NANO_OF_MICRO, Limits, Starts, Window
from headway.auth.policy import Caller
from headway.gateway.accumulator import Accumulator
from headway.gateway.exchange import Problem
from headway.gateway.limits import LONGEST_RETRY_AFTER
from headway.kernel.clock import MINUTE, SECOND, Clock
from headway.tracking.measurement import Others, Outcome, WindowKey

_NOTHING: Final = Others()
_FULL_SECONDS: Final = 1
"""When to come again if too many requests are under way: nobody knows when one ends."""
_RETRY: Final = b"x-should-retry: true\r\n"
_GIVE_UP: Final = b"x-should-retry: false\r\n"
_MONEY: Final = (
    ("day", Window.DAY, Window.UNPRICED_DAY),
    ("month", Window.MONTH, Window.UNPRICED_MONTH),
)


class _Meter:
    """What one key used on this gateway in the present windows."""

    __slots__ = ("key_id", "starts", "used")

    def __init__(self, key_id: str, starts: Starts) -> None:
        self.key_id = key_id
        self.starts = starts
        self.used: dict[Window, int] = {}

    def turn(self, now: int) -> None:
        """Begin those windows anew that are over; a clock that goes back ends none."""
        old = self.starts
        if now < old.minute + MINUTE:
            return
        self.starts = new = Starts.at(now)
        for window in tuple(self.used):
            if old.of(window) != new.of(window):
                del self.used[window]

    def add(self, window: Window, n: int) -> tuple[WindowKey, int]:
        """Count something; return what the store must be told."""
        self.used[window] = self.used.get(window, 0) + n
        return (window.value, self.starts.of(window), self.key_id), n


class Admission:
    """One request of a key with limits, from its head to its end."""

    __slots__ = ("_limits", "_meter", "_over", "_spending", "lines", "problem")

    def __init__(
        self,
        spending: "Spending",
        meter: _Meter,
        limits: Limits,
        *,
        problem: Problem | None,
        lines: bytes,
    ) -> None:
        self._spending = spending
        self._meter = meter
        self._limits = limits
        self._over = problem is not None
        self.problem = problem
        """Why it is refused; None: it is not."""
        self.lines = lines
        """Fields of its answer: what is left of the limits of a minute."""

    def spent(self, tokens: Mapping[str, int], cost: int | None) -> None:
        """Count what it used. `cost`: nano-dollars, None if nobody knows the price."""
        self._spending.spent(self._meter, self._limits, tokens, cost)

    def ended(self) -> None:
        """Count it as under way no more, once."""
        if not self._over:
            self._over = True
            self._spending.ended(self._meter)


class Spending:
    """The limits of all keys of one gateway process. Lives on the loop's thread."""

    def __init__(self, accumulator: Accumulator, clock: Clock) -> None:
        self._accumulator = accumulator
        self._clock = clock
        self._others = _NOTHING
        self._meters: dict[str, _Meter] = {}

    def told(self, others: Others) -> None:
        """Learn what the other gateways used."""
        self._others = others

    def retain(self, callers: Iterable[Caller]) -> None:
        """Forget keys that are not there any more, or have no limits now."""
        if not self._meters:
            return
        limited = {caller.id for caller in callers if caller.limits is not None}
        for gone in self._meters.keys() - limited:
            del self._meters[gone]

    def admit(self, caller: Caller, limits: Limits) -> Admission:
        """Let a request through and count it, or say why not."""
        now = self._clock()
        meter = self._meters.get(caller.id)
        if meter is None:
            meter = self._meters[caller.id] = _Meter(caller.id, Starts.at(now))
        meter.turn(now)
        problem, retry = self._refusal(meter, limits, now)
        if problem is not None:
            lines = self._lines(meter, limits, now) + retry
            return Admission(self, meter, limits, problem=problem, lines=lines)
        accumulator = self._accumulator
        accumulator.key_spent((meter.add(Window.REQUESTS, 1),))
        under_way = accumulator.under_way
        under_way[caller.id] = under_way.get(caller.id, 0) + 1
        lines = self._lines(meter, limits, now)
        return Admission(self, meter, limits, problem=None, lines=lines)

    def spent(
        self, meter: _Meter, limits: Limits, tokens: Mapping[str, int], cost: int | None
    ) -> None:
        """Count what a request used; see `Admission.spent`."""
        meter.turn(self._clock())
        n = tokens.get("input", 0) + tokens.get("output", 0)
        spent = [meter.add(Window.TOKENS, n)]
        for name, money, unpriced in _MONEY:
            if getattr(limits, name) is not None:
                spent.append(meter.add(unpriced, 1) if cost is None else meter.add(money, cost))
        self._accumulator.key_spent(spent)

    def ended(self, meter: _Meter) -> None:
        """Count a request that was let through as under way no more."""
        under_way = self._accumulator.under_way
        left = under_way.get(meter.key_id, 0) - 1
        if left > 0:
            under_way[meter.key_id] = left
        else:
            under_way.pop(meter.key_id, None)

    def used(self, meter: _Meter, window: Window) -> int:
        """Return what all gateways used of a window, as far as this one knows."""
        place = (window.value, meter.starts.of(window), meter.key_id)
        return meter.used.get(window, 0) + self._others.windows.get(place, 0)

    def _refusal(self, meter: _Meter, limits: Limits, now: int) -> tuple[Problem | None, bytes]:
        """Return why the next request is refused, and what its client should do."""
        for name, window, _ in _MONEY:
            most: int | None = getattr(limits, name)
            if most is not None and self.used(meter, window) >= most * NANO_OF_MICRO:
                return _spent(most, name, meter.starts.end(window), now), _GIVE_UP
        wait = _seconds(meter.starts.minute + MINUTE - now)
        for window, most in (
            (Window.REQUESTS, limits.requests),
            (Window.TOKENS, limits.tokens),
        ):
            if most is not None and self.used(meter, window) >= most:
                return _too_many(f"{most:,} {window.value.replace('/', ' a ')}", wait), _RETRY
        if limits.concurrent is not None:
            key_id = meter.key_id
            there = self._accumulator.under_way.get(key_id, 0)
            there += self._others.under_way.get(key_id, 0)
            if there >= limits.concurrent:
                words = f"{limits.concurrent:,} requests at a time"
                return _too_many(words, _FULL_SECONDS), _RETRY
        return None, b""

    def _lines(self, meter: _Meter, limits: Limits, now: int) -> bytes:
        """Write what is left in this minute, as the clients of both dialects read it."""
        lines = []
        end = meter.starts.minute + MINUTE
        for kind, window, most in (
            (b"requests", Window.REQUESTS, limits.requests),
            (b"tokens", Window.TOKENS, limits.tokens),
        ):
            if most is None:
                continue
            left = max(0, most - self.used(meter, window))
            lines.append(
                _LEFT
                % {
                    b"kind": kind,
                    b"most": most,
                    b"left": left,
                    b"seconds": _seconds(end - now),
                    b"at": datetime.fromtimestamp(end // SECOND, UTC).strftime(_RFC3339).encode(),
                }
            )
        return b"".join(lines)


_RFC3339: Final = "%Y-%m-%dT%H:%M:%SZ"
_LEFT: Final = (
    b"x-ratelimit-limit-%(kind)b: %(most)d\r\n"
    b"x-ratelimit-remaining-%(kind)b: %(left)d\r\n"
    b"x-ratelimit-reset-%(kind)b: %(seconds)ds\r\n"
    b"anthropic-ratelimit-%(kind)b-limit: %(most)d\r\n"
    b"anthropic-ratelimit-%(kind)b-remaining: %(left)d\r\n"
    b"anthropic-ratelimit-%(kind)b-reset: %(at)b\r\n"
)
"""A duration for OpenAI's clients, a time for Anthropic's."""


def _seconds(milliseconds: int) -> int:
    """Return whole seconds that are not too short."""
    return max(1, -(-milliseconds // SECOND))


def _too_many(words: str, wait: int) -> Problem:
    return Problem(
        429,
        f"this key may have {words}, and it has them: try again in {wait} s",
        Outcome.POLICY,
        "rate_limit_exceeded",
        retry_after=wait,
    )


def _spent(most: int, period: str, end: int, now: int) -> Problem:
    again = datetime.fromtimestamp(end // SECOND, UTC).strftime(_RFC3339)
    return Problem(
        429,
        f"this key has spent what it may, {_dollars(most)} a {period}: the next {period} begins "
        f"at {again}",
        Outcome.POLICY,
        "insufficient_quota",
        retry_after=min(LONGEST_RETRY_AFTER, _seconds(end - now)),
    )


def _dollars(micro: int) -> str:
    """Write micro-dollars as dollars: 5000000 -> "$5", 2500000 -> "$2.50"."""
    text = f"{micro / 1_000_000:,.6f}".rstrip("0").rstrip(".")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents:0<2}" if cents else f"${whole}"
