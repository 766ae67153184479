"""Quantities are written as people read them."""

import pytest

from headway.kernel.errors import Invalid
from headway.kernel.quantity import format_ratio, parse_duration, parse_share, parse_time


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


WIDE = str.maketrans("0123456789", "０１２３４５６７８９")  # noqa: RUF001 - digits of another script


def test_digits_are_those_of_ascii() -> None:
    assert (parse_share("10%"), parse_duration("10m")) == (1_000, 600_000)
    for read, text in (
        (parse_share, "10%"),
        (parse_duration, "10m"),
        (parse_time, "2026-12-01T09:00:00Z"),
    ):
        with pytest.raises(Invalid):
            read(text.translate(WIDE))
