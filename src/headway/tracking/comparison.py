"""Two versions' measured behaviour side by side, with intervals.

For people who look once. The intervals are those of one look at 95 %, each for itself, and the two
versions may have met other traffic at other times: this is a description. Whether a candidate is
worse is the judge's to say, on the router's own coin.

Sources: a rate by Wilson (1927); the difference of two rates by Newcombe, Statistics in Medicine
17 (1998), method 10; their ratio by Koopman, Biometrics 40 (1984); a quantile by its order
statistics, widened by the sketch's own 1 %; the ratio of two quantiles by MOVER on logarithms,
Zou & Donner, Statistics in Medicine 27 (2008). Tokens are kept as sums, so their means have none,
nor have those of cost.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil, exp, floor, hypot, inf, log, sqrt
from statistics import NormalDist
from typing import Final, Self

from headway.kernel.money import NANO_OF_DOLLAR
from headway.tracking.measurement import ERRORS, TOKEN_CLASSES, Measurement, Outcome, ScoreMean
from headway.tracking.price import Cost, Timeline
from headway.tracking.sketch import ERROR, Sketch

SURE: Final = 0.95
QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
_BY_ORDER: Final = 9
"""Below n q (1 - q) of this the binomial is too skewed for its normal shape."""


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`; None is an open end: nothing is known on that side."""

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What was measured of one version in a window.

    `answered` are requests that the version is answerable for (ok or one of its errors).
    """

    version: str
    answered: int = 0
    errors: int = 0
    latency: Sketch = field(default_factory=Sketch)
    first: Sketch = field(default_factory=Sketch)
    tokens: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, ScoreMean] = field(default_factory=dict)
    cost: int | None = None
    """Nano-dollars by the prices of each minute; None: not all of it is known."""

    @classmethod
    def of(
        cls,
        version: str,
        measurements: Iterable[Measurement],
        scores: Iterable[ScoreMean] = (),
        prices: Timeline = (),
    ) -> Self:
        """Add up the measurements and scores of one version; others' and checks are left out."""
        outcomes: dict[str, int] = {}
        tokens: dict[str, int] = {}
        latency, first, cost = Sketch(), Sketch(), Cost()
        for measured in measurements:
            if measured.version != version or not measured.of_callers:
                continue
            cost.add(prices, measured.tokens, measured.minute)
            latency.merge(measured.latency)
            first.merge(measured.first)
            for sums, more in ((outcomes, measured.outcomes), (tokens, measured.tokens)):
                for key, n in more.items():
                    sums[key] = sums.get(key, 0) + n
        errors = sum(outcomes.get(outcome, 0) for outcome in ERRORS)
        return cls(
            version=version,
            answered=errors + outcomes.get(Outcome.OK, 0),
            errors=errors,
            latency=latency,
            first=first,
            tokens=tokens,
            scores={score.name: score for score in scores if score.version == version},
            cost=cost.total,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One version's figure: its value (None: not measured), its interval, out of how many."""

    value: float | None
    interval: Interval | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric of both. Difference and ratio are the new version's against the old one's.

    Rates, scores: 0..1. Latency, first token: milliseconds. Tokens, cost in dollars: per answered
    request. What cannot be said, for want of data, of a price or of a spread, is None.
    """

    metric: str
    old: Side
    new: Side
    difference: float | None = None
    difference_interval: Interval | None = None
    ratio: float | None = None
    ratio_interval: Interval | None = None


def compare(old: Behaviour, new: Behaviour, *, sure: float = SURE) -> tuple[Row, ...]:
    """Return what both versions showed, one row per metric that at least one of them has."""
    z = NormalDist().inv_cdf((1 + sure) / 2)
    rows = [_rates("errors", (old.errors, old.answered), (new.errors, new.answered), z)]
    rows += [
        _quantiles(f"{name}.p{round(q * 100)}", a, b, q, z)
        for name, a, b in (
            ("latency", old.latency, new.latency),
            ("first", old.first, new.first),
        )
        for q in QUANTILES
    ]
    for kind in TOKEN_CLASSES:
        rows.append(
            _means(
                f"tokens.{kind}", *((each.tokens.get(kind), each.answered) for each in (old, new))
            )
        )
    rows.append(_costs(old, new))
    for name in sorted({*old.scores, *new.scores}):
        rows.append(_scores(name, old.scores.get(name), new.scores.get(name), z))
    return tuple(row for row in rows if row.old.n or row.new.n)


def rate_interval(bad: float, n: int, z: float) -> Interval:
    """Return the score interval of bad / n (Wilson)."""
    rate, extra = bad / n, z * z / n
    middle = (rate + extra / 2) / (1 + extra)
    half = z * sqrt(rate * (1 - rate) / n + extra / (4 * n)) / (1 + extra)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def difference_interval(old: tuple[float, int], new: tuple[float, int], z: float) -> Interval:
    """Return the interval of new rate - old rate, for (bad, n) of each (Newcombe's hybrid)."""
    a, b = old[0] / old[1], new[0] / new[1]
    of_a, of_b = _closed(rate_interval(*old, z)), _closed(rate_interval(*new, z))
    return Interval(
        b - a - hypot(b - of_b[0], of_a[1] - a), b - a + hypot(of_b[1] - b, a - of_a[0])
    )


def ratio_interval(old: tuple[float, int], new: tuple[float, int], z: float) -> Interval:
    """Return the interval of new rate / old rate, for (bad, n) of each (Koopman's score test)."""
    (x, n), (y, m) = old, new
    if not x and not y:
        return Interval(None, None)
    # The score rises with the distance from the estimate, on either side of it.
    near = (y / m) / (x / n) if x and y else (1e-9 if x else 1e9)
    fits = z * z
    low = _edge(lambda ratio: _score(old, new, ratio) <= fits, near, 1e-9) if y else None
    high = _edge(lambda ratio: _score(old, new, ratio) <= fits, near, 1e9) if x else None
    return Interval(low, high)


def quantile_interval(sketch: Sketch, q: float, z: float) -> Interval:
    """Return the interval of a quantile: the values at the places that bracket n q.

    An end is open where there are too few values beyond the quantile to bound it.
    """
    n = sketch.n
    spread = n * q * (1 - q)
    reach = z * sqrt(spread)
    low, high = floor(n * q - reach) - 1, ceil(n * q + reach)
    if spread < _BY_ORDER:
        return Interval(None, None)
    return Interval(
        sketch.at(low) * (1 - ERROR) if low >= 0 else None,
        sketch.at(high) * (1 + ERROR) if high < n else None,
    )


def _rates(metric: str, old: tuple[float, int], new: tuple[float, int], z: float) -> Row:
    sides = [
        Side(value=bad / n, interval=rate_interval(bad, n, z), n=n)
        if n
        else Side(value=None, interval=None, n=0)
        for bad, n in (old, new)
    ]
    row = Row(metric=metric, old=sides[0], new=sides[1])
    if not (old[1] and new[1]):
        return row
    a, b = old[0] / old[1], new[0] / new[1]
    return _beside(
        row,
        a,
        b,
        difference=difference_interval(old, new, z),
        ratio=ratio_interval(old, new, z),
    )


def _scores(name: str, old: ScoreMean | None, new: ScoreMean | None, z: float) -> Row:
    """Compare mean scores as if each were 0 or 1: of all in 0..1 those spread the most."""
    sides = [
        Side(value=score.mean, interval=rate_interval(score.mean * score.n, score.n, z), n=score.n)
        if score and score.n
        else Side(value=None, interval=None, n=0)
        for score in (old, new)
    ]
    row = Row(metric=f"score.{name}", old=sides[0], new=sides[1])
    if not (old and new and old.n and new.n):
        return row
    pairs = [(score.mean * score.n, score.n) for score in (old, new)]
    return _beside(
        row,
        old.mean,
        new.mean,
        difference=difference_interval(pairs[0], pairs[1], z),
        ratio=ratio_interval(pairs[0], pairs[1], z),
    )


def _quantiles(metric: str, old: Sketch, new: Sketch, q: float, z: float) -> Row:
    a, b = old.quantile(q), new.quantile(q)
    of_a, of_b = quantile_interval(old, q, z), quantile_interval(new, q, z)
    row = Row(
        metric=metric,
        old=Side(value=a, interval=None if a is None else of_a, n=old.n),
        new=Side(value=b, interval=None if b is None else of_b, n=new.n),
    )
    if a is None or b is None:
        return row
    return _beside(row, a, b, difference=None, ratio=_mover(a, of_a, b, of_b))


def _means(metric: str, old: tuple[float | None, int], new: tuple[float | None, int]) -> Row:
    """Compare sums per answered request; a sum that is None is not known."""
    sides = []
    for total, answered in (old, new):
        value = total / answered if total is not None and answered else None
        sides.append(Side(value=value, interval=None, n=0 if value is None else answered))
    row = Row(metric=metric, old=sides[0], new=sides[1])
    if sides[0].value is None or sides[1].value is None:
        return row
    return _beside(row, sides[0].value, sides[1].value, difference=None, ratio=None)


def _costs(old: Behaviour, new: Behaviour) -> Row:
    """Compare cost; who used tokens of which nobody knows the price has an n and no value."""
    sums = [None if each.cost is None else each.cost / NANO_OF_DOLLAR for each in (old, new)]
    row = _means("cost_usd", (sums[0], old.answered), (sums[1], new.answered))
    sides = [
        replace(side, n=each.answered if any(each.tokens.values()) else side.n)
        for side, each in ((row.old, old), (row.new, new))
    ]
    return replace(row, old=sides[0], new=sides[1])


def _beside(
    row: Row, old: float, new: float, *, difference: Interval | None, ratio: Interval | None
) -> Row:
    return replace(
        row,
        difference=new - old,
        difference_interval=difference,
        ratio=new / old if old else None,
        ratio_interval=ratio,
    )


def _mover(a: float, of_a: Interval, b: float, of_b: Interval) -> Interval:
    """Return the interval of b / a from those of a and b."""
    middle = log(b / a)
    low = high = None
    if of_b.low and of_a.high:
        low = exp(middle - hypot(log(b / of_b.low), log(of_a.high / a)))
    if of_b.high and of_a.low:
        high = exp(middle + hypot(log(of_b.high / b), log(a / of_a.low)))
    return Interval(low, high)


def _score(old: tuple[float, int], new: tuple[float, int], ratio: float) -> float:
    """Return the chi-square of "new rate = ratio x old rate", at the likeliest such rates."""
    (x, n), (y, m) = old, new
    total = ratio * (n + m)
    b = n + y + ratio * (m + x)
    root = sqrt(max(0.0, b * b - 4 * total * (x + y)))
    # Written so that nothing cancels when the ratio is small.
    p = min(max(2 * (x + y) / (b + root), 1e-12), min(1.0, 1 / ratio) * (1 - 1e-12))
    q = ratio * p
    return (x - n * p) ** 2 / (n * p * (1 - p)) + (y - m * q) ** 2 / (m * q * (1 - q))


def _edge(holds: Callable[[float], bool], near: float, far: float) -> float | None:
    """Return where `holds` ends on the way from near to far, None if it does not."""
    if holds(far):
        return None
    while abs(log(far / near)) > 1e-6:
        middle = sqrt(near * far)
        near, far = (middle, far) if holds(middle) else (near, middle)
    return near


def _closed(interval: Interval) -> tuple[float, float]:
    """Return the ends of a score interval, which has both."""
    low, high = interval.low, interval.high
    return (0.0 if low is None else low, inf if high is None else high)
