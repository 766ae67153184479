"""What tokens cost."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.tracking.price import Cost, Dated, Rates, laid_over, rates_at

MILLION = 1_000_000
SONNET = Rates(input=3 * MILLION, output=15 * MILLION, cached=300_000, cache_write=3_750_000)
"""$3, $15, $0.30, $3.75 a million tokens."""


def test_a_million_tokens_cost_what_is_published() -> None:
    assert SONNET.cost({"input": MILLION}) == 3_000_000_000
    assert SONNET.cost({"output": MILLION}) == 15_000_000_000


def test_cached_and_written_tokens_are_parts_of_the_input() -> None:
    tokens = {"input": 1000, "cached": 600, "cache_write": 300, "output": 10, "reasoning": 7}

    #  100 x 3 + 600 x 0.3 + 300 x 3.75 + 10 x 15 micro-dollars; reasoning is a part of output
    assert SONNET.cost(tokens) == 1_755_000


def test_cached_tokens_without_a_price_of_their_own_cost_what_input_costs() -> None:
    assert Rates(input=MILLION, output=MILLION).cost({"input": 10, "cached": 4}) == 10_000


def test_output_without_a_price_is_unknown_and_never_nothing() -> None:
    embeddings = Rates(input=20_000)

    assert embeddings.cost({"input": 1000}) == 20_000
    assert embeddings.cost({"input": 1000, "output": 1}) is None


@given(
    rates=st.builds(
        Rates,
        input=st.integers(0, 10**9),
        output=st.integers(0, 10**9),
        cached=st.integers(0, 10**9),
        cache_write=st.integers(0, 10**9),
    ),
    plain=st.integers(0, 10**7),
    cached=st.integers(0, 10**7),
    written=st.integers(0, 10**7),
    output=st.integers(0, 10**7),
)
def test_a_cost_is_exact_to_half_a_nano_dollar(
    rates: Rates, plain: int, cached: int, written: int, output: int
) -> None:
    tokens = {
        "input": plain + cached + written,
        "cached": cached,
        "cache_write": written,
        "output": output,
    }
    pairs = [
        (plain, rates.input),
        (cached, rates.cached),
        (written, rates.cache_write),
        (output, rates.output),
    ]
    exact = sum(n * Fraction(rate or 0, 1000) for n, rate in pairs)

    cost = rates.cost(tokens)

    assert cost is not None
    assert abs(Fraction(cost) - Fraction(exact)) <= Fraction(1, 2)


ONE, TWO, THREE = Rates(1), Rates(2), Rates(3)


def test_a_price_counts_from_its_time_until_the_next() -> None:
    timeline = (Dated(10, ONE), Dated(20, TWO))

    assert [rates_at(timeline, at) for at in (9, 10, 19, 20, 99)] == [None, ONE, ONE, TWO, TWO]
    assert rates_at((), 5) is None


@pytest.mark.parametrize(
    ("layers", "merged"),
    [
        ([[Dated(0, ONE)], [Dated(0, TWO)]], [(0, ONE)]),
        ([[Dated(10, ONE)], [Dated(0, TWO)]], [(0, TWO), (10, ONE)]),
        ([[Dated(10, ONE)], [Dated(0, TWO), Dated(20, THREE)]], [(0, TWO), (10, ONE)]),
        ([[], [Dated(20, THREE), Dated(5, ONE)]], [(5, ONE), (20, THREE)]),
        ([[], []], []),
    ],
)
def test_at_each_moment_the_first_layer_that_knows_a_price_says_it(
    layers: list[list[Dated]], merged: list[tuple[int, Rates]]
) -> None:
    assert list(laid_over(*layers)) == [Dated(*each) for each in merged]


def test_a_sum_of_which_a_part_is_unknown_is_unknown() -> None:
    cost = Cost()
    assert cost.total is None
    cost.add((Dated(10, Rates(1000, 1000)),), {"input": 5}, 10)
    assert cost.total == 5
    cost.add((Dated(10, Rates(1000, 1000)),), {}, 3)
    assert cost.total == 5
    cost.add((Dated(10, Rates(1000, 1000)),), {"input": 1}, 9)
    assert cost.total is None
