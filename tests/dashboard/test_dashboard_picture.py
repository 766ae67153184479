"""Where bars and intervals lie, in percent."""

from typing import Any

import pytest

from headway.web.dashboard.picture import Axis, bar, climb
from headway.web.dashboard.words import grown, interval, rate, share


def metric(low: float, high: float | None, factor: float | None) -> dict[str, Any]:
    return {"interval": [low, high], "factor": factor}


def test_arms_lie_beside_each_other_and_the_stable_one_comes_first() -> None:
    found = bar(
        [
            {"version": "2.0.0", "role": "candidate", "share_bp": 2_500},
            {"version": "1.0.0", "role": "stable", "share_bp": 7_500},
        ]
    )

    assert [(one.version, one.x, one.width, one.second) for one in found] == [
        ("1.0.0", 0, 75, False),
        ("2.0.0", 75, 25, True),
    ]


def test_an_arm_without_a_share_is_not_drawn() -> None:
    assert len(bar([{"version": "1.0.0", "role": "stable", "share_bp": 0}])) == 0


def test_twice_as_bad_and_half_as_bad_lie_equally_far_from_the_same() -> None:
    axis = Axis(10.0)

    assert axis.x(1.0) == pytest.approx(50)
    assert axis.x(2.0) - axis.x(1.0) == pytest.approx(axis.x(1.0) - axis.x(0.5), abs=0.02)


def test_the_axis_has_room_for_the_margin_and_for_what_is_known() -> None:
    assert Axis.over([metric(0, 3.0, 5.0)]).highest == 10
    assert Axis.over([metric(0, 3.0, 20.0)]).highest == 50
    assert Axis.over([metric(2.0, 28.0, 2.0)]).highest == 50
    assert Axis.over([metric(0, 1_000.0, None)]).highest == 100


def test_an_interval_is_drawn_from_its_one_end_to_the_other() -> None:
    span = Axis(10.0).span(0.1, 1.0)

    assert (span.x, span.width, span.open) == (0, 50, False)


def test_an_interval_that_leaves_the_axis_ends_at_its_edge() -> None:
    span = Axis(10.0).span(1.0, 300.0)

    assert span.x + span.width == pytest.approx(100)


def test_an_open_interval_is_open_and_without_a_lower_end_nothing_is_known() -> None:
    assert Axis(10.0).span(2.0, None).open
    assert not Axis(10.0).span(2.0, None).unknown
    assert Axis(10.0).span(0.0, None).unknown


def test_a_very_narrow_interval_can_still_be_seen() -> None:
    span = Axis(10.0).span(10.0, 10.0)

    assert span.width > 0
    assert span.x + span.width <= 100


def test_evidence_climbs_by_factors() -> None:
    assert climb(1.0, 100.0) == 0
    assert climb(10.0, 100.0) == 50
    assert climb(0.01, 100.0) == 0
    assert climb(1e9, 100.0) == 100


def test_numbers_are_said_with_their_units() -> None:
    assert share(1_250) == "12.5\u00a0%"
    assert rate(1, 8) == "12.5\u00a0%"
    assert rate(0, 0) == ""
    assert grown((4.802, 100.0)) == "4.8 of 100"
    assert interval(1.8, 28.0) == "1.8x to 28x"
    assert interval(2.0, None) == "at least 2x"
    assert interval(0.0, None) == "too few were bad to compare"
