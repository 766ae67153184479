"""Who was not the first looks again, and whoever waits for it does not wait for long."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from headway.kernel.errors import Conflict, NotFound
from headway.kernel.repeats import repeated


@dataclass
class Store:
    """Meets others so many times; to find that out takes so many seconds each."""

    others: int
    seconds: float = 0.0
    now: float = 100.0
    asked: int = 0
    paused: list[int] = field(default_factory=list)

    def unit(self) -> str:
        self.asked += 1
        self.now += self.seconds
        if self.asked <= self.others:
            raise Conflict(f"somebody else was faster: {self.asked}")
        return "done"

    def run(self, tries: int, unless: Callable[[Conflict], bool] = lambda _error: False) -> str:
        return repeated(
            self.unit,
            tries=tries,
            unless=unless,
            pause=self.paused.append,
            elapsed=lambda: self.now,
        )


def test_who_was_not_the_first_looks_again() -> None:
    store = Store(others=3)
    assert store.run(tries=5) == "done"
    assert store.paused == [1, 2, 3]


def test_the_last_try_tells_what_it_met() -> None:
    store = Store(others=9)
    with pytest.raises(Conflict, match="faster: 5"):
        store.run(tries=5)
    assert store.asked == 5


@pytest.mark.parametrize(("seconds", "asked"), [(5.0, 1), (3.0, 2), (1.0, 5)])
def test_nothing_is_begun_anew_once_five_seconds_are_over(seconds: float, asked: int) -> None:
    store = Store(others=99, seconds=seconds)
    with pytest.raises(Conflict):
        store.run(tries=20)
    assert store.asked == asked


def test_what_another_look_would_not_change_is_told_at_once() -> None:
    store = Store(others=9)
    with pytest.raises(Conflict):
        store.run(tries=5, unless=lambda error: "faster" in str(error))
    assert store.asked == 1


def test_other_errors_are_nobodys_race() -> None:
    def unit() -> str:
        raise NotFound("nothing")

    with pytest.raises(NotFound):
        repeated(unit, tries=5)
