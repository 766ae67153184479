"""Gateways of one host count in memory that they share: real processes, as locks are theirs."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from headway.adapters.sisters import BUCKETS, SistersByMemory

_SISTER: Final = """
import sys
from headway.adapters.sisters import SistersByMemory
sisters = SistersByMemory(int(sys.argv[1]))
print(flush=True)
for line in sys.stdin:
    key, n = line.split()
    sisters.tell(key, int(n))
    print(sisters.under_way(key), flush=True)
"""


class Sister:
    """Another gateway, as far as it counts."""

    def __init__(self, memory: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SISTER, str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[memory],
        )
        self._heard()

    def tell(self, key_id: str, n: int) -> int:
        """Have it tell; return what it hears of the others."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{key_id} {n}\n")
        self._process.stdin.flush()
        return int(self._heard())

    def die(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()

    def _heard(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


Start = Callable[[], Sister]


@pytest.fixture
def memory() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


@pytest.fixture
def start(memory: int) -> Iterator[Start]:
    started: list[Sister] = []

    def sister() -> Sister:
        started.append(Sister(memory))
        return started[-1]

    yield sister
    for each in started:
        each.die()


def test_what_one_tells_is_heard_by_the_others_at_once_and_not_by_itself(
    memory: int, start: Start
) -> None:
    here, there = SistersByMemory(memory), start()
    here.tell("abcdefgh", 3)
    assert there.tell("abcdefgh", 2) == 3
    assert here.under_way("abcdefgh") == 2
    assert here.under_way("abcdefgi") == 0

    here.tell("abcdefgh", 0)
    assert there.tell("abcdefgh", 0) == 0
    assert here.under_way("abcdefgh") == 0


def test_what_a_dead_one_left_is_forgotten_and_the_living_is_not(
    memory: int, start: Start
) -> None:
    here, dead, living = SistersByMemory(memory), start(), start()
    dead.tell("abcdefgh", 5)
    living.tell("abcdefgh", 1)
    assert not here.forget_the_dead()
    assert here.under_way("abcdefgh") == 6

    dead.die()
    assert here.forget_the_dead()
    assert here.under_way("abcdefgh") == 1
    assert not here.forget_the_dead()


def test_who_takes_the_place_of_a_dead_one_begins_at_nothing(memory: int, start: Start) -> None:
    here, dead = SistersByMemory(memory), start()
    dead.tell("abcdefgh", 5)
    dead.die()

    successor = start()
    assert here.under_way("abcdefgh") == 0
    successor.tell("abcdefgh", 2)
    assert here.under_way("abcdefgh") == 2


def test_keys_that_are_there_no_more_make_room_for_others(memory: int, start: Start) -> None:
    here, there = SistersByMemory(memory), start()
    for i in range(20 * BUCKETS):
        here.tell(f"key{i:05}", 1)
        here.tell(f"key{i:05}", 0)

    for i in range(BUCKETS):
        here.tell(f"now{i:05}", i + 1)
    heard = [there.tell(f"now{i:05}", 0) for i in range(BUCKETS)]
    assert heard == [i + 1 for i in range(BUCKETS)]


def test_an_id_that_is_too_long_is_nobodys(memory: int, start: Start) -> None:
    here, there = SistersByMemory(memory), start()
    here.tell("k" * 25, 3)
    assert there.tell("k" * 25, 0) == 0
    assert there.tell("k" * 24, 0) == 0
