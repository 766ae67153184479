"""What keys with limits may still use: counted on the loop's thread, without a lock.

    admit ── a request counts from here on ──> Admission ── spent: tokens, money ── ended
      │                                            │
    429 (policy)                                 lines: what is left, for the head of the answer

A gateway knows its own use to the request, and that of the others as of a second or two ago. What
the others have admitted since cannot be known, so a limit may be passed by that much and no more;
nobody is refused who is within his limits. Tokens and money are known when the answer is there:
who is below the limit is let through, and pays afterwards.

Requests at a time go down again, so what was true a second ago would refuse a caller within his
limit. They are counted with those gateways only that share memory: the sisters of one host.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, Protocol

from headway.auth.limits import Limits, Starts, Window
from headway.auth.policy import Caller
from headway.gateway.accumulator import Accumulator
from headway.gateway.exchange import Problem
from headway.gateway.limits import LONGEST_RETRY_AFTER
from headway.kernel.clock import MINUTE, SECOND, Clock
from headway.kernel.money import MICRO_OF_DOLLAR, NANO_OF_MICRO
from headway.tracking.measurement import Others, Outcome, WindowKey

_NOTHING: Final = Others()
_FULL_SECONDS: Final = 1
"""When to come again if too many requests are under way: nobody knows when one ends."""
_RETRY: Final = b"x-should-retry: true\r\n"
_GIVE_UP: Final = b"x-should-retry: false\r\n"
_WINDOWS: Final = tuple(Window)
_REQUESTS, _TOKENS, _DAY, _MONTH, _UNPRICED_DAY, _UNPRICED_MONTH = map(
    _WINDOWS.index,
    (
        Window.REQUESTS,
        Window.TOKENS,
        Window.DAY,
        Window.MONTH,
        Window.UNPRICED_DAY,
        Window.UNPRICED_MONTH,
    ),
)
"""Windows by number: a list is quicker than a mapping by members of an enumeration."""
_RFC3339: Final = "%Y-%m-%dT%H:%M:%SZ"


class Sisters(Protocol):
    """The other gateways of this host, as of this moment."""

    def tell(self, key_id: str, n: int) -> None:
        """Say how many requests of a key are under way here."""

    def under_way(self, key_id: str) -> int:
        """Return how many requests of a key are under way at the others."""

    def forget_the_dead(self) -> bool:
        """Count those no more whose gateway is gone; say whether there was such a gateway."""


class NoSisters:
    """Of a gateway that somebody started by itself."""

    def tell(self, key_id: str, n: int) -> None:
        """Say it to nobody."""

    def under_way(self, key_id: str) -> int:
        """Return what nobody has."""
        del key_id
        return 0

    def forget_the_dead(self) -> bool:
        """Find nobody."""
        return False


class _Meter:
    """What one key used in the present windows: on this gateway, and on the others."""

    __slots__ = ("end", "heard", "key_id", "others", "own", "places", "resets", "starts")

    def __init__(self, key_id: str, starts: Starts) -> None:
        self.key_id = key_id
        self.own = [0] * len(_WINDOWS)
        self.others = [0] * len(_WINDOWS)
        self.heard: Others | None = None
        """What `others` was read from."""
        self._begin(starts)

    def _begin(self, starts: Starts) -> None:
        self.starts = starts
        self.end = starts.minute + MINUTE
        self.places: tuple[WindowKey, ...] = tuple(
            (window.value, at, self.key_id) for window, at in starts.windows()
        )
        self.resets = _moment(self.end).encode("ascii")

    def turn(self, now: int) -> None:
        """Begin those windows anew that are over; a clock that goes back ends none."""
        if now < self.end:
            return
        old = self.places
        self._begin(Starts.at(now))
        for window, (before, after) in enumerate(zip(old, self.places, strict=True)):
            if before != after:
                self.own[window] = 0
        self.heard = None

    def hear(self, others: Others) -> None:
        """Learn what the other gateways used."""
        if self.heard is not others:
            self.heard = others
            self.others = [others.windows.get(place, 0) for place in self.places]

    def used(self, window: int) -> int:
        """Return what all gateways used of a window, as far as this one knows."""
        return self.own[window] + self.others[window]

    def add(self, window: int, n: int) -> tuple[WindowKey, int]:
        """Count something; return what the store must be told."""
        self.own[window] += n
        return self.places[window], n


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

    def __init__(self, accumulator: Accumulator, clock: Clock, sisters: Sisters) -> None:
        self._accumulator = accumulator
        self._clock = clock
        self._sisters = sisters
        self._others = _NOTHING
        self._meters: dict[str, _Meter] = {}

    def told(self, others: Others) -> None:
        """Learn what the other gateways used."""
        self._others = others

    def retain(self, callers: Iterable[Caller]) -> None:
        """Forget keys that are not there any more.

        What one used stays while its limits are taken away: they may come back.
        """
        if not self._meters:
            return
        for gone in self._meters.keys() - {caller.id for caller in callers}:
            del self._meters[gone]

    def admit(self, caller: Caller, limits: Limits) -> Admission:
        """Let a request through and count it, or say why not."""
        now = self._clock()
        meter = self._meters.get(caller.id)
        if meter is None:
            meter = self._meters[caller.id] = _Meter(caller.id, Starts.at(now))
        meter.turn(now)
        meter.hear(self._others)
        problem, retry = self._refusal(meter, limits, now)
        if problem is None:
            accumulator = self._accumulator
            accumulator.key_spent((meter.add(_REQUESTS, 1),))
            under_way = accumulator.under_way
            there = under_way[caller.id] = under_way.get(caller.id, 0) + 1
            self._sisters.tell(caller.id, there)
        return Admission(
            self, meter, limits, problem=problem, lines=_left(meter, limits, now) + retry
        )

    def spent(
        self, meter: _Meter, limits: Limits, tokens: Mapping[str, int], cost: int | None
    ) -> None:
        """Count what a request used; see `Admission.spent`."""
        meter.turn(self._clock())
        spent = [meter.add(_TOKENS, tokens.get("input", 0) + tokens.get("output", 0))]
        if limits.day is not None:
            spent.append(meter.add(_UNPRICED_DAY, 1) if cost is None else meter.add(_DAY, cost))
        if limits.month is not None:
            spent.append(
                meter.add(_UNPRICED_MONTH, 1) if cost is None else meter.add(_MONTH, cost)
            )
        self._accumulator.key_spent(spent)

    def ended(self, meter: _Meter) -> None:
        """Count a request that was let through as under way no more."""
        under_way = self._accumulator.under_way
        left = under_way.get(meter.key_id, 0) - 1
        if left > 0:
            under_way[meter.key_id] = left
        else:
            under_way.pop(meter.key_id, None)
        self._sisters.tell(meter.key_id, max(left, 0))

    def _refusal(self, meter: _Meter, limits: Limits, now: int) -> tuple[Problem | None, bytes]:
        """Return why the next request is refused, and what its client should do."""
        day, month = limits.day, limits.month
        if day is not None and meter.used(_DAY) >= day * NANO_OF_MICRO:
            return _spent(day, "day", meter.starts.end(Window.DAY), now), _GIVE_UP
        if month is not None and meter.used(_MONTH) >= month * NANO_OF_MICRO:
            return _spent(month, "month", meter.starts.end(Window.MONTH), now), _GIVE_UP
        if limits.requests is not None and meter.used(_REQUESTS) >= limits.requests:
            words = f"{limits.requests:,} requests a minute"
            return _too_many(words, _seconds(meter.end - now)), _RETRY
        if limits.tokens is not None and meter.used(_TOKENS) >= limits.tokens:
            words = f"{limits.tokens:,} tokens a minute"
            return _too_many(words, _seconds(meter.end - now)), _RETRY
        if limits.concurrent is not None and self._full(meter.key_id, limits.concurrent):
            words = f"{limits.concurrent:,} requests at a time"
            return _too_many(words, _FULL_SECONDS), _RETRY
        return None, b""

    def _full(self, key_id: str, most: int) -> bool:
        own = self._accumulator.under_way.get(key_id, 0)
        sisters = self._sisters
        if own + sisters.under_way(key_id) < most:
            return False
        # Nobody is refused for what a gateway left that has died.
        return not sisters.forget_the_dead() or own + sisters.under_way(key_id) >= most


def _left(meter: _Meter, limits: Limits, now: int) -> bytes:
    """Write what is left in this minute, as the clients of both dialects read it."""
    lines = b""
    for window, most, form in (
        (_REQUESTS, limits.requests, _LEFT_REQUESTS),
        (_TOKENS, limits.tokens, _LEFT_TOKENS),
    ):
        if most is not None:
            left = max(0, most - meter.used(window))
            wait = _seconds(meter.end - now)
            lines += form % (most, left, wait, most, left, meter.resets)
    return lines


def _form(kind: bytes) -> bytes:
    return (
        b"x-ratelimit-limit-%(kind)b: %%d\r\n"
        b"x-ratelimit-remaining-%(kind)b: %%d\r\n"
        b"x-ratelimit-reset-%(kind)b: %%ds\r\n"
        b"anthropic-ratelimit-%(kind)b-limit: %%d\r\n"
        b"anthropic-ratelimit-%(kind)b-remaining: %%d\r\n"
        b"anthropic-ratelimit-%(kind)b-reset: %%b\r\n"
    ) % {b"kind": kind}


_LEFT_REQUESTS: Final = _form(b"requests")
_LEFT_TOKENS: Final = _form(b"tokens")
"""When it begins anew is a duration for OpenAI's clients, a time for Anthropic's."""


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at // SECOND, UTC).strftime(_RFC3339)


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
    return Problem(
        429,
        f"this key has spent what it may, {_dollars(most)} a {period}: the next {period} begins "
        f"at {_moment(end)}",
        Outcome.POLICY,
        "insufficient_quota",
        retry_after=min(LONGEST_RETRY_AFTER, _seconds(end - now)),
    )


def _dollars(micro: int) -> str:
    """Write micro-dollars as dollars: 5000000 -> "$5", 2500000 -> "$2.50"."""
    text = f"{micro / MICRO_OF_DOLLAR:,.6f}".rstrip("0").rstrip(".")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents:0<2}" if cents else f"${whole}"
