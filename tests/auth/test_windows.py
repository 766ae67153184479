"""When the windows of limits begin and end."""

from datetime import UTC, datetime

import pytest

from headway.auth.limits import Starts, Window


def ms(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("now", "minute", "day", "month", "next_month"),
    [
        (
            ms(2026, 11, 27, 10, 25, 13) + 7,
            ms(2026, 11, 27, 10, 25),
            ms(2026, 11, 27),
            ms(2026, 11, 1),
            ms(2026, 12, 1),
        ),
        (
            ms(2026, 12, 31, 23, 59, 59) + 999,
            ms(2026, 12, 31, 23, 59),
            ms(2026, 12, 31),
            ms(2026, 12, 1),
            ms(2027, 1, 1),
        ),
        (ms(2028, 2, 29), ms(2028, 2, 29), ms(2028, 2, 29), ms(2028, 2, 1), ms(2028, 3, 1)),
    ],
)
def test_windows_are_those_of_utc(
    now: int, minute: int, day: int, month: int, next_month: int
) -> None:
    starts = Starts.at(now)

    assert starts.of(Window.REQUESTS) == starts.of(Window.TOKENS) == minute
    assert starts.end(Window.REQUESTS) == minute + 60_000
    assert starts.of(Window.DAY) == starts.of(Window.UNPRICED_DAY) == day
    assert starts.end(Window.DAY) == day + 24 * 3_600_000
    assert starts.of(Window.MONTH) == starts.of(Window.UNPRICED_MONTH) == month
    assert starts.end(Window.MONTH) == next_month
