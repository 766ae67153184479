"""Going back because somebody asks: never refused, and exactly to what was."""

from dataclasses import replace

import pytest
from tests.deployments.world import ADA, DIRECT, MODEL, PRODUCTION, World

from headway.deployments.deployment import State, replay
from headway.deployments.intent import Verb
from headway.deployments.rollback import Rollback, RollbackState
from headway.kernel.clock import DAY, HOUR, MINUTE, SECOND
from headway.kernel.errors import Invalid, NotFound, Refused


@pytest.fixture
def world() -> World:
    world = World()
    world.gateway()
    world.serve("1.0.0")
    world.serve("1.1.0")
    return world


def back(world: World, to: str = "previous") -> Rollback:
    return world.rollbacks.roll_back(
        model=MODEL, environment=PRODUCTION, to=to, why="complaints", actor=ADA
    )


def test_previous_is_what_the_last_deployment_found(world: World) -> None:
    with world.begin() as work:
        before = next(
            route
            for route in work.routes.revisions(MODEL, PRODUCTION, before=99, limit=99)
            if route.epoch is None and route.versions() == {"1.0.0"}
        )
    rollback = back(world)

    assert world.shares() == {"1.0.0": 10_000}
    assert world.route().text() == before.text()
    assert world.route().digest == before.digest
    assert (rollback.to_revision, rollback.automatic) == (before.revision, False)
    assert rollback.actor == "ada"


def test_previous_of_a_rollback_is_what_it_left(world: World) -> None:
    back(world)
    world.later(SECOND)
    back(world)
    assert world.shares() == {"1.1.0": 10_000}


def test_rollback_is_finished_when_the_version_answers(world: World) -> None:
    rollback = back(world)
    assert world.rollbacks.get(rollback.id).state is RollbackState.COMMITTED
    world.tick()
    assert world.rollbacks.get(rollback.id).state is RollbackState.COMMITTED
    world.gateways_follow()
    world.courier()
    world.tick()

    row = world.rollbacks.get(rollback.id)
    assert row.state is RollbackState.FINISHED
    assert row.finished_at == world.now


def test_rollback_without_an_answer_fails_and_finishes_when_one_comes(world: World) -> None:
    rollback = back(world)
    world.run(62 * SECOND, answers=False)
    assert world.rollbacks.get(rollback.id).state is RollbackState.FAILED
    assert world.shares() == {"1.0.0": 10_000}
    world.courier()
    world.run(2 * SECOND)

    assert world.rollbacks.get(rollback.id).state is RollbackState.FINISHED


def test_rollback_asks_again_after_an_answer_in_vain(world: World) -> None:
    rollback = back(world)
    world.courier(ok=False, detail="500")
    world.later(6 * SECOND)
    world.gateways_follow()
    world.tick()
    world.courier()
    world.tick()
    assert world.rollbacks.get(rollback.id).state is RollbackState.FINISHED


def test_failed_rollback_is_over_soon_after_its_version_is_back(world: World) -> None:
    """After a tenth of the time that it was gone, with few questions meanwhile."""
    rollback = back(world)
    failed(world, 5 * MINUTE)
    world.gateways_follow()
    seen = world.now
    while world.rollbacks.get(rollback.id).state is not RollbackState.FINISHED:
        world.run(SECOND)
    assert world.now - seen <= 32 * SECOND
    with world.begin() as work:
        events = work.outbox.history(subject=f"rollback:{rollback.id}", limit=1_000)
    assert sum(event.kind == "rollback.probe" for event in events) <= 40


def failed(world: World, lasting: int) -> None:
    """Let nobody answer for a time."""
    until = world.now + lasting
    while world.now < until:
        world.courier(ok=False, detail="gone")
        world.run(SECOND, answers=False)


def test_failed_rollback_of_a_deployment_is_over_soon_after_its_version_is_back(
    world: World,
) -> None:
    deployment = world.deploy("1.2.0")
    world.run(3 * SECOND)
    world.deployments.intend(deployment.id, Verb.ABORT, actor=ADA)
    world.tick()
    failed(world, 7 * MINUTE)  # in the middle of a pause of 80 s
    assert world.row(deployment).state is State.ROLLBACK_FAILED
    world.run(10 * SECOND)
    assert world.row(deployment).state is State.ROLLED_BACK


def test_failed_rollback_of_a_deployment_is_not_looked_at_all_the_time(world: World) -> None:
    deployment = world.deploy("1.2.0")
    world.run(3 * SECOND)
    world.deployments.intend(deployment.id, Verb.ABORT, actor=ADA)
    world.tick()
    failed(world, 7 * MINUTE)
    claims = world.row(deployment).fence
    world.run(20 * SECOND, answers=False)
    assert world.row(deployment).state is State.ROLLBACK_FAILED
    assert world.row(deployment).fence - claims <= 5


def test_to_a_version_gives_it_to_everybody(world: World) -> None:
    back(world, "1.2.0")
    assert world.shares() == {"1.2.0": 10_000}


def test_to_a_snapshot_is_its_text_byte_for_byte(world: World) -> None:
    salted = world.route()
    snapshot = world.snapshots.take(MODEL, PRODUCTION, actor=ADA, reason="before the fair")
    back(world, "1.2.0")
    back(world, snapshot.id)

    assert world.route().text() == salted.text()
    assert world.route().digest == snapshot.digest


def test_to_a_time_is_what_was_then(world: World) -> None:
    text = world.route().text()
    world.later(HOUR)
    world.serve("1.2.0")
    back(world, "2027-01-15T08:30:00Z")
    assert world.route().text() == text


def test_active_deployment_goes_back_in_the_same_transaction(world: World) -> None:
    text = world.route().text()
    deployment = world.deploy("1.2.0")
    world.run(3 * SECOND)
    rollback = back(world)

    row = world.row(deployment)
    assert row.state is State.ROLLING_BACK
    assert row.because == "rolled back to 1.1.0 (revision 4) by ada: complaints"
    assert world.route().text() == text
    assert rollback.deployment == deployment.id
    world.run(3 * SECOND)
    assert world.row(deployment).state is State.ROLLED_BACK
    assert world.rollbacks.get(rollback.id).state is RollbackState.FINISHED
    assert replay(world.history(deployment)) == world.row(deployment).remembered()


def test_active_deployment_can_be_rolled_back_to_any_version(world: World) -> None:
    deployment = world.deploy("1.2.0")
    world.run(3 * SECOND)
    back(world, "1.0.0")
    assert world.shares() == {"1.0.0": 10_000}
    world.run(3 * SECOND)
    assert world.row(deployment).because.endswith("1.0.0 answers again")


def test_deployment_that_has_not_begun_is_rolled_back_as_well(world: World) -> None:
    text = world.route().text()
    deployment = world.deploy("1.2.0")
    back(world)
    assert world.row(deployment).state is State.ROLLING_BACK
    world.run(3 * SECOND)
    assert world.row(deployment).state is State.ROLLED_BACK
    assert world.route().text() == text


def test_rolling_back_may_be_asked_again_to_elsewhere(world: World) -> None:
    deployment = world.deploy("1.2.0")
    world.run(3 * SECOND)
    first = back(world)
    second = back(world, "1.0.0")
    world.run(3 * SECOND)

    assert world.shares() == {"1.0.0": 10_000}
    assert world.rollbacks.get(first.id).state is RollbackState.FAILED
    assert world.rollbacks.get(second.id).state is RollbackState.FINISHED
    assert world.row(deployment).state is State.ROLLED_BACK


def test_reconciler_that_holds_the_lease_does_not_keep_a_person_waiting(world: World) -> None:
    deployment = world.deploy("1.2.0")
    world.run(3 * SECOND)
    world.later(SECOND)
    text = world.route().text()

    def somebody_goes_back() -> None:
        back(world)

    late = world.interrupted(after=2, by=somebody_goes_back)
    world.traffic(deployment, candidate=(300, 0), stable=(2_700, 0))
    world.later(5 * SECOND)
    late.tick()  # would have entered the next step

    assert world.row(deployment).state is State.ROLLING_BACK
    assert world.shares() == {"1.1.0": 10_000}
    assert world.route().text() != text


def test_first_version_that_goes_back_switches_the_route_off() -> None:
    world = World()
    world.gateway()
    deployment = world.deploy("1.0.0", DIRECT)
    world.run(3 * SECOND)
    world.veto(deployment)
    world.run(3 * SECOND)

    assert world.row(deployment).state is State.ROLLED_BACK
    assert world.route().enabled is False
    world.serve("1.1.0")
    assert world.route().enabled is True


def test_nothing_before_is_said_and_a_wrong_target_is_not_found() -> None:
    world = World()
    with pytest.raises(NotFound, match="there is no route"):
        back(world)
    world.serve("1.0.0")
    with pytest.raises(Invalid, match="has nothing before it"):
        back(world)
    with pytest.raises(NotFound):
        back(world, "snap_404")
    with pytest.raises(NotFound):
        back(world, "7.7.7")
    with pytest.raises(Invalid, match="names no zone"):
        back(world, "2027-01-15T08:30:00")


def test_rollback_that_was_overtaken_by_another_change_is_over(world: World) -> None:
    rollback = back(world)
    world.later(MINUTE // 2)
    back(world, "1.2.0")
    world.tick()
    assert world.rollbacks.get(rollback.id).state is RollbackState.FINISHED


def test_good_answers_of_the_minutes_before_prove_nothing(world: World) -> None:
    world.later(30 * SECOND)
    world.measure("1.0.0", ok=5_000)
    rollback = back(world)
    world.run(20 * SECOND, answers=False)
    assert world.rollbacks.get(rollback.id).state is RollbackState.COMMITTED
    world.later(MINUTE // 2)
    world.measure("1.0.0", ok=20)
    world.run(SECOND, answers=False)
    assert world.rollbacks.get(rollback.id).state is RollbackState.FINISHED


def test_what_was_asked_before_the_rollback_is_settled_with_it(world: World) -> None:
    deployment = world.deploy("1.2.0")
    world.run(3 * SECOND)
    world.deployments.intend(deployment.id, Verb.PAUSE, actor=ADA)
    back(world)
    with world.begin() as work:
        assert work.intents.waiting(deployment.id) == []


# ── one that does not answer ─────────────────────────────────────────────────────────────────


def to_whom(world: World) -> list[tuple[str, str]]:
    """Return (URL, what it was told of) of every webhook that waits."""
    with world.begin() as work:
        claimed = work.outbox.claim_messages(owner="other", lease=MINUTE, limit=1_000)
    found = []
    for message in claimed:
        if message.kind == "webhook":
            assert isinstance(message.payload, dict)
            body = message.payload["body"]
            assert isinstance(body, dict)
            found.append((str(message.payload["url"]), str(body["type"])))
    return found


def on_call(world: World) -> None:
    world.reconciler = replace(world.reconciler, pages=("https://ops.example.com/page",))


def test_failed_rollback_of_a_person_pages_whoever_is_on_call_and_knows_the_route() -> None:
    world = World()
    on_call(world)
    world.gateway()
    world.serve("1.0.0")
    world.deploy("1.1.0", DIRECT, notify=["webhook:https://team.example.com/hook"])
    world.run(2 * MINUTE)
    to_whom(world)
    back(world)
    world.run(59 * SECOND, answers=False)
    assert to_whom(world) == []
    world.run(3 * SECOND, answers=False)

    assert sorted(to_whom(world)) == [
        ("https://ops.example.com/page", "rollback.failed"),
        ("https://team.example.com/hook", "rollback.failed"),
    ]


def stable_for_days(world: World, *versions: str) -> None:
    for version in versions:
        world.serve(version)
        world.later(2 * DAY)


def test_failed_rollback_of_a_person_goes_on_to_what_was_stable_for_a_day() -> None:
    world = World()
    on_call(world)
    world.gateway()
    stable_for_days(world, "1.0.0", "1.1.0", "1.2.0")
    first = back(world)
    assert world.shares() == {"1.1.0": 10_000}
    world.run(64 * SECOND, answers=False)
    assert world.shares() == {"1.1.0": 10_000}
    world.run(3 * SECOND, answers=False)

    assert world.shares() == {"1.0.0": 10_000}
    assert world.rollbacks.get(first.id).state is RollbackState.FAILED
    second = world.rollbacks.list()[0]
    assert (second.automatic, second.actor, second.state) == (
        True,
        "headway",
        RollbackState.COMMITTED,
    )
    assert second.why.startswith("1.1.0 does not answer: on to 1.0.0 (stable for a day")
    assert ("https://ops.example.com/page", "rollback.went_on") in to_whom(world)
    world.run(10 * SECOND)
    assert world.rollbacks.get(second.id).state is RollbackState.FINISHED
    assert world.shares() == {"1.0.0": 10_000}


def test_failed_rollback_never_leads_to_the_version_that_was_left() -> None:
    world = World()
    world.gateway()
    stable_for_days(world, "1.0.0", "1.1.0")
    rollback = back(world)
    world.run(10 * MINUTE, step=5 * SECOND, answers=False)

    assert world.shares() == {"1.0.0": 10_000}
    assert world.rollbacks.get(rollback.id).state is RollbackState.FAILED
    assert len(world.rollbacks.list()) == 1


def test_failed_rollback_goes_on_to_the_fallback_of_the_route() -> None:
    world = World()
    world.gateway()
    world.serve("1.0.0")
    world.by_hand(fallback="1.2.0")
    world.serve("1.1.0")
    back(world, "1.0.0")
    world.run(70 * SECOND, answers=False)
    assert world.shares() == {"1.2.0": 10_000}


def test_failed_rollback_that_has_nowhere_to_go_is_looked_at_ever_less_often() -> None:
    world = World()
    world.gateway()
    stable_for_days(world, "1.0.0", "1.1.0")
    rollback = back(world)
    world.run(61 * SECOND, answers=False)
    looks = []
    for minute in range(10):
        seen = world.rollbacks.get(rollback.id).revision
        world.run(MINUTE, step=250, answers=False)
        looks.append((minute, world.rollbacks.get(rollback.id).revision - seen))

    assert looks[0][1] <= 10
    assert all(many <= 2 for _, many in looks[2:])
    world.courier()
    world.tick()
    assert world.rollbacks.get(rollback.id).state is RollbackState.FINISHED


def test_nobody_goes_back_to_a_version_that_cannot_be_loaded(world: World) -> None:
    snapshot = world.snapshots.take(MODEL, PRODUCTION, actor=ADA, reason="before the fair")
    then = "2027-01-15T08:30:00Z"
    world.later(HOUR)
    world.serve("1.2.0")
    world.corrupt("1.1.0")
    for to in ("1.1.0", snapshot.id, then):
        with pytest.raises(Refused, match=r"digits@1\.1\.0 is corrupt"):
            back(world, to)

    assert back(world).why.endswith(
        "passed over, for the artifact is corrupt: 1.1.0 by ada: complaints"
    )
    assert world.shares() == {"1.0.0": 10_000}


def test_previous_says_so_if_all_that_was_before_cannot_be_loaded(world: World) -> None:
    world.corrupt("1.0.0")
    with pytest.raises(Invalid, match=r"nothing before it but 1\.0\.0, which is corrupt"):
        back(world)


def test_running_deployment_goes_back_to_its_stable_version_also_if_that_is_corrupt(
    world: World,
) -> None:
    """It answers at this moment: the runner has it in memory, only the disk has lost it."""
    world.deploy("1.2.0")
    world.run(3 * SECOND)
    world.corrupt("1.1.0")
    back(world)
    assert world.shares() == {"1.1.0": 10_000}


def test_failed_rollback_passes_over_what_cannot_be_loaded() -> None:
    world = World()
    world.gateway()
    stable_for_days(world, "1.0.0", "1.1.0", "1.2.0")
    world.register("1.3.0")
    world.serve("1.3.0")
    back(world)
    assert world.shares() == {"1.2.0": 10_000}
    world.corrupt("1.1.0")
    world.run(70 * SECOND, answers=False)
    assert world.shares() == {"1.0.0": 10_000}


def test_fallback_of_the_route_that_cannot_be_loaded_is_passed_over() -> None:
    world = World()
    world.gateway()
    world.serve("1.0.0")
    world.by_hand(fallback="1.2.0")
    world.serve("1.1.0")
    world.corrupt("1.2.0")
    back(world, "1.0.0")
    world.run(70 * SECOND, answers=False)
    assert world.shares() == {"1.0.0": 10_000}


def test_failed_rollback_is_ended_by_whoever_changes_the_route(world: World) -> None:
    rollback = back(world)
    world.run(62 * SECOND, answers=False)
    world.deploy("1.2.0", DIRECT)
    world.run(2 * MINUTE)

    row = world.rollbacks.get(rollback.id)
    assert row.state is RollbackState.FAILED
    assert row.finished_at is not None
    assert world.shares() == {"1.2.0": 10_000}


def test_gateways_that_do_not_follow_are_no_reason_to_go_further() -> None:
    world = World()
    world.gateway()
    stable_for_days(world, "1.0.0", "1.1.0", "1.2.0")
    back(world)
    for _ in range(90):
        world.later(SECOND)
        world.flush("g1", follows=False)
        world.tick()
    assert world.shares() == {"1.1.0": 10_000}


def test_failed_rollback_of_a_deployment_pages_whoever_is_on_call(world: World) -> None:
    on_call(world)
    deployment = world.deploy("1.2.0")
    world.run(3 * SECOND)
    world.deployments.intend(deployment.id, Verb.ABORT, actor=ADA, why="complaints")
    world.run(62 * SECOND, answers=False)
    told = to_whom(world)
    assert told == [("https://ops.example.com/page", "deployment.rollback_failed")]


def test_abandoned_rollback_is_over(world: World) -> None:
    deployment = world.deploy("1.2.0")
    world.run(3 * SECOND)
    world.deployments.intend(deployment.id, Verb.ABORT, actor=ADA, why="complaints")
    world.run(62 * SECOND, answers=False)
    world.deployments.intend(deployment.id, Verb.ABANDON, actor=ADA, why="by hand")
    world.run(3 * SECOND, answers=False)

    assert world.row(deployment).state is State.ABANDONED
    (row,) = world.rollbacks.list(limit=1)
    assert (row.state, row.finished_at is None) == (RollbackState.FAILED, False)
    with world.begin() as work:
        assert row.id not in [one.id for one in work.rollbacks.due()]
