"""A provider that serves another model under the same name is told of in the history, once."""

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from tests.tracking.test_tracking_service import START, minute

from headway.kernel.clock import DAY, MINUTE
from headway.outbox.event import Event
from headway.routing.route import Arm, Role, Route, whole
from headway.testing.memory import Store, begin
from headway.tracking.measurement import Batch
from headway.tracking.served import MOST_NAMES, ServedBy

VERSIONS = ("1.0.0", "2.0.0")


class World:
    def __init__(self) -> None:
        self.now = START
        self.begin = partial(begin, Store(), lambda: self.now)
        self.seq = 0
        with self.begin() as work:
            work.gateways.start(boot="b", host="h", pid=1)
            arm = Arm("stable", "1.0.0", "sha256:a", Role.STABLE)
            work.routes.add(
                Route(
                    model="digits",
                    environment="production",
                    rules=(whole(arm),),
                    salt="s",
                    revision=1,
                )
            )
            work.commit()
        self.served_by = self.process()

    def process(self) -> ServedBy:
        return ServedBy(self.begin, lambda: self.now)

    def answered(self, *names: str, version: str = "1.0.0") -> None:
        """Let this minute's answers of a version name who served them."""
        number = (self.now - START) // MINUTE
        one = replace(minute(number, version=version, ok=1), served_by=dict.fromkeys(names, 1))
        self.seq += 1
        with self.begin() as work:
            work.gateways.flush(
                Batch(boot="b", seq=self.seq, applied_generation=1, measurements=(one,))
            )
            work.commit()

    def told(self) -> list[Event]:
        with self.begin() as work:
            return [
                event
                for event in work.outbox.history(limit=1_000)
                if event.kind == "version.served_by_changed"
            ]


@pytest.fixture
def world() -> World:
    return World()


def test_another_model_behind_a_version_is_told_once(world: World) -> None:
    for _ in range(10):
        world.answered("gpt-a")
        assert world.served_by.look() == 0
        world.now += MINUTE
    for _ in range(10):
        world.answered("gpt-b")
        world.served_by.look()
        world.now += MINUTE

    [event] = world.told()
    assert event.subject == "version:digits@1.0.0"
    assert event.detail == {"version": "1.0.0", "before": ["gpt-a"], "new": ["gpt-b"]}
    assert event.why == "digits 1.0.0 is served by gpt-b; before it was gpt-a"
    assert (event.model, event.environment, event.actor) == ("digits", "production", "headway")


def test_going_back_and_forth_is_no_news(world: World) -> None:
    for number in range(20):
        world.answered("gpt-a" if number % 2 else "gpt-b")
        world.served_by.look()
        world.now += 5 * MINUTE

    assert len(world.told()) == 1


def test_each_version_is_looked_at_by_itself(world: World) -> None:
    for version in VERSIONS:
        world.answered("gpt-a", version=version)
    world.served_by.look()
    world.now += 5 * MINUTE
    world.answered("gpt-b", version="2.0.0")
    world.answered("gpt-a", version="1.0.0")
    world.served_by.look()

    assert [event.subject for event in world.told()] == ["version:digits@2.0.0"]


def test_of_several_control_processes_one_tells(world: World) -> None:
    world.answered("gpt-a")
    world.now += 10 * MINUTE
    world.answered("gpt-b")

    assert [world.process().look() for _ in range(3)] == [1, 0, 0]


def test_what_was_known_within_a_day_is_known_after_a_restart(world: World) -> None:
    world.answered("gpt-a")
    world.answered("gpt-b")
    world.now += DAY - 10 * MINUTE
    world.answered("gpt-b")

    assert world.process().look() == 0


def test_a_first_answer_is_no_change(world: World) -> None:
    world.answered("gpt-a")

    assert world.served_by.look() == 0


def test_a_provider_with_a_new_name_for_each_answer_is_told_of_no_longer(world: World) -> None:
    for number in range(3 * MOST_NAMES):
        world.answered(f"build-{number}")
        world.served_by.look()
        world.now += 5 * MINUTE

    kinds = Counter(event.kind for event in world.told())
    assert kinds["version.served_by_changed"] == MOST_NAMES - 1
