"""How long a proof takes, before it begins."""

import pytest

from headway.judge.forecast import Spent, Stage, until, until_worse, whole_plan
from headway.judge.result import Proof

DEFAULT = (Stage(100, 20), Stage(500, 5), Stage(2_500, 2), Stage(5_000, 1.5))


def total(base_rate: float) -> int:
    steps = whole_plan(DEFAULT, base_rate=base_rate)
    return sum(step.requests for step in steps if step)


@pytest.mark.parametrize(
    ("base_rate", "simulated"), [(0, 11_000), (0.001, 12_000), (0.01, 37_000), (0.05, 7_500)]
)
def test_the_default_plan_takes_what_simulation_says(base_rate: float, simulated: int) -> None:
    assert total(base_rate) == pytest.approx(simulated, rel=0.2)


def test_without_errors_the_floor_ends_it_and_with_many_the_comparison() -> None:
    assert {step.by for step in whole_plan(DEFAULT, base_rate=0) if step} == {Proof.FLOOR}
    assert {step.by for step in whole_plan(DEFAULT, base_rate=0.05) if step} == {Proof.RATIO}


def test_a_rate_turns_requests_into_seconds() -> None:
    found = until(share_bp=1_000, factor=5, base_rate=0.03, per_second=150)

    assert found is not None
    assert found.seconds == found.requests / 150
    assert found.on_candidate == pytest.approx(found.requests / 10, abs=1)


def test_what_earlier_steps_collected_shortens_the_step() -> None:
    fresh = until(share_bp=2_500, factor=2, base_rate=0.01)
    later = until(
        share_bp=2_500, factor=2, base_rate=0.01, before=[Spent(1_000, events=60, units=600)]
    )

    assert fresh is not None
    assert later is not None
    assert later.requests < fresh.requests


def test_what_is_proven_already_takes_nothing() -> None:
    found = until(share_bp=1_000, factor=20, base_rate=0, before=[Spent(1_000, 0, 1_000)])

    assert found is not None
    assert found.requests == 0


def test_a_base_rate_near_the_floor_is_for_the_comparison() -> None:
    found = until(share_bp=5_000, factor=1.5, base_rate=0.004)

    assert found is not None
    assert found.by is Proof.RATIO


def test_nothing_is_proven_by_comparison_where_nobody_else_has_traffic() -> None:
    assert until(share_bp=10_000, factor=2, base_rate=0.2) is None
    assert until_worse(share_bp=10_000, times=2, base_rate=0.2) is None
    steps = whole_plan([Stage(10_000, 2), Stage(1_000, 2)], base_rate=0.2)
    assert steps == (None, None)


@pytest.mark.parametrize(
    ("metrics", "times", "simulated"),
    [(1, 2, 1_630), (1, 5, 215), (2, 2, 1_870), (2, 5, 285), (6, 2, 2_160), (6, 5, 303)],
)
def test_the_way_to_worse_is_foreseen_for_one_metric_and_for_more(
    metrics: int, times: float, simulated: int
) -> None:
    found = until_worse(share_bp=1_000, times=times, base_rate=0.01, metrics=metrics)

    assert found is not None
    assert found.on_candidate == pytest.approx(simulated, rel=0.35)
