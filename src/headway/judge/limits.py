"""`never` limits: a rate that must not be exceeded, proven afresh every minute.

A limit acts when two things are proven on the same counts: the candidate's rate is above the
limit, and the candidate is worse than the stable version. Either alone would condemn somebody in
an outage of both arms. Where the stable version has no traffic, the first alone acts.

Each proof is a mixture over the minutes at which it may have begun, so that the clean requests of
yesterday do not drown the failures of now, within the same alpha:

    i-th minute with traffic begins:   S_k <- S_k + 1/(i (i+1))
    each sweep:                        S_k <- S_k LR_k(counts since the last)
    at any time:                       E = sum_k w_k S_k + 1/(i+1)

Above the limit: LR_k = (t_k/t)^x ((1-t_k)/(1-t))^(n-x), t being the limit, n the requests sent and
x the bad ones. A request pays for its place in n when it is sent, and in a gateway its failure
comes later. A proof that began in between must not gain from it: it never paid. So a failure
counts in the proofs that had begun when its request was sent, and in no other.

Worse than stable: the ratios and weights of `events`, on the events of each set of shares.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import exp, inf, log
from typing import Any, Final, Self

from headway.judge.events import RATE_BETS, Hits, log_likelihood, log_mean_exp
from headway.judge.evidence import MEASURED
from headway.kernel.canonical import Json
from headway.kernel.clock import MINUTE
from headway.kernel.quantity import format_duration, format_percent

BUDGET: Final = 0.1
"""The part of alpha that limits may spend: so much in control, and so much in the gateways."""
_REACH: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 0.98)
"""How far between the limit and 100 % the alternatives lie; equal weights."""
_RECENT: Final = 12
"""Proofs that are kept apart, because failures of requests from before them may still come."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`errors > 10%`: the metric's name in the evidence, the rate in (0, 1), its margin (0.2).

    Of `latency>8000` (ms) the rate is that of slower answers.
    """

    metric: str
    above: float
    margin: float = 0.0

    @property
    def counted(self) -> str:
        """The metric whose bin 0 counts what the bad ones are a part of."""
        return self.metric if self._slower_than else MEASURED

    @property
    def _slower_than(self) -> str:
        return self.metric.partition(">")[2]

    def words(self) -> str:
        above = format_percent(self.above)
        if not self._slower_than:
            return f"{self.metric} above {above}"
        return f"more than {above} slower than {format_duration(int(self._slower_than))}"

    def document(self) -> dict[str, Json]:
        return {"metric": self.metric, "above": self.above, "margin": self.margin}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        return cls(document["metric"], float(document["above"]), float(document["margin"]))


def place_of(number: int, *, first: int) -> int:
    """Return which gateway of a deployment this is, from 1.

    `number` is the gateway's own, and `first` the lowest living one when the deployment started.
    Restarts have new numbers, and so each start has a place of its own.
    """
    return max(1, number - first + 1)


def needed_in_gateway(place: int, *, alpha: float, limits: int = 1) -> float:
    """Return the E that the place-th gateway wants: over all of them they spend 0.1 alpha."""
    return place * (place + 1) * limits / (BUDGET * alpha)


def needed_in_control(*, alpha: float, limits: int = 1) -> float:
    """Return the E that one of so many rate limits wants in the control plane."""
    return limits / (BUDGET * alpha)


@dataclass(slots=True)
class _Start:
    """A proof that began in this minute: requests sent since, those of them that were bad."""

    minute: int
    weight: float
    n: int = 0
    bad: int = 0


@dataclass(frozen=True, slots=True)
class Ground:
    """What a limit stands on: the requests sent from a minute on, those of them that were bad."""

    minute: int
    n: int
    bad: int

    def document(self) -> dict[str, Json]:
        return {"since": self.minute * MINUTE, "n": self.n, "bad": self.bad}


class LimitWatch:
    """The rolling state of one limit on one arm, fed at every sweep."""

    __slots__ = (
        "_alone", "_minute", "_minutes", "_odds", "_old", "_old_minute", "_paid", "_rate",
        "_starts", "_worse", "_worse_sums", "limit", "needed",
    )  # fmt: skip

    def __init__(self, limit: Limit, *, needed: float) -> None:
        self.limit = limit
        self.needed = log(needed)
        most = limit.above
        levels = [most + (1 - most) * reach for reach in _REACH]
        self._paid = [log((1 - level) / (1 - most)) for level in levels]
        self._odds = [
            log(level / most) - paid for level, paid in zip(levels, self._paid, strict=True)
        ]
        self._minute = -1
        self._minutes = 0
        self._starts: list[_Start] = []
        self._old = [-inf] * len(levels)
        """ln S_k of the proofs that are no longer kept apart."""
        self._old_minute = -1
        self._worse_sums = [-inf] * len(RATE_BETS)
        self._alone = False
        self._rate = self._worse = 0.0

    @property
    def log_rate(self) -> float:
        """Return ln E against "the candidate's rate is at most the limit"."""
        return self._rate

    @property
    def log_worse(self) -> float:
        """Return ln E against "the candidate is no worse than the stable version"."""
        return self._worse

    @property
    def ground(self) -> Ground | None:
        """Return the counts of the proof that says most; None: nothing was sent yet."""
        if not self._starts:
            return None
        best = max(self._starts, key=self._log_of)
        return Ground(best.minute, best.n, best.bad)

    @property
    def hit(self) -> bool:
        """Whether the limit acts now."""
        return self._rate >= self.needed and (self._alone or self._worse >= self.needed)

    def sweep(
        self,
        minute: int,
        *,
        sent: int,
        bad: Mapping[int, int],
        hits: Iterable[Hits] = (),
        alone: bool = False,
    ) -> bool:
        """Take in what happened since the last sweep, and say whether the limit acts.

        `minute` counts minutes of any clock that does not go back. `sent` are requests sent to
        the candidate, `bad` the bad ones by the minute in which they were sent, `hits` the bad
        events of both arms by set of shares. `alone`: the stable version has no traffic.
        """
        hits = [hit for hit in hits if hit.candidate + hit.stable]
        if alone and not self._alone:
            self._forget()
        self._alone = alone
        if not (sent or bad or hits):
            return self.hit
        if minute > self._minute:
            self._begin(minute)
        self._count(sent, bad)
        for k, (times, _) in enumerate(RATE_BETS):
            self._worse_sums[k] += log_likelihood(hits, 1 + self.limit.margin, times)
        self._rate, self._worse = self._e_rate(), self._e_worse()
        return self.hit

    def _begin(self, minute: int) -> None:
        self._minute = minute
        self._minutes += 1
        weight = -log(self._minutes * (self._minutes + 1))
        self._worse_sums = [_add(value, weight) for value in self._worse_sums]
        self._starts.append(_Start(minute, weight))
        if len(self._starts) > _RECENT:
            first = self._starts.pop(0)
            self._old_minute = first.minute
            self._old = [
                _add(value, first.weight + first.n * paid + first.bad * odds)
                for value, paid, odds in zip(self._old, self._paid, self._odds, strict=True)
            ]

    def _count(self, sent: int, bad: Mapping[int, int]) -> None:
        for start in self._starts:
            start.n += sent
            for minute, n in bad.items():
                if start.minute <= minute:
                    start.bad += n
        old = sum(n for minute, n in bad.items() if self._old_minute <= minute)
        self._old = [
            value + sent * paid + old * odds
            for value, paid, odds in zip(self._old, self._paid, self._odds, strict=True)
        ]

    def _forget(self) -> None:
        """Begin anew: what was seen beside a stable version proves nothing without it."""
        self._starts.clear()
        self._old = [-inf] * len(self._old)
        self._minute = -1
        self._rate = 0.0

    def _log_of(self, start: _Start) -> float:
        """Return ln of what one proof brings into E."""
        return log_mean_exp(self._parts(start))

    def _parts(self, start: _Start) -> list[tuple[float, float]]:
        return [
            (start.weight + start.n * paid + start.bad * odds, 1 / len(self._old))
            for paid, odds in zip(self._paid, self._odds, strict=True)
        ]

    def _e_rate(self) -> float:
        parts = [(value, 1 / len(self._old)) for value in self._old]
        for start in self._starts:
            parts += self._parts(start)
        return log_mean_exp([*parts, (0.0, 1 / (self._minutes + 1))])

    def _e_worse(self) -> float:
        parts = [
            (value, weight) for value, (_, weight) in zip(self._worse_sums, RATE_BETS, strict=True)
        ]
        return log_mean_exp([*parts, (0.0, 1 / (self._minutes + 1))])

    def document(self) -> dict[str, Json]:
        """Return the state as JSON; the limit and what it needs are the plan's and stand apart."""
        return {
            "minute": self._minute,
            "minutes": self._minutes,
            "starts": [[s.minute, s.weight, s.n, s.bad] for s in self._starts],
            "old": [_written(value) for value in self._old],
            "old_minute": self._old_minute,
            "worse": [_written(value) for value in self._worse_sums],
            "alone": self._alone,
        }

    @classmethod
    def read(cls, document: Mapping[str, Any], limit: Limit, *, needed: float) -> Self:
        """Go on from what `document` wrote."""
        watch = cls(limit, needed=needed)
        watch._minute = document["minute"]
        watch._minutes = document["minutes"]
        watch._starts = [_Start(m, float(weight), n, x) for m, weight, n, x in document["starts"]]
        watch._old = [_read(value) for value in document["old"]]
        watch._old_minute = document["old_minute"]
        watch._worse_sums = [_read(value) for value in document["worse"]]
        watch._alone = document["alone"]
        if watch._minutes:
            watch._rate, watch._worse = watch._e_rate(), watch._e_worse()
        return watch


def _add(value: float, other: float) -> float:
    """Return ln(e^value + e^other)."""
    top = max(value, other)
    return top if top == -inf else top + log(exp(value - top) + exp(other - top))


def _written(value: float) -> float | None:
    """JSON knows no infinity: nothing yet."""
    return None if value == -inf else value


def _read(value: float | None) -> float:
    return -inf if value is None else float(value)
