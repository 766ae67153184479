"""How deployments behave, told from outside: time passes, traffic speaks, callers move."""

from collections.abc import Mapping
from dataclasses import replace
from math import log
from typing import Any

import pytest
from tests.deployments.world import ADA, DIRECT, MODEL, PRODUCTION, QUICK, World

from headway.adapters.outbound import Audience, Outbound
from headway.deployments.deployment import State, replay
from headway.deployments.describe import basis
from headway.deployments.intent import Verb
from headway.deployments.rollback import RollbackState
from headway.kernel.canonical import Json
from headway.kernel.clock import DAY, HOUR, MINUTE, SECOND
from headway.kernel.errors import Conflict, IllegalMove, Invalid, NotFound, Refused
from headway.routing.route import Rule, Segment


@pytest.fixture
def world() -> World:
    world = World()
    world.gateway()
    world.serve("1.0.0")
    return world


def test_first_version_goes_out_directly_whatever_the_strategy() -> None:
    world = World()
    deployment = world.deploy("1.0.0")
    world.run(5 * SECOND)
    assert world.shares() == {"1.0.0": 10_000}
    world.run(2 * MINUTE)

    assert world.row(deployment).state is State.SUCCEEDED
    assert world.route().stable.version == "1.0.0"
    assert world.route().epoch is None


def test_candidate_that_proves_itself_becomes_the_stable_version(world: World) -> None:
    deployment = world.deploy("1.1.0")
    seen = []
    for _ in range(200):
        world.run(5 * SECOND)
        if world.row(deployment).finished:
            break
        seen.append(world.shares().get("1.1.0"))
        world.traffic(deployment, candidate=(60, 0), stable=(540, 0))

    assert world.row(deployment).state is State.SUCCEEDED
    assert list(dict.fromkeys(seen)) == [1_000, 5_000, 10_000]
    assert world.shares() == {"1.1.0": 10_000}
    assert world.route().stable.version == "1.1.0"


def test_no_data_holds_the_step_however_long_it_lasts(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    for _ in range(30):
        world.later(DAY)
        world.gateways_follow()
        world.tick()
        world.tick()

    row = world.row(deployment)
    assert row.state is State.RUNNING
    assert world.shares() == {"1.0.0": 9_000, "1.1.0": 1_000}
    assert row.held_because == "not yet proven: not 5x worse, not within 2m"


def test_held_step_ends_when_its_proof_comes(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * MINUTE)
    assert world.row(deployment).held_since is not None
    world.traffic(deployment, candidate=(300, 0), stable=(2_700, 0))
    world.run(10 * SECOND)

    assert world.row(deployment).held_since is None
    assert world.shares() == {"1.0.0": 5_000, "1.1.0": 5_000}
    assert world.kinds(deployment) == ["created", "step", "held", "step"]


def test_worse_candidate_gives_every_caller_back(world: World) -> None:
    before = world.route().text()
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    world.traffic(deployment, candidate=(200, 40), stable=(1_800, 10))
    world.run(6 * SECOND)

    row = world.row(deployment)
    assert row.state is State.ROLLED_BACK
    assert "worse on errors" in row.because
    assert world.route().text() == before
    assert world.route().epoch is None


def test_worse_is_acted_on_in_the_very_next_tick(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    world.traffic(deployment, candidate=(200, 40), stable=(1_800, 10))
    world.later(500)
    world.tick()

    assert world.row(deployment).state is State.ROLLING_BACK
    assert world.shares() == {"1.0.0": 10_000}


def test_gateways_veto_becomes_a_rollback(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    world.veto(deployment)
    world.tick()

    assert world.row(deployment).state is State.ROLLING_BACK
    assert "errors > 50%" in world.row(deployment).because
    assert world.shares() == {"1.0.0": 10_000}


def test_limit_that_is_hit_in_control_becomes_a_rollback(world: World) -> None:
    deployment = world.deploy("1.1.0", judge={"worse": {}, "never": {"errors": "> 20%"}}, steps=[
        {"send": "10%", "for": "1h"}, {"send": "100%"}
    ])  # fmt: skip
    world.run(3 * SECOND)
    world.traffic(deployment, candidate=(60, 55), stable=(540, 2))
    world.run(3 * SECOND)

    assert "the limit was hit: errors above 20%" in world.row(deployment).because
    assert world.shares() == {"1.0.0": 10_000}


NEVER_SLOW: Mapping[str, Json] = {
    **QUICK,
    "steps": [{"send": "10%", "for": "1h"}, {"send": "100%"}],
    "judge": {"worse": {}, "never": {"errors": "> 50%", "latency_p95": "> 800ms"}},
}


def test_limit_on_latency_is_judged_in_control_as_well(world: World) -> None:
    deployment = world.deploy("1.1.0", NEVER_SLOW)
    world.run(3 * SECOND)
    world.slowness(deployment, "latency>800", candidate=(200, 60), stable=(1_800, 10))
    world.run(3 * SECOND)

    row = world.row(deployment)
    assert "the limit was hit: more than 5% slower than 800ms" in row.because
    assert world.shares() == {"1.0.0": 10_000}
    (told,) = [
        line
        for line in world.deployments.why(deployment.id)
        if line["kind"] == "deployment.rolling_back"
    ]
    assert "never more than 5% slower than 800ms: hit" in str(told["evidence"])


@pytest.mark.parametrize(
    ("candidate", "stable"),
    [
        pytest.param((200, 60), (1_800, 540), id="both arms are slow"),
        pytest.param((2_000, 90), (18_000, 9), id="slower than stable, below the limit"),
    ],
)
def test_limit_on_latency_spares_who_is_not_proven_worse_and_above_it(
    world: World, candidate: tuple[int, int], stable: tuple[int, int]
) -> None:
    deployment = world.deploy("1.1.0", NEVER_SLOW)
    world.run(3 * SECOND)
    world.slowness(deployment, "latency>800", candidate=candidate, stable=stable)
    world.run(10 * SECOND)
    assert world.shares() == {"1.0.0": 9_000, "1.1.0": 1_000}


def test_veto_names_the_limit_that_the_gateway_saw_hit(world: World) -> None:
    never: Json = {"latency_p50": "> 100ms", "latency_p95": "> 800ms"}
    deployment = world.deploy("1.1.0", judge={"worse": {}, "never": never}, steps=[
        {"send": "10%", "for": "1h"}, {"send": "100%"}
    ])  # fmt: skip
    world.run(3 * SECOND)
    world.veto(deployment, "latency>800")
    limits = world.deployments.status(deployment.id)["limits"]
    assert isinstance(limits, list)
    assert [(limit["words"], limit["hit"]) for limit in limits if isinstance(limit, dict)] == [
        ("more than 50% slower than 100ms", False),
        ("more than 5% slower than 800ms", True),
    ]
    world.tick()
    assert world.row(deployment).because == "a gateway saw the limit hit: latency_p95 > 800ms"


def test_history_and_webhook_give_the_counts_of_the_gateway_that_saw_a_limit_hit(
    world: World,
) -> None:
    deployment = world.deploy("1.1.0", notify=["webhook:https://ops.example.com/hooks"])
    world.run(3 * SECOND)
    counts: dict[str, Json] = {
        "gateway": 3,
        "needed": log(2_000),
        "log_rate": log(2_500),
        "log_worse": log(4_000),
        "ground": {"since": world.now - world.now % MINUTE, "n": 28, "bad": 14},
        "stable": {"n": 252, "bad": 2},
        "alone": False,
    }
    world.veto(deployment, "errors", counts)
    world.tick()

    event = next(e for e in world.history(deployment) if e.kind == "deployment.rolling_back")
    told = basis(event)
    assert "gateway 3" in told[0]
    assert "14 of 28 requests on the new version failed since" in told[0]
    assert "on the stable version 2 of 252" in told[0]
    assert told[1] == "above the limit: E = 2,500 of 2,000; worse than stable: E = 4,000 of 2,000"
    with world.begin() as work:
        told_of: list[Any] = [
            m.payload for m in work.outbox.messages_of(deployment.id) if m.kind == "webhook"
        ]
    bodies = [payload["body"] for payload in told_of]
    (body,) = [body for body in bodies if body["type"] == event.kind]
    assert body["data"]["evidence"] == list(told)


def test_limit_that_is_hit_in_control_says_on_which_counts(world: World) -> None:
    deployment = world.deploy("1.1.0", judge={"worse": {}, "never": {"errors": "> 20%"}}, steps=[
        {"send": "10%", "for": "1h"}, {"send": "100%"}
    ])  # fmt: skip
    world.run(3 * SECOND)
    world.traffic(deployment, candidate=(60, 55), stable=(540, 2))
    world.run(3 * SECOND)

    event = next(e for e in world.history(deployment) if e.kind == "deployment.rolling_back")
    assert any("hit: 55 of 60 requests on the new version" in line for line in basis(event))


def test_outage_of_both_arms_moves_nothing(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    for _ in range(5):
        world.traffic(deployment, candidate=(100, 90), stable=(900, 810))
        world.run(5 * SECOND)

    assert world.row(deployment).state is State.RUNNING
    assert world.shares() == {"1.0.0": 9_000, "1.1.0": 1_000}


def test_rollback_is_finished_only_when_every_living_gateway_has_gone_back(world: World) -> None:
    world.gateway("g2")
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    world.deployments.intend(deployment.id, Verb.ABORT, actor=ADA, why="wrong prompt")
    world.tick()
    world.courier()
    world.flush("g1")
    world.later(SECOND)
    world.tick()
    assert world.row(deployment).state is State.ROLLING_BACK
    world.flush("g2")
    world.later(SECOND)
    world.tick()

    row = world.row(deployment)
    assert row.state is State.ROLLED_BACK
    assert row.because == "aborted by ada: wrong prompt; 1.0.0 answers again"


def test_gateway_that_died_is_not_waited_for(world: World) -> None:
    world.gateway("g2")
    deployment = world.deploy("1.1.0")
    world.later(6 * SECOND)
    world.flush("g1")
    world.tick()
    world.deployments.intend(deployment.id, Verb.ABORT, actor=ADA)
    world.tick()
    world.courier()
    world.flush("g1")
    world.later(SECOND)
    world.tick()

    assert world.row(deployment).state is State.ROLLED_BACK


def test_twenty_good_answers_are_as_good_as_a_probe(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    world.measure("1.0.0", ok=5_000)  # before it went back: proves nothing
    world.deployments.intend(deployment.id, Verb.ABORT, actor=ADA)
    world.run(3 * SECOND, answers=False)
    assert world.row(deployment).state is State.ROLLING_BACK
    world.measure("1.0.0", ok=19)
    world.run(2 * SECOND, answers=False)
    assert world.row(deployment).state is State.ROLLING_BACK
    world.measure("1.0.0", ok=1)
    world.run(2 * SECOND, answers=False)

    assert world.row(deployment).state is State.ROLLED_BACK


def test_restored_version_that_does_not_answer_fails_the_rollback_and_is_tried_again(
    world: World,
) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    world.deployments.intend(deployment.id, Verb.ABORT, actor=ADA)
    world.run(62 * SECOND, answers=False)
    row = world.row(deployment)
    assert row.state is State.ROLLBACK_FAILED
    assert world.shares() == {"1.0.0": 10_000}
    assert world.rollbacks.list()[0].state is RollbackState.FAILED

    world.run(30 * SECOND)
    row = world.row(deployment)
    assert row.state is State.ROLLED_BACK
    assert row.because == "aborted by ada; 1.0.0 answers again"
    assert world.rollbacks.list()[0].state is RollbackState.FINISHED


def test_failed_rollback_falls_back_to_the_last_version_that_was_stable_for_a_day(
    world: World,
) -> None:
    world.later(DAY)  # 1.0.0 serves for a day
    world.gateways_follow()
    world.serve("1.1.0")
    deployment = world.deploy("1.2.0")
    world.run(3 * SECOND)
    world.deployments.intend(deployment.id, Verb.ABORT, actor=ADA)
    for _ in range(75):
        world.tick()
        world.gateways_follow()
        with world.begin() as work:
            for message in work.outbox.claim_messages(owner="c", lease=1000, limit=9):
                payload = message.payload
                assert isinstance(payload, dict)
                ok = payload["version"] == "1.0.0"
                work.outbox.answer(message.key, {"ok": ok, "detail": "gone"}, owner="c")
            work.commit()
        world.later(SECOND)
    world.tick()

    assert world.row(deployment).state is State.ROLLED_BACK
    assert world.shares() == {"1.0.0": 10_000}
    assert "rollback_failed" in world.kinds(deployment)
    row = next(one for one in world.rollbacks.list() if one.deployment == deployment.id)
    assert row.published == world.route().revision
    with world.begin() as work:
        led_to = work.routes.get(MODEL, PRODUCTION, row.to_revision)
    assert led_to.digest == world.route().digest


def test_failed_rollback_can_be_abandoned_by_a_person(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    with pytest.raises(IllegalMove, match="is running: it cannot be asked to abandon"):
        world.deployments.intend(deployment.id, Verb.ABANDON, actor=ADA)
    world.deployments.intend(deployment.id, Verb.ABORT, actor=ADA)
    world.run(62 * SECOND, answers=False)
    world.deployments.intend(deployment.id, Verb.ABANDON, actor=ADA, why="seen to")
    world.tick()

    assert world.row(deployment).state is State.ABANDONED
    assert world.row(deployment).because == "abandoned by ada: seen to"
    world.deploy("1.2.0")  # the route is free again


def test_pause_stops_the_steps_and_resume_goes_on(world: World) -> None:
    deployment = world.deploy("1.1.0", DIRECT)
    world.run(2 * SECOND)
    world.deployments.intend(deployment.id, Verb.PAUSE, actor=ADA, why="lunch")
    world.run(HOUR, step=MINUTE)
    assert world.row(deployment).state is State.PAUSED
    world.deployments.intend(deployment.id, Verb.RESUME, actor=ADA)
    world.run(30 * SECOND)
    assert world.row(deployment).state is State.RUNNING  # the watch has its minute still
    world.run(2 * MINUTE)

    assert world.row(deployment).state is State.SUCCEEDED


def test_paused_deployment_goes_back_for_the_same_reasons(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(2 * SECOND)
    world.deployments.intend(deployment.id, Verb.PAUSE, actor=ADA)
    world.run(2 * SECOND)
    world.veto(deployment)
    world.tick()

    assert world.row(deployment).state is State.ROLLING_BACK


def test_promotion_skips_one_proof_or_all_of_them(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(2 * SECOND)
    with pytest.raises(Invalid, match="wants a reason"):
        world.deployments.intend(deployment.id, Verb.PROMOTE, actor=ADA)
    world.deployments.intend(deployment.id, Verb.PROMOTE, actor=ADA, why="hotfix")
    world.run(2 * SECOND)
    assert world.shares() == {"1.0.0": 5_000, "1.1.0": 5_000}
    world.deployments.intend(deployment.id, Verb.PROMOTE, actor=ADA, why="hotfix", to="end")
    world.tick()

    assert world.shares() == {"1.1.0": 10_000}
    assert "promoted by ada without its proof: hotfix" in world.row(deployment).because


def test_promotion_never_lifts_a_limit(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(2 * SECOND)
    world.deployments.intend(deployment.id, Verb.PROMOTE, actor=ADA, why="now", to="end")
    world.veto(deployment)
    world.tick()

    assert world.row(deployment).state is State.ROLLING_BACK


def test_at_100_percent_the_old_version_stays_at_hand_for_a_veto(world: World) -> None:
    deployment = world.deploy("1.1.0", DIRECT)
    world.run(3 * SECOND)
    route = world.route()

    assert world.row(deployment).state is State.RUNNING
    assert world.shares() == {"1.1.0": 10_000}
    assert route.stable.version == "1.0.0"
    assert [guard.arm for guard in route.guards] == ["candidate"]


def test_every_route_of_a_deployment_has_its_salt_and_a_new_one_has_another(
    world: World,
) -> None:
    first = world.deploy("1.1.0")
    world.run(2 * SECOND)
    world.traffic(first, candidate=(300, 0), stable=(2_700, 0))
    world.run(10 * SECOND)
    with world.begin() as work:
        revisions = work.routes.revisions(MODEL, PRODUCTION, before=99, limit=2)
    assert {route.salt for route in revisions} == {first.id}
    segments = [route.rules[-1].segments for route in reversed(revisions)]
    assert [(s.arm, s.share_bp) for s in segments[0]] == [("stable", 9_000), ("candidate", 1_000)]
    assert [(s.arm, s.share_bp) for s in segments[1]] == [("stable", 5_000), ("candidate", 5_000)]


# ── checks ───────────────────────────────────────────────────────────────────────────────────

CHECKED: Mapping[str, Json] = {
    **QUICK,
    "steps": [{"check": ["loads", "smoke"], "within": "1m"}, {"send": "100%"}],
}


def test_no_traffic_before_every_check_has_passed(world: World) -> None:
    deployment = world.deploy("1.1.0", CHECKED)
    world.run(20 * SECOND, answers=False)
    assert world.shares() == {"1.0.0": 10_000}
    asked = world.courier()
    world.later(SECOND)
    world.tick()

    assert sorted(message.key.split(":")[3] for message in asked) == ["loads", "smoke"]
    assert world.shares() == {"1.1.0": 10_000}
    assert world.row(deployment).state is State.RUNNING


def test_smoke_asks_what_the_signature_takes_and_an_example_wins(world: World) -> None:
    world.register("3.0.0", metadata={"example": {"inputs": ["mine"]}})
    for number, request in (
        (
            "1.1.0",
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0] * 4}]},
        ),
        ("3.0.0", {"inputs": ["mine"]}),
    ):
        deployment = world.deploy(number, CHECKED)
        world.tick()
        payloads = [message.payload for message in world.courier()]
        found = [
            payload["request"]
            for payload in payloads
            if isinstance(payload, dict) and payload["check"] == "smoke"
        ]
        assert found == [request]
        world.deployments.intend(deployment.id, Verb.ABORT, actor=ADA)
        world.run(2 * SECOND)


def test_check_that_fails_is_tried_again_until_it_passes(world: World) -> None:
    deployment = world.deploy("1.1.0", CHECKED)
    world.tick()
    world.courier(ok=False, detail="no such file")
    world.later(2 * SECOND)
    world.tick()
    assert "check loads failed: no such file; asked again" in world.history(deployment)[-1].why
    world.courier()
    world.later(SECOND)
    world.tick()

    assert world.shares() == {"1.1.0": 10_000}


def test_status_says_why_a_check_fails_how_often_it_was_asked_and_until_when(
    world: World,
) -> None:
    deployment = world.deploy("1.1.0", CHECKED)
    world.tick()
    begun = world.row(deployment).since
    world.courier(ok=False, detail="no such file")
    first: Any = world.deployments.status(deployment.id)["next"]
    assert "check loads failed 1 time, the last time: no such file" in first["what"]
    world.later(2 * SECOND)
    world.tick()  # asked again, not answered yet
    again: Any = world.deployments.status(deployment.id)["next"]
    assert again["what"] == "check loads failed 1 time, the last time: no such file"
    assert again["gives_up_at"] == begun + MINUTE
    assert again["expected_at"] is None


def test_check_that_keeps_failing_ends_it_and_no_route_was_published(world: World) -> None:
    revision = world.route().revision
    deployment = world.deploy("1.1.0", CHECKED)
    for _ in range(70):
        world.tick()
        world.courier(ok=False, detail="no such file")
        world.later(SECOND)
    world.tick()

    row = world.row(deployment)
    assert row.state is State.ROLLED_BACK
    assert row.because == "check loads failed: no such file"
    assert world.route().revision == revision


def test_check_without_an_answer_ends_it_as_well(world: World) -> None:
    deployment = world.deploy("1.1.0", CHECKED)
    world.run(62 * SECOND, answers=False)
    assert world.row(deployment).because == "check loads did not answer within 1m"


def test_version_whose_artifact_is_corrupt_is_not_deployed(world: World) -> None:
    world.corrupt("1.1.0")
    words = r"digits@1\.1\.0 is corrupt.*upload the right ones"
    with pytest.raises(Refused, match=words):
        world.deploy("1.1.0")
    with pytest.raises(Refused, match=words):
        world.deployments.plan({**QUICK, "to": "1.1.0"})
    world.corrupt("1.1.0", at=None)
    assert world.deploy("1.1.0").version == "1.1.0"


def test_check_that_would_fail_again_is_not_waited_for(world: World) -> None:
    deployment = world.deploy("1.1.0", CHECKED)
    world.tick()
    world.courier(ok=False, detail="other bytes", final=True)
    world.tick()
    assert world.row(deployment).state is State.ROLLED_BACK
    assert world.row(deployment).because == "check loads failed: other bytes"


# ── one at a time, all or nothing ────────────────────────────────────────────────────────────


def test_one_that_splits_the_traffic_already_is_told_as_what_stands_in_the_way(
    world: World,
) -> None:
    world.serve("1.0.0")
    first = world.deploy("1.1.0")
    world.run(2 * SECOND)

    with pytest.raises(Conflict) as caught:
        world.deploy("1.2.0")

    assert caught.value.stands_in_the_way == first.id
    assert world.deployments.plan({**QUICK, "to": "1.2.0"})["version"] == "1.2.0"


def test_second_deployment_of_a_route_is_told_what_stands_in_the_way(world: World) -> None:
    first = world.deploy("1.1.0")
    with pytest.raises(Conflict) as caught:
        world.deploy("1.2.0")
    assert caught.value.stands_in_the_way == first.id


def test_reconciler_that_was_frozen_past_its_lease_changes_nothing(world: World) -> None:
    deployment = world.deploy("1.1.0")
    frozen = world.another_reconciler("frozen")
    claimed, _, steady = frozen._claim()
    world.later(MINUTE)
    world.tick()
    revision = world.route().revision

    assert frozen._advance(claimed[0], steady=steady) is False
    assert world.route().revision == revision
    assert world.row(deployment).entered == 1


def test_route_changed_meanwhile_leaves_the_deployment_where_it_was(world: World) -> None:
    deployment = world.deploy("1.1.0")

    def somebody_changes_the_route() -> None:
        world.by_hand(salt="by hand")

    late = world.interrupted(after=2, by=somebody_changes_the_route)  # claimed, looked
    late.tick()

    assert world.route().salt == "by hand"
    row = world.row(deployment)
    assert (row.entered, row.lease_owner) == (0, "")
    assert world.kinds(deployment) == ["created"]


def test_two_reconcilers_take_one_step(world: World) -> None:
    deployment = world.deploy("1.1.0")

    def the_other_acts() -> None:
        world.later(MINUTE)  # longer than the lease
        world.another_reconciler("second").tick()

    world.interrupted(after=2, by=the_other_acts).tick()

    assert world.row(deployment).entered == 1
    assert world.kinds(deployment) == ["created", "step"]


def test_clock_that_jumped_advances_nothing_but_goes_back(world: World) -> None:
    deployment = world.deploy("1.1.0", DIRECT)
    world.run(5 * SECOND)
    elapsed = [0.0]
    from headway.deployments.reconciler import Pace  # noqa: PLC0415 - this test alone turns it

    told: list[str] = []
    jumpy = replace(world.reconciler, pace=Pace(lambda: elapsed[0]), tell=told.append)
    jumpy.tick()
    assert told == []
    world.later(HOUR)  # the wall clock; the monotonic one stands
    jumpy.tick()
    assert world.row(deployment).state is State.RUNNING
    assert told == ["the clock jumped: nothing advances at this look"]
    world.later(HOUR)
    world.deployments.intend(deployment.id, Verb.ABORT, actor=ADA)
    jumpy.tick()

    assert world.row(deployment).state is State.ROLLING_BACK


# ── what is refused ──────────────────────────────────────────────────────────────────────────


def test_finished_deployment_cannot_be_asked_for_anything(world: World) -> None:
    deployment = world.deployments.list()[0]
    for verb in (Verb.PAUSE, Verb.RESUME, Verb.ABORT, Verb.ABANDON):
        with pytest.raises(IllegalMove, match="is succeeded"):
            world.deployments.intend(deployment.id, verb, actor=ADA)


def test_unknown_version_is_not_found_and_nothing_is_left(world: World) -> None:
    with pytest.raises(NotFound):
        world.deploy("9.9.9")
    assert len(world.deployments.list()) == 1


def test_range_and_latest_become_one_version(world: World) -> None:
    assert world.deploy("^1.0").version == "1.2.0"


def test_yanked_version_is_refused_with_the_reason(world: World) -> None:
    from headway.registry.model import State as VersionState  # noqa: PLC0415 - two states meet
    from headway.registry.version import SemVer  # noqa: PLC0415 - likewise

    with world.begin() as work:
        version = work.versions.get(MODEL, SemVer(1, 2, 0))
        work.versions.save(replace(version, state=VersionState.YANKED, reason="leaks"))
        work.commit()
    with pytest.raises(Refused, match=r"digits@1.2.0 is yanked: leaks"):
        world.deploy("1.2.0")


# ── history ──────────────────────────────────────────────────────────────────────────────────


def test_history_replays_to_the_row(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * MINUTE)
    world.traffic(deployment, candidate=(200, 40), stable=(1_800, 10))
    world.run(10 * SECOND)

    row = world.row(deployment)
    assert row.state is State.ROLLED_BACK
    assert replay(world.history(deployment)) == row.remembered()


def test_verdict_in_the_history_is_judged_again_to_the_same_finding(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    world.traffic(deployment, candidate=(200, 40), stable=(1_800, 10))
    world.run(6 * SECOND)

    event = next(e for e in world.history(deployment) if e.kind == "deployment.rolling_back")
    shown = world.deployments.verdict(deployment.id, event.seq)
    assert isinstance(shown["verdict"], dict)
    assert isinstance(shown["again"], dict)
    assert (shown["verdict"]["finding"], shown["again"]["finding"]) == ("worse", "worse")
    assert shown["again"]["same"] is True
    with pytest.raises(NotFound, match="has a verdict"):
        world.deployments.verdict(deployment.id, 1)
    with pytest.raises(NotFound, match="has a verdict"):
        world.deployments.verdict(deployment.id, event.seq + 1_000)
    told = [line for line in world.deployments.why(deployment.id) if line["kind"] == event.kind]
    assert "errors: candidate 40 of 200, stable 10 of 1,800" in str(told[0]["evidence"])


def test_each_change_of_the_route_leaves_a_snapshot_of_what_was(world: World) -> None:
    before = world.route()
    world.deploy("1.1.0")
    world.tick()
    (snapshot, *_) = world.snapshots.listing(MODEL, PRODUCTION)

    assert snapshot.revision == before.revision
    assert snapshot.digest == before.digest


def test_plan_tells_the_outside_what_happened(world: World) -> None:
    deployment = world.deploy("1.1.0", notify=["webhook:https://ops.example.com/hooks"])
    world.tick()
    with world.begin() as work:
        messages = [m for m in work.outbox.messages_of(deployment.id) if m.kind == "webhook"]
    payloads = [m.payload for m in messages]

    assert all(
        isinstance(p, dict) and p["url"] == "https://ops.example.com/hooks" for p in payloads
    )
    bodies = [p["body"] for p in payloads if isinstance(p, dict)]
    assert [b["type"] for b in bodies if isinstance(b, dict)] == [
        "deployment.created",
        "deployment.step",
    ]


def test_nobody_is_told_that_something_was_asked_once_more(world: World) -> None:
    check = {"check": ["loads"], "within": "5s"}
    plan = {**QUICK, "steps": [check, *QUICK["steps"]]}  # type: ignore[misc]  # a list
    deployment = world.deploy("1.1.0", plan, notify=["webhook:https://ops.example.com/hooks"])
    for _ in range(7):
        world.tick()
        world.courier(ok=False, detail="no")
        world.later(SECOND)

    assert "check" in world.kinds(deployment)
    with world.begin() as work:
        messages = [m for m in work.outbox.messages_of(deployment.id) if m.kind == "webhook"]
    told = [m.payload["body"]["type"] for m in messages]  # type: ignore[index,call-overload]
    assert told == ["deployment.created", "deployment.step", "deployment.rolled_back"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://169.254.169.254/latest", "never called"),
        ("https://10.0.0.1/x", 'HEADWAY_OUTBOUND_ALLOW="10.0.0.1:443"'),
        ("http://127.0.0.1:8000/api/v1/models", "127.0.0.1"),
        ("https://2130706433/", "usual form"),
        ("http://ops.example.com/", "https"),
    ],
)
def test_webhook_that_could_never_be_called_is_refused_with_its_plan(
    world: World, url: str, words: str
) -> None:
    def check(url: str, pointer: str) -> None:
        Outbound(loopback_open=True).check_url(url, audience=Audience.NOTIFIER, pointer=pointer)

    careful = replace(world.deployments, check_webhook=check)
    plan = {**QUICK, "to": "1.1.0", "notify": ["webhook:https://ok.example.com", f"webhook:{url}"]}
    with pytest.raises(Invalid, match=words) as refused:
        careful.create(plan, actor=ADA)

    assert refused.value.faults[0].pointer == "/notify/1"
    with pytest.raises(Invalid, match=words):
        careful.plan(plan)


def test_alias_moves_with_the_promotion_and_not_before(world: World) -> None:
    deployment = world.deploy("1.1.0", DIRECT, alias="champion")
    world.run(5 * SECOND)
    with world.begin() as work:
        assert work.aliases.find(MODEL, "champion") is None
    world.run(2 * MINUTE)
    with world.begin() as work:
        alias = work.aliases.find(MODEL, "champion")

    assert alias is not None
    assert str(alias.version) == "1.1.0"
    assert alias.why == f"promoted by {deployment.id}"


def test_what_is_fixed_at_the_start_travels_in_every_revision(world: World) -> None:
    for _ in range(30):
        world.measure("1.0.0", ok=100, latency=tuple(float(v) for v in range(1, 101)))
    deployment = world.deploy(
        "1.1.0", judge={"worse": {"errors": "any", "latency": "20%"}, "sure": "99.5%"}
    )
    world.tick()
    epoch = world.route().epoch

    assert epoch is not None
    assert epoch.deployment == deployment.id
    assert epoch.alpha == 0.005
    assert epoch.first_gateway == 1
    assert epoch.ages["errors"].m == 2_000
    assert epoch.ages["errors"].l == 2_000
    assert abs(epoch.thresholds_ms["p90"] - 90) < 2
    assert epoch.margin == {"errors": 0.0, "latency": 0.2}


def test_quantiles_join_when_enough_was_measured(world: World) -> None:
    world.deploy("1.1.0", judge={"worse": {"latency": "20%"}})
    world.run(3 * SECOND)
    assert world.route().epoch is not None
    assert world.route().epoch.thresholds_ms == {}  # type: ignore[union-attr]  # said above
    world.measure("1.0.0", ok=100, latency=tuple(float(v) for v in range(1, 101)))
    world.run(2 * MINUTE)

    epoch = world.route().epoch
    assert epoch is not None
    assert sorted(epoch.thresholds_ms) == ["p50"]
    assert world.shares() == {"1.0.0": 9_000, "1.1.0": 1_000}


# ── what a route keeps, and who may change it meanwhile ──────────────────────────────────────


def test_route_keeps_what_no_plan_speaks_of(world: World) -> None:
    world.by_hand(stick_to="user", fallback="1.2.0")
    world.deploy("1.1.0", DIRECT)
    world.tick()
    assert (world.route().stick_to, world.route().fallback) == ("user", "1.2.0")
    world.run(3 * MINUTE)
    assert (world.route().stick_to, world.route().fallback) == ("user", "1.2.0")


def test_plan_may_choose_another_unit(world: World) -> None:
    world.deploy("1.1.0", DIRECT, stick_to="header:X-Team")
    world.tick()
    assert world.route().stick_to == "header:X-Team"


def test_kill_switch_ends_a_deployment_and_stays_off(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    world.by_hand(enabled=False)
    world.run(3 * SECOND)

    row = world.row(deployment)
    assert row.state is State.ROLLED_BACK
    assert row.because == "the route was switched off; every gateway has switched off"
    assert world.route().enabled is False
    assert world.shares() == {"1.0.0": 10_000}


ADULTS: Mapping[str, Json] = {"age": {"$gte": 18}}


def test_route_that_a_deployment_would_move_blindly_is_refused_and_told_what_to_do(
    world: World,
) -> None:
    rule = world.route().rules[-1]
    other = replace(rule.arms[0], key="other", version="1.2.0")
    halves = Rule((*rule.arms, other), (Segment("stable", 5_000), Segment("other", 5_000)))
    for rules, default, has in (
        ((replace(rule, when=ADULTS), rule), None, "2 rules"),
        ((replace(rule, when=ADULTS),), "stable", "a rule with a condition"),
        ((halves,), None, "2 arms that serve"),
    ):
        world.by_hand(rules=rules, default=default)
        with pytest.raises(Refused) as refused:
            world.deploy("1.1.0")
        assert f"digits/production has {has}," in str(refused.value)
        assert "PUT /api/v1/routes/digits/production" in str(refused.value)
        assert "put one rule there without a condition, with one arm" in str(refused.value)


def test_archived_model_is_not_deployed(world: World) -> None:
    with world.begin() as work:
        model = work.models.get(MODEL)
        work.models.save(replace(model, archived=True))
        work.commit()
    with pytest.raises(Refused, match="the model 'digits' is archived"):
        world.deploy("1.1.0")


def test_each_check_step_is_asked_for_itself(world: World) -> None:
    steps: Json = [{"check": ["smoke"]}, {"check": ["loads", "smoke"]}, {"send": "100%"}]
    world.deploy("1.1.0", {**CHECKED, "steps": steps})
    world.tick()
    assert len(world.courier()) == 1
    world.later(SECOND)
    world.tick()
    assert world.shares() == {"1.0.0": 10_000}
    assert len(world.courier()) == 2


def test_check_that_passed_in_one_step_has_not_passed_in_the_next(world: World) -> None:
    steps: Json = [{"check": ["loads", "smoke"]}, {"check": ["loads"]}, {"send": "100%"}]
    world.deploy("1.1.0", {**CHECKED, "steps": steps})
    world.tick()
    with world.begin() as work:
        for message in work.outbox.claim_messages(owner="c", lease=1_000, limit=9):
            work.outbox.answer(message.key, {"ok": "loads" in message.key}, owner="c")
        work.commit()
    world.later(2 * SECOND)
    world.tick()  # smoke is asked again, loads has passed
    world.courier()
    world.later(SECOND)
    world.tick()  # into the second step
    world.later(SECOND)
    world.tick()
    assert world.shares() == {"1.0.0": 10_000}
    assert [message.key.split(":")[2:4] for message in world.courier()] == [["2", "loads"]]


def test_requests_of_the_steps_before_do_not_count_for_this_one(world: World) -> None:
    steps: Json = [
        {"send": "10%", "at_least": "500 requests"},
        {"send": "50%", "at_least": "500 requests"},
        {"send": "100%"},
    ]
    deployment = world.deploy("1.1.0", {**QUICK, "steps": steps})
    world.run(3 * SECOND)
    world.traffic(deployment, candidate=(500, 0), stable=(4_500, 0))
    world.run(10 * SECOND)
    assert world.shares() == {"1.0.0": 5_000, "1.1.0": 5_000}
    world.traffic(deployment, candidate=(499, 0), stable=(499, 0))
    world.run(10 * SECOND)
    assert world.shares() == {"1.0.0": 5_000, "1.1.0": 5_000}


def test_limit_begins_anew_every_minute_so_that_clean_hours_do_not_drown_failures(
    world: World,
) -> None:
    steps: Json = [{"send": "10%", "for": "1h"}, {"send": "100%"}]
    deployment = world.deploy("1.1.0", steps=steps, judge={"worse": {}})
    world.run(3 * SECOND)
    world.traffic(deployment, candidate=(3_000, 0), stable=(27_000, 0))
    world.run(2 * MINUTE)
    world.traffic(deployment, candidate=(60, 60), stable=(540, 0))
    world.run(10 * SECOND)

    assert "the limit was hit: errors above 50%" in world.row(deployment).because


def test_limit_acts_alone_where_the_old_version_has_no_traffic(world: World) -> None:
    deployment = world.deploy("1.1.0", DIRECT)
    world.run(3 * SECOND)
    world.traffic(deployment, candidate=(60, 58))
    world.run(10 * SECOND)
    assert "the limit was hit: errors above 50%" in world.row(deployment).because
    assert world.shares() == {"1.0.0": 10_000}


def test_evidence_that_is_settled_is_folded_and_counts_as_before(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    for _ in range(6):
        world.traffic(deployment, candidate=(10, 1), stable=(90, 9))
        world.run(5 * SECOND)
    world.run(2 * MINUTE)
    with world.begin() as work:
        counts = work.evidence.of(deployment.id)

    assert {count.due for count in counts} == {0}
    assert sum(count.n for count in counts if count.metric == "measured") == 600
    told = world.deployments.status(deployment.id)["evidence"]
    assert isinstance(told, list)
    assert isinstance(told[0], dict)
    assert (told[0]["candidate"], told[0]["stable"]) == ("6 of 60", "54 of 540")


def test_ending_says_when(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    assert world.row(deployment).finished_at is None
    world.deployments.intend(deployment.id, Verb.ABORT, actor=ADA)
    world.run(5 * SECOND)
    finished = world.row(deployment).finished_at
    assert finished is not None
    assert 0 < world.now - finished <= 5 * SECOND


def test_what_goes_wrong_with_one_deployment_keeps_no_other_from_moving(world: World) -> None:
    broken = world.deploy("1.1.0", environment="staging", strategy="direct")
    with world.begin() as work:
        row = work.deployments.get(broken.id)
        work.deployments.update(replace(row, version="8.8.8"))  # is not there
        work.commit()
    other = world.deploy("1.1.0")
    with pytest.raises(NotFound):
        world.tick()

    assert world.row(other).entered == 1


# ── more units than are remembered ───────────────────────────────────────────────────────────


def test_frozen_evidence_is_told_once_and_stays_to_be_seen(world: World) -> None:
    world.store.unit_cap = 100
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    world.units(deployment, 0, 80)
    world.run(10 * SECOND)
    assert world.deployments.status(deployment.id)["frozen"] is None
    world.units(deployment, 80, 200)
    world.run(10 * SECOND)

    status = world.deployments.status(deployment.id)
    assert str(status["frozen"]).startswith("the evidence is frozen: more than 2,000,000")
    assert "the evidence is frozen" in str(status["next"])
    assert "more requests" not in str(status["next"])
    told = [line["why"] for line in world.deployments.why(deployment.id)]
    assert [line for line in told if str(line).startswith("the evidence is frozen")] == [
        status["frozen"]
    ]
    assert replay(world.history(deployment)) == world.row(deployment).remembered()


def test_step_that_waits_for_frozen_evidence_holds_and_says_why(world: World) -> None:
    world.store.unit_cap = 100
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    world.units(deployment, 0, 200)
    world.run(3 * MINUTE)

    row = world.row(deployment)
    assert row.state is State.RUNNING
    assert "the evidence is frozen" in str(row.held_because)
    assert world.shares() == {"1.0.0": 9_000, "1.1.0": 1_000}
