"""Feedback lands where its request went, once, at its age, and only if the id is ours."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from headway.auth.policy import Caller
from headway.auth.role import Role as CallerRole
from headway.kernel.clock import DAY, HOUR, SECOND
from headway.kernel.errors import Invalid
from headway.routing.allocation import lay_out
from headway.routing.route import Ages, Arm, Epoch, Role, Route, Rule
from headway.testing.memory import Store, begin
from headway.tracking.feedback import FeedbackService, Item, Taken
from headway.tracking.measurement import Count, mask_bit
from headway.tracking.stamp import SINGLE, Flag, Stamper

AT = 1_790_000_000_000
"""A multiple of 5 s: when the requests are made."""
STAMPER = Stamper(bytes(32))
BOB = Caller("k1", "bob", CallerRole.CALLER)
STABLE = Arm("stable", "1.0.0", "sha256:aa", Role.STABLE)
CANDIDATE = Arm("candidate", "1.1.0", "sha256:bb", Role.CANDIDATE)
EPOCH = Epoch(
    deployment="dep_1",
    step=1,
    alpha=0.01,
    first_gateway=1,
    ages={
        "errors": Ages(2_000, 2_000),
        "score.*": Ages(72 * HOUR, 72 * HOUR),
        "score.correct": Ages(10 * SECOND, 60 * SECOND),
    },
)
ROUTE = Route(
    model="digits",
    environment="production",
    rules=(Rule((STABLE, CANDIDATE), lay_out({"stable": 9_000, "candidate": 1_000})),),
    salt="dep_1",
    revision=1,
    epoch=EPOCH,
)


class World:
    def __init__(self, route: Route = ROUTE) -> None:
        self.store = Store()
        self.begin = partial(begin, self.store, lambda: AT)
        self.service = FeedbackService(self.begin, STAMPER)
        with self.begin() as work:
            self.route = work.routes.add(route)
            work.commit()

    def request(self, *, arm: int = 1, flags: int = SINGLE, unit: int = 0, at: int = AT) -> str:
        return STAMPER.stamp(STAMPER.prefix(self.route.id, arm), at, unit, flags)

    def say(self, *items: Item, after: int = 5 * SECOND, caller: Caller = BOB) -> list[Taken]:
        return list(self.service.take(items, caller=caller, now=AT + after))

    def evidence(self) -> list[Count]:
        with self.begin() as work:
            return list(work.evidence.of("dep_1"))

    def stored(self) -> dict[tuple[str, str], tuple[int, float]]:
        with self.begin() as work:
            means = work.scores.means(model="digits", environment="production", since=0)
        return {(mean.version, mean.name): (mean.n, mean.mean) for mean in means}


@pytest.fixture
def world() -> World:
    return World()


def counted(
    world: World, metric: str, bin_: int, due: int, n: int = 1, *, late: bool = False
) -> Count:
    return Count(world.route.id, "candidate", metric, bin_, due, late, n)


def test_score_is_stored_and_is_evidence_of_its_arm(world: World) -> None:
    request = world.request()
    (taken,) = world.say(Item(request, {"correct": 0.25}, "nearly"))
    assert taken == Taken(request, accepted=True, scores=("correct",))
    assert world.stored() == {("1.1.0", "correct"): (1, 0.25)}
    assert world.evidence() == [counted(world, "score.correct", 75, AT + 10_000)]


def test_stable_arm_is_named_by_its_role(world: World) -> None:
    world.say(Item(world.request(arm=0), {"correct": 1}))
    (count,) = world.evidence()
    assert (count.arm, count.bin) == ("stable", 0)
    assert world.stored() == {("1.0.0", "correct"): (1, 1.0)}


@pytest.mark.parametrize(
    ("after", "name", "due", "late"),
    [
        (10 * SECOND, "correct", AT + 10_000, False),
        (10 * SECOND + 1, "correct", AT + 60_000, True),
        (60 * SECOND, "correct", AT + 60_000, True),
        (60 * SECOND + 1, "correct", None, False),
        (HOUR, "helpful", AT + 72 * HOUR, False),
        (72 * HOUR + 1, "helpful", None, False),
    ],
)
def test_score_counts_at_its_age_or_never(
    world: World, *, after: int, name: str, due: int | None, late: bool
) -> None:
    (taken,) = world.say(Item(world.request(), {name: 0}), after=after)
    assert taken.accepted
    assert len(world.stored()) == 1
    wanted = [] if due is None else [counted(world, f"score.{name}", 100, due, late=late)]
    assert world.evidence() == wanted


def test_many_answers_are_added_up_in_one_call(world: World) -> None:
    items = [Item(world.request(), {"correct": i % 2}) for i in range(1_000)]
    assert all(taken.accepted for taken in world.say(*items))
    assert world.evidence() == [
        counted(world, "score.correct", 0, AT + 10_000, 500),
        counted(world, "score.correct", 100, AT + 10_000, 500),
    ]


def test_more_than_a_thousand_answers_are_refused(world: World) -> None:
    with pytest.raises(Invalid, match="at most 1,000"):
        world.say(*[Item("req_x", {"correct": 1})] * 1_001)


def test_nobody_votes_twice(world: World) -> None:
    request = world.request()
    first, again = world.say(Item(request, {"correct": 1}), Item(request, {"correct": 0}))
    assert first.accepted
    assert (again.accepted, again.why_not) == (False, "scored before: correct")
    (later,) = world.say(Item(request, {"correct": 0, "helpful": 1}))
    assert (later.accepted, later.scores) == (True, ("helpful",))
    assert later.why_not == "scored before: correct"
    assert [(count.metric, count.bin, count.n) for count in world.evidence()] == [
        ("score.correct", 0, 1),
        ("score.helpful", 0, 1),
    ]


def test_sticky_unit_counts_once(world: World) -> None:
    requests = [world.request(flags=0, unit=77) for _ in range(3)]
    assert all(t.accepted for t in world.say(*[Item(r, {"correct": 0}) for r in requests]))
    assert world.evidence() == [counted(world, "score.correct", 100, AT + 10_000)]
    assert world.stored() == {("1.1.0", "correct"): (3, 0.0)}
    assert mask_bit("score.correct") != mask_bit("measured")


@pytest.mark.parametrize("flag", [flag for flag in Flag if flag is not Flag.SINGLE])
def test_extraordinary_request_is_scored_and_no_evidence(world: World, flag: Flag) -> None:
    (taken,) = world.say(Item(world.request(flags=int(flag) | SINGLE), {"correct": 0}))
    assert taken.accepted
    assert world.stored() == {("1.1.0", "correct"): (1, 0.0)}
    assert world.evidence() == []


def test_route_without_deployment_is_scored_and_no_evidence() -> None:
    world = World(replace(ROUTE, epoch=None))
    assert world.say(Item(world.request(), {"correct": 0}))[0].accepted
    assert world.stored() == {("1.1.0", "correct"): (1, 0.0)}
    assert world.evidence() == []


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (lambda _: Item("req_" + "A" * 48, {"correct": 1}), "no request of this installation"),
        (
            lambda w: Item(w.request()[:-1] + "!", {"correct": 1}),
            "no request of this installation",
        ),
        (
            lambda _: Item(
                Stamper(b"another key of ours").stamp(Stamper.prefix(1, 1), AT, 0), {"correct": 1}
            ),
            "no request of this installation",
        ),
        (lambda w: Item(w.request(at=AT - 8 * DAY), {"correct": 1}), "older than 7d"),
        (lambda w: Item(w.request(at=AT + 2 * HOUR), {"correct": 1}), "check the clocks"),
        (
            lambda _: Item(STAMPER.stamp(STAMPER.prefix(999, 0), AT, 0), {"correct": 1}),
            "no route that this key may see",
        ),
        (lambda w: Item(w.request(arm=255), {"correct": 1}), "pinned to a version"),
        (lambda w: Item(w.request(), {}), "1 to 16 named numbers"),
        (lambda w: Item(w.request(), {f"s{i}": 1 for i in range(17)}), "1 to 16 named numbers"),
        (lambda w: Item(w.request(), {"correct": 1.01}), "no number from 0"),
        (lambda w: Item(w.request(), {"correct": -0.01}), "no number from 0"),
        (lambda w: Item(w.request(), {"correct": float("nan")}), "no number from 0"),
        (lambda w: Item(w.request(), {"correct": True}), "no number from 0"),
        (lambda w: Item(w.request(), {"not a name": 1}), "cannot name a score"),
        (lambda w: Item(w.request(), {"correct": 1}, "a\x00b"), "control character"),
    ],
)
def test_wrong_item_says_why_and_does_not_spoil_the_others(
    world: World, item: Callable[[World], Item], words: str
) -> None:
    wrong, right = world.say(item(world), Item(world.request(), {"correct": 1}))
    assert not wrong.accepted
    assert words in wrong.why_not
    assert right.accepted
    assert sum(n for n, _ in world.stored().values()) == 1
    assert sum(count.n for count in world.evidence()) == 1


@pytest.mark.parametrize(
    "stranger", [replace(BOB, models=("other-*",)), replace(BOB, environments=("staging",))]
)
def test_key_cannot_score_what_it_may_not_see(world: World, stranger: Caller) -> None:
    (taken,) = world.say(Item(world.request(), {"correct": 0}), caller=stranger)
    assert (taken.accepted, "no route that this key may see" in taken.why_not) == (False, True)
    assert "digits" not in taken.why_not
    assert world.evidence() == []


def test_score_lands_in_the_epoch_that_assigned_its_request(world: World) -> None:
    request = world.request()
    with world.begin() as work:
        work.routes.add(replace(world.route, revision=2, epoch=replace(EPOCH, step=2)))
        work.commit()
    world.say(Item(request, {"correct": 0}))
    assert [count.epoch for count in world.evidence()] == [world.route.id]
