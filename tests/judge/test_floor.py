"""A rate below the floor is good enough, and says so after a known number of clean units."""

from math import comb, exp

import pytest

from headway.judge.floor import log_floor, ratio_of_units, threshold


@pytest.mark.parametrize(("factor", "units"), [(20, 56), (5, 231), (2, 582), (1.5, 777)])
def test_so_many_clean_units_prove_it_at_a_floor_of_half_a_per_cent(
    factor: float, units: int
) -> None:
    def proof(n: int) -> float:
        return (1 + exp(log_floor(n=n, bad=0, factor=factor, floor=0.005))) / 2

    assert proof(units - 1) < 100 <= proof(units)


@pytest.mark.parametrize("factor", [1.5, 5, 20, 500])
@pytest.mark.parametrize("n", [1, 7, 60])
def test_a_candidate_at_the_rate_in_question_is_expected_to_prove_nothing(
    factor: float, n: int
) -> None:
    t = min(factor * 0.005, 0.5)

    expected = sum(
        comb(n, x)
        * t**x
        * (1 - t) ** (n - x)
        * exp(log_floor(n=n, bad=x, factor=factor, floor=0.005))
        for x in range(n + 1)
    )

    assert expected == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("rate", [0.06, 0.2, 0.9])
def test_a_worse_one_is_expected_to_lose(rate: float) -> None:
    expected = sum(
        comb(20, x)
        * rate**x
        * (1 - rate) ** (20 - x)
        * exp(log_floor(n=20, bad=x, factor=10, floor=0.005))
        for x in range(21)
    )

    assert expected < 1


@pytest.mark.parametrize("grade", [0.1, 0.5, 0.9])
def test_graded_badness_at_the_rate_in_question_proves_nothing_either(grade: float) -> None:
    # Mean badness 0.1 = 20 x 0.5 %, made of answers of one grade.
    part, n = 0.1 / grade, 12
    if part > 1:
        part = 1.0
    expected = sum(
        comb(n, k)
        * part**k
        * (1 - part) ** (n - k)
        * exp(log_floor(n=n, bad=grade * k, factor=20, floor=0.005))
        for k in range(n + 1)
    )

    assert expected <= 1 + 1e-9


def test_nobody_is_asked_to_prove_a_rate_above_one_half() -> None:
    assert threshold(200, 0.005) == 0.5


def test_used_up_units_hide_a_difference() -> None:
    # 100 requests at 2 % each use up 1 - 0.98^100 = 87 % of the units; at 3 %, 95 %.
    b = 1 - 0.98**100

    assert ratio_of_units(1.5, b) == pytest.approx((1 - 0.97**100) / b, abs=0.01)
    assert ratio_of_units(1.5, 0) == 1.5
    assert ratio_of_units(2, 0.01) == pytest.approx(1.99)
