"""Quantities are written as people read them."""

import pytest

from headway.kernel.quantity import format_ratio


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.0, "0"),
        (0.0004, "under 0.01"),
        (0.039, "0.039"),
        (1.0, "1"),
        (7.46, "7.5"),
        (99.4, "99"),
        (130.0, "130"),
        (12_345.6, "12,346"),
    ],
)
def test_a_ratio_is_written_without_powers_of_ten(ratio: float, words: str) -> None:
    assert format_ratio(ratio) == words
