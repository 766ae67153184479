"""A sketch is a small, exact-to-add, one-per-cent picture of many values."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.tracking.sketch import Sketch

values = st.lists(st.floats(min_value=0.001, max_value=1e9), min_size=1, max_size=200)


@given(values, st.floats(min_value=0, max_value=1))
def test_each_quantile_is_within_one_per_cent_of_the_true_value(
    seen: list[float], q: float
) -> None:
    true = sorted(seen)[int(q * (len(seen) - 1))]

    assert Sketch.of(seen).quantile(q) == pytest.approx(true, rel=0.01 + 1e-9)


@given(values, values, values)
def test_sketches_add_up_to_the_sketch_of_everything_in_any_order(
    a: list[float], b: list[float], c: list[float]
) -> None:
    merged = Sketch.of(b)
    merged.merge(Sketch.of(c))
    merged.merge(Sketch.of(a))

    assert merged == Sketch.of([*a, *b, *c])
    assert merged.n == len(a) + len(b) + len(c)


@given(values)
def test_a_sketch_survives_the_way_through_json(seen: list[float]) -> None:
    sketch = Sketch.of(seen)

    assert Sketch.read(json.loads(json.dumps(sketch.document()))) == sketch


def test_the_text_is_buckets_and_counts_in_rising_order() -> None:
    assert Sketch.of([2.0, 1.0, 2.0]).document() == {"0": 1, "35": 2}


def test_zero_and_a_clock_that_went_back_are_counted_as_the_least() -> None:
    sketch = Sketch.of([0.0, -5.0, 100.0])

    assert sketch.n == 3
    assert sketch.quantile(0) == pytest.approx(1e-6, rel=0.02)
    assert sketch.quantile(1) == pytest.approx(100, rel=0.01)


# A tail without a mean: 100,000 values, one in each part of equal mass of the Pareto distribution
# with exponent 0.9, F(x) = 1 - x^-0.9. Its quantiles are (1 - q)^(-1/0.9), worked out by hand.
HEAVY = [(1 - (k + 0.5) / 100_000) ** (-1 / 0.9) for k in range(100_000)]
QUANTILES_OF_HEAVY = {0.5: 2.1601, 0.9: 12.9155, 0.95: 27.8990, 0.99: 166.8101, 0.999: 2154.4347}


@pytest.mark.parametrize("seed", range(3))
def test_gateways_that_share_heavy_tails_know_their_quantiles_in_any_order(seed: int) -> None:
    chance = Random(seed)
    minutes = [Sketch() for _ in range(16 * 5)]  # 16 gateways, 5 minutes
    for value in HEAVY:
        minutes[int(len(minutes) * chance.random() ** 4)].add(value)  # and some hardly any of it
    chance.shuffle(minutes)
    merged = Sketch()
    for minute in minutes:
        merged.merge(Sketch.read(json.loads(json.dumps(minute.document()))))

    assert merged.n == 100_000
    for q, true in QUANTILES_OF_HEAVY.items():
        assert merged.quantile(q) == pytest.approx(true, rel=0.0101)
    assert merged.quantile(1) == pytest.approx(776_306.69, rel=0.0101)


def test_an_empty_sketch_has_no_quantile() -> None:
    assert Sketch().quantile(0.5) is None
    assert Sketch().n == 0


def test_a_copy_does_not_change_with_its_original() -> None:
    original = Sketch.of([1.0])
    copy = Sketch(original.counts)
    original.add(1.0)

    assert (copy.n, original.n) == (1, 2)


def test_a_day_of_latencies_stays_small() -> None:
    chance = Random(3)
    sketch = Sketch.of(chance.lognormvariate(5, 1.2) for _ in range(20_000))

    assert len(sketch.counts) < 600
    assert sketch.quantile(0.5) == pytest.approx(2.718281828**5, rel=0.05)
