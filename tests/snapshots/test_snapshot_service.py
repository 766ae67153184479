"""Snapshots are taken now or before a change, listed newest first, and lead to their revision."""

from functools import partial
from itertools import count

import pytest

from headway.kernel.errors import Invalid, NotFound
from headway.outbox.actor import Actor
from headway.routing.route import Arm, Role, Route, whole
from headway.snapshots.service import SnapshotService
from headway.testing.memory import Store, begin

ADA = Actor("ada (k1)", "person")
ROUTE = Route(
    model="Digits",
    environment="production",
    rules=(whole(Arm("stable", "1.0.0", "sha256:aa", Role.STABLE)),),
    salt="s",
    revision=1,
)


class World:
    def __init__(self) -> None:
        numbers = count(1)
        self.begin = partial(begin, Store(), lambda: 5)
        self.service = SnapshotService(
            self.begin, lambda: 5, lambda prefix: f"{prefix}_{next(numbers)}"
        )
        with self.begin() as work:
            self.route = work.routes.add(ROUTE)
            work.commit()


@pytest.fixture
def world() -> World:
    return World()


def test_snapshot_keeps_the_present_revision_by_name(world: World) -> None:
    taken = world.service.take("digits", "production", actor=ADA, reason="before the fair")
    assert (taken.id, taken.revision, taken.digest) == ("snap_1", 1, world.route.digest)
    assert (taken.model, taken.created_at, taken.created_by) == ("Digits", 5, "ada (k1)")
    assert world.service.get("snap_1") == taken
    with world.begin() as work:
        (event,) = work.outbox.latest()
    assert (event.kind, event.subject) == ("snapshot.taken", "route:Digits/production")
    assert (event.why, event.actor_kind) == ("before the fair", "person")


def test_snapshots_are_listed_newest_first_page_by_page(world: World) -> None:
    for _ in range(3):
        world.service.take("digits", "production", actor=ADA)
    assert [one.id for one in world.service.listing("digits", "production")] == [
        "snap_3",
        "snap_2",
        "snap_1",
    ]
    older = world.service.listing("digits", "production", before="snap_3", limit=1)
    assert [one.id for one in older] == ["snap_2"]


def test_snapshot_before_a_change_goes_with_the_transaction_of_the_change(world: World) -> None:
    with world.begin() as work:
        world.service.keep(work, world.route, "a change", 9, "ada")
    assert world.service.listing("digits", "production") == []
    with world.begin() as work:
        kept = world.service.keep(work, world.route, "a change", 9, "ada")
        work.commit()
    assert kept.reason == "before: a change"
    assert world.service.listing("digits", "production") == [kept]


def test_what_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        world.service.take("digits", "staging", actor=ADA)
    with pytest.raises(NotFound):
        world.service.listing("other", "production")
    with pytest.raises(NotFound):
        world.service.get("snap_9")


def test_reason_is_plain_text(world: World) -> None:
    with pytest.raises(Invalid):
        world.service.take("digits", "production", actor=ADA, reason="a\x1b[31m")
