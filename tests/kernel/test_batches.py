"""Bulk work lets everybody else through."""

from dataclasses import dataclass, field

import pytest

from headway.kernel.batches import Batches


@dataclass
class Machine:
    """Takes so many seconds for an item; time passes as it works and as it sleeps."""

    per_item: float
    items: int
    now: float = 0.0
    pieces: list[float] = field(default_factory=list)
    """How long each took."""
    pauses: list[float] = field(default_factory=list)

    def work(self, most: int) -> int:
        taken = min(most, self.items)
        self.items -= taken
        self.pieces.append(taken * self.per_item)
        self.now += self.pieces[-1]
        return taken

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def run(self) -> int:
        return Batches(lambda: self.now, self.sleep).run(self.work)


@pytest.mark.parametrize("per_item", [0.000_001, 0.000_1, 0.001, 0.003])
def test_no_piece_takes_longer_than_a_moment_and_others_come_in_between(per_item: float) -> None:
    machine = Machine(per_item, 20_000)
    done = machine.run()
    assert done + machine.items == 20_000
    assert max(machine.pieces) <= 0.05
    assert machine.pauses == [0.02] * (len(machine.pieces) - 1)


def test_what_is_quick_is_done_in_few_pieces() -> None:
    machine = Machine(0.000_001, 20_000)
    assert machine.run() == 20_000
    assert len(machine.pieces) < 20


def test_what_became_slow_is_taken_in_smaller_pieces() -> None:
    machine = Machine(0.001, 2_000)

    def slower(most: int) -> int:
        if machine.items < 1_900:
            machine.per_item = 0.02
        return machine.work(most)

    Batches(lambda: machine.now, machine.sleep).run(slower)
    assert sum(took > 0.05 for took in machine.pieces) == 1  # the one that met it


def test_a_round_ends_though_more_is_there() -> None:
    machine = Machine(0.001, 1_000_000)
    done = machine.run()
    assert 0 < done < 1_000_000
    assert machine.now < 5.1
    assert machine.run() > 0


def test_where_nothing_is_there_nobody_waits() -> None:
    machine = Machine(0.001, 0)
    assert machine.run() == 0
    assert machine.pauses == []
