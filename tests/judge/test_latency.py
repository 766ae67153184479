"""When an answer is slow: beyond the stable version's own quantiles."""

import pytest

from headway.judge.latency import thresholds
from headway.tracking.sketch import Sketch


@pytest.mark.parametrize(
    ("values", "quantiles"),
    [
        (39, []),
        (40, ["p50"]),
        (200, ["p50", "p90"]),
        (400, ["p50", "p90", "p95"]),
        (1_999, ["p50", "p90", "p95"]),
        (2_000, ["p50", "p90", "p95", "p99"]),
    ],
)
def test_a_quantile_is_used_once_twenty_values_lie_beyond_it(
    values: int, quantiles: list[str]
) -> None:
    found = thresholds(Sketch.of(range(1, values + 1)))

    assert [line.quantile for line in found] == quantiles
    assert [line.metric for line in found] == [f"latency.{q}" for q in quantiles]


def test_the_margin_moves_the_candidate_s_line_and_not_the_stable_version_s() -> None:
    (line, *_) = thresholds(Sketch.of([100.0] * 50), margin=0.2)

    assert line.stable == pytest.approx(100, rel=0.01)
    assert line.candidate == pytest.approx(1.2 * line.stable)


def test_a_version_that_was_never_measured_has_no_lines() -> None:
    assert thresholds(Sketch()) == ()
