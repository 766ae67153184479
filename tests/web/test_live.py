"""What is followed live ends in time, and never takes every thread."""

from collections.abc import Iterable, Iterator

import pytest
from flask import Response

from headway.kernel.clock import MINUTE
from headway.kernel.errors import Busy, Unavailable
from headway.web.live import Finished, Said, Viewers
from headway.web.patience import MOST, Failures


def two_and_done() -> Iterator[Said]:
    yield Said(7, "step", '{"why":"begun"}')
    yield Said(8, "step", '{"why":"done"}')
    raise Finished


def nothing() -> Iterable[Said]:
    return ()


def text(response: Response) -> str:
    return b"".join(
        part.encode() if isinstance(part, str) else part for part in response.response
    ).decode()


def test_events_carry_their_numbers_and_the_end_is_said() -> None:
    said = text(Viewers().follow(two_and_done))

    assert 'id: 7\nevent: step\ndata: {"why":"begun"}\n\n' in said
    assert said.index("id: 7") < said.index("id: 8") < said.index("event: end")


def test_the_ninth_viewer_is_asked_to_come_back() -> None:
    viewers = Viewers()
    open_ones = [viewers.follow(nothing) for _ in range(8)]
    with pytest.raises(Unavailable) as refused:
        viewers.follow(nothing)
    assert refused.value.retry_after > 0

    open_ones[0].close()
    viewers.follow(nothing)


def test_a_viewer_who_leaves_twice_makes_room_for_one() -> None:
    viewers = Viewers(most=1)
    first = viewers.follow(nothing)
    first.close()
    first.close()
    viewers.follow(nothing)
    with pytest.raises(Unavailable):
        viewers.follow(nothing)


def test_everybody_is_let_go_when_the_process_stops() -> None:
    viewers = Viewers()
    viewers.close()

    assert "event: end" not in text(viewers.follow(nothing))


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def test_an_address_that_fails_too_often_waits_a_minute() -> None:
    clock = Clock()
    failures = Failures(clock)
    for _ in range(MOST):
        failures.check("192.0.2.1")
        failures.note("192.0.2.1")

    with pytest.raises(Busy) as refused:
        failures.check("192.0.2.1")
    assert refused.value.retry_after == 60
    failures.check("192.0.2.2")

    clock.now = MINUTE
    failures.check("192.0.2.1")


def test_failures_spread_over_time_are_forgiven() -> None:
    clock = Clock()
    failures = Failures(clock)
    for _ in range(MOST * 3):
        failures.check("192.0.2.1")
        failures.note("192.0.2.1")
        clock.now += MINUTE // (MOST - 1)
