"""Two versions side by side: figures of the literature, and intervals that hold the truth."""

from math import comb
from random import Random

import pytest

from headway.tracking.comparison import (
    Behaviour,
    Interval,
    Row,
    compare,
    difference_interval,
    quantile_interval,
    rate_interval,
    ratio_interval,
)
from headway.tracking.measurement import Measurement, Outcome, ScoreMean
from headway.tracking.sketch import Sketch

Z = 1.959964


def ends(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


def rows(old: Behaviour, new: Behaviour) -> dict[str, Row]:
    return {row.metric: row for row in compare(old, new)}


def test_wilson_s_interval_is_that_of_newcombe_s_table() -> None:
    assert ends(rate_interval(81, 263, Z)) == pytest.approx((0.2553, 0.3662), abs=6e-5)
    assert ends(rate_interval(0, 20, Z)) == pytest.approx((0, 0.1611), abs=6e-5)


def test_the_difference_is_that_of_newcombe_s_table() -> None:
    assert ends(difference_interval((48, 80), (56, 70), Z)) == pytest.approx(
        (0.0524, 0.3339), abs=6e-5
    )
    assert ends(difference_interval((0, 10), (10, 10), Z)) == pytest.approx(
        (0.6075, 1.0), abs=6e-5
    )


def test_the_ratio_is_that_of_koopman_s_example() -> None:
    found = ratio_interval((16, 80), (36, 40), Z)

    assert ends(found) == pytest.approx((2.939, 7.152), abs=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "open_ends"),
    [
        ((0, 50), (0, 50), {"low", "high"}),
        ((0, 100), (5, 100), {"high"}),
        ((5, 100), (0, 100), {"low"}),
    ],
)
def test_a_ratio_is_open_on_the_side_where_nothing_is_known(
    old: tuple[int, int], new: tuple[int, int], open_ends: set[str]
) -> None:
    found = ratio_interval(old, new, Z)

    assert {end for end in ("low", "high") if getattr(found, end) is None} == open_ends


def test_a_quantile_s_interval_holds_the_truth_as_often_as_it_says() -> None:
    chance = Random(11)
    held = 0
    for _ in range(300):
        sketch = Sketch.of(chance.expovariate(1 / 100) for _ in range(300))
        low, high = ends(quantile_interval(sketch, 0.9, Z))
        held += low <= 230.2585 <= high

    assert held / 300 >= 0.93


def test_a_tail_without_values_is_not_bounded() -> None:
    assert quantile_interval(Sketch.of(range(1, 101)), 0.99, Z) == Interval(None, None)


def test_the_ratio_of_two_medians_holds_the_true_ratio() -> None:
    chance = Random(5)
    old = Behaviour(version="1", latency=Sketch.of(chance.expovariate(1) for _ in range(4_000)))
    new = Behaviour(version="2", latency=Sketch.of(chance.expovariate(0.5) for _ in range(4_000)))
    found = rows(old, new)["latency.p50"].ratio_interval

    assert found is not None
    low, high = ends(found)
    assert low < 2 < high
    assert high / low < 1.3


def measured(of: str, **outcomes: int) -> Measurement:
    return Measurement(
        model="digits",
        environment="production",
        version=of,
        arm="stable",
        minute=0,
        outcomes=outcomes,
        latency=Sketch.of([10.0]),
        first=Sketch(),
        tokens={"input": 100, "output": 50},
        served_by={},
    )


def test_errors_are_of_the_requests_that_the_version_answers_for() -> None:
    minutes = [
        measured("1.0.0", ok=90, provider=4, caller=500, gone=7),
        measured("1.0.0", ok=3, version=2, refused=1, gateway=9, policy=8),
        measured("2.0.0", ok=50),
    ]
    old = Behaviour.of("1.0.0", minutes)

    assert (old.answered, old.errors) == (100, 7)
    assert old.latency.n == 2
    assert old.tokens == {"input": 200, "output": 100}
    assert set(Outcome) >= {"ok", "provider", "caller"}


def test_only_what_was_measured_is_shown_and_halves_stay_open() -> None:
    scores = [ScoreMean(version="2.0.0", name="correct", n=40, mean=0.9)]
    found = rows(
        Behaviour.of("1.0.0", [measured("1.0.0", ok=100)], scores),
        Behaviour.of("2.0.0", [measured("2.0.0", ok=50)], scores),
    )

    assert "first.p50" not in found
    assert "tokens.cached" not in found
    assert found["tokens.input"].ratio == 2
    assert found["tokens.input"].ratio_interval is None
    assert found["score.correct"].old.value is None
    assert found["score.correct"].new.value == 0.9
    assert found["score.correct"].difference is None
    assert found["errors"].difference == 0


# How often the intervals hold the truth, worked out and not drawn: each pair of counts that may
# come, with its probability.

PAIRS = [
    ((100, 0.05), (100, 0.05)),
    ((200, 0.05), (40, 0.10)),
    ((60, 0.30), (60, 0.50)),
    ((300, 0.02), (30, 0.02)),
    ((100, 0.01), (100, 0.02)),
]


def chances(n: int, rate: float) -> list[float]:
    """Return the probability of 0, 1, … n bad ones of n."""
    return [comb(n, bad) * rate**bad * (1 - rate) ** (n - bad) for bad in range(n + 1)]


def holds(interval: Interval, truth: float) -> bool:
    low = float("-inf") if interval.low is None else interval.low
    high = float("inf") if interval.high is None else interval.high
    return low <= truth <= high


@pytest.mark.parametrize(("old", "new"), PAIRS)
@pytest.mark.parametrize("of", ["difference", "ratio"])
def test_an_interval_holds_the_truth_as_often_as_it_says(
    of: str, old: tuple[int, float], new: tuple[int, float]
) -> None:
    interval = {"difference": difference_interval, "ratio": ratio_interval}[of]
    truth = {"difference": new[1] - old[1], "ratio": new[1] / old[1]}[of]
    held = sum(
        p * q
        for x, p in enumerate(chances(*old))
        for y, q in enumerate(chances(*new))
        if p * q > 1e-9 and holds(interval((x, old[0]), (y, new[0]), Z), truth)
    )

    assert 0.94 <= held <= 0.995


def test_with_many_counts_the_intervals_are_the_textbook_s() -> None:
    # Katz's interval of a ratio and Wald's of a difference, right for large counts: by hand from
    # 400 of 8,000 against 500 of 8,000.
    ratio = ratio_interval((400, 8_000), (500, 8_000), Z)
    difference = difference_interval((400, 8_000), (500, 8_000), Z)

    assert ends(ratio) == pytest.approx((1.1001, 1.4204), rel=5e-4)
    assert ends(difference) == pytest.approx((0.005362, 0.019638), abs=3e-5)
