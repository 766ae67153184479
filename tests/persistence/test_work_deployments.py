"""What every work promises of deployments, asked of each of them."""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from tests.conftest import Begin, Work
from tests.persistence.examples import (
    NOON,
    ask,
    batch,
    claim,
    deployment,
    do,
    event,
    flush,
    message,
    route,
    snapshot,
    start,
)

from headway.deployments.deployment import ACTIVE, MOVES, Deployment, State
from headway.deployments.intent import Intent, Verb
from headway.deployments.rollback import Rollback, RollbackState
from headway.kernel.clock import HOUR, MINUTE
from headway.kernel.errors import Conflict, NotFound
from headway.persistence import tables
from headway.tracking.measurement import Veto

PAUSE = Intent(
    deployment="dep_1", verb=Verb.PAUSE, actor="ada", actor_kind="person", why="why", at=NOON
)
ROLLBACK = Rollback(
    id="rb_1",
    model="digits",
    environment="production",
    state=RollbackState.COMMITTED,
    from_revision=2,
    to_revision=1,
    published=3,
    generation=9,
    automatic=True,
    actor="headway",
    why="worse",
    created_at=NOON,
)


def add(begin: Begin, *them: Deployment) -> None:
    def all_of_them(work: Work) -> None:
        for one in them:
            work.deployments.add(one)

    do(begin, all_of_them)


def add_intent(intent: Intent, work: Work) -> None:
    work.intents.add(intent)


def test_a_deployment_comes_back_as_it_went(begin: Begin) -> None:
    whole = deployment(
        held_since=NOON,
        held_because="no data",
        started_at=NOON,
        before=4,
        facts={"ages": {"errors": [1, 2]}},
        progress={"shares": [[1, 2, 3]]},
    )
    add(begin, whole)
    assert ask(begin, lambda work: work.deployments.get("dep_1")) == whole


def test_what_was_not_committed_never_happened(begin: Begin) -> None:
    with begin() as work:
        work.deployments.add(deployment())
        work.outbox.add(event(), message())
        work.routes.add(route())

    with begin() as work:
        assert work.deployments.active("digits", "production") is None
        assert list(work.outbox.history()) == []
        assert work.routes.generation() == 0
        with pytest.raises(NotFound):
            work.deployments.get("dep_1")


def test_a_refused_change_takes_all_the_rest_with_it(begin: Begin) -> None:
    do(begin, lambda work: work.routes.add(route()))
    with suppress(Conflict), begin() as work:
        work.deployments.add(deployment())
        work.snapshots.add(snapshot("snap_1"))
        work.outbox.add(event(), message())
        work.routes.add(route())
        work.commit()

    with begin() as work:
        assert work.outbox.claim_messages(owner="a", lease=MINUTE, limit=9) == []
        assert list(work.outbox.history()) == []
        assert work.routes.generation() == 1
        with pytest.raises(NotFound):
            work.snapshots.get("snap_1")


@pytest.mark.parametrize("state", sorted(ACTIVE))
def test_a_second_active_deployment_is_refused_and_the_first_is_named(
    begin: Begin, state: State
) -> None:
    add(begin, deployment(state=state))
    with pytest.raises(Conflict, match="production is active") as refused:
        add(begin, deployment("dep_2", model="Digits"))
    assert refused.value.stands_in_the_way == "dep_1"


def test_a_deployment_that_waits_becomes_active_only_when_the_route_is_free(begin: Begin) -> None:
    add(begin, deployment(), deployment("dep_2", state=State.QUEUED))
    held = {one.id: one for one in claim(begin, "a")}
    started = replace(held["dep_2"], state=State.RUNNING)
    with pytest.raises(Conflict) as refused:
        do(begin, lambda work: work.deployments.save(started, wake_in=0))
    assert refused.value.stands_in_the_way == "dep_1"

    def hand_over(work: Work) -> None:
        work.deployments.save(replace(held["dep_1"], state=State.SUCCEEDED), wake_in=0)
        work.deployments.save(started, wake_in=0)

    do(begin, hand_over)
    assert ask(begin, lambda work: work.deployments.active("digits", "production")).id == "dep_2"


def test_the_same_id_twice_is_refused(begin: Begin) -> None:
    add(begin, deployment(state=State.QUEUED))
    with pytest.raises(Conflict, match="dep_1 already"):
        add(begin, deployment(state=State.QUEUED))


@pytest.mark.parametrize("state", sorted(state for state in State if not MOVES[state]))
def test_a_finished_deployment_makes_room_and_is_never_claimed(begin: Begin, state: State) -> None:
    add(begin, deployment(state=state), deployment("dep_2"))
    assert [one.id for one in claim(begin, "a")] == ["dep_2"]


def test_what_one_holds_no_other_can_claim_until_it_is_given_back(begin: Begin) -> None:
    add(begin, deployment())
    (held,) = claim(begin, "a")
    assert (held.lease_owner, held.fence) == ("a", 1)
    assert not claim(begin, "b")

    saved = do(begin, lambda work: work.deployments.save(held, wake_in=0))
    assert (saved.revision, saved.lease_owner) == (1, "")
    assert [one.fence for one in claim(begin, "b")] == [2]


def test_frozen_past_the_lease_means_too_late_even_under_the_same_name(begin: Begin) -> None:
    add(begin, deployment())
    (frozen,) = claim(begin, "a", lease=0)
    (awake,) = claim(begin, "a")
    with pytest.raises(Conflict):
        do(begin, lambda work: work.deployments.save(frozen, wake_in=0))
    do(begin, lambda work: work.deployments.save(awake, wake_in=0))


def test_a_lease_far_ahead_counts_as_expired_since_the_clock_went_back(begin: Begin) -> None:
    add(begin, deployment())
    assert claim(begin, "a", lease=HOUR)
    assert claim(begin, "b", lease=MINUTE)


def test_nobody_saves_what_he_did_not_claim_or_as_another_revision(begin: Begin) -> None:
    add(begin, deployment())
    with pytest.raises(Conflict):
        do(begin, lambda work: work.deployments.save(deployment(), wake_in=0))
    (held,) = claim(begin, "a")
    with pytest.raises(Conflict):
        do(begin, lambda work: work.deployments.save(replace(held, revision=1), wake_in=0))


def test_who_gives_back_is_due_again_only_after_the_wait(begin: Begin) -> None:
    add(begin, deployment(), deployment("dep_2", state=State.QUEUED))
    first, second = claim(begin, "a")
    do(begin, lambda work: work.deployments.save(first, wake_in=HOUR))
    do(begin, lambda work: work.deployments.release(second, wake_in=HOUR))
    assert not claim(begin, "b")
    assert ask(begin, lambda work: work.deployments.get("dep_2")).revision == 0


def test_who_lost_the_lease_gives_nothing_back(begin: Begin) -> None:
    add(begin, deployment())
    (frozen,) = claim(begin, "a", lease=0)
    (awake,) = claim(begin, "a")
    do(begin, lambda work: work.deployments.release(frozen, wake_in=0))
    assert not claim(begin, "b")
    do(begin, lambda work: work.deployments.release(awake, wake_in=0))
    assert claim(begin, "b")


def test_an_intent_wakes_what_sleeps_and_waits_until_it_is_settled(begin: Begin) -> None:
    add(begin, deployment())
    (held,) = claim(begin, "a")
    do(begin, lambda work: work.deployments.save(held, wake_in=HOUR))
    do(begin, lambda work: work.intents.add(replace(PAUSE, detail={"to": ("end",)})))
    assert claim(begin, "a")

    (waiting,) = ask(begin, lambda work: work.intents.waiting("dep_1"))
    assert waiting == replace(PAUSE, id=waiting.id, detail={"to": ["end"]})
    do(begin, lambda work: work.intents.settle([waiting]))
    assert ask(begin, lambda work: work.intents.waiting("dep_1")) == []


def test_an_intent_that_comes_while_it_is_held_is_not_slept_over(begin: Begin) -> None:
    add(begin, deployment())
    (held,) = claim(begin, "a")
    do(begin, lambda work: work.intents.add(PAUSE))
    do(begin, lambda work: work.deployments.save(held, wake_in=HOUR))
    assert claim(begin, "a")


def test_an_intent_for_nothing_is_refused(begin: Begin) -> None:
    with pytest.raises(NotFound):
        do(begin, lambda work: work.intents.add(PAUSE))


def test_intents_come_in_the_order_in_which_they_were_asked(begin: Begin) -> None:
    add(begin, deployment())
    for intent in (replace(PAUSE, why=why) for why in ("1", "2", "3")):
        do(begin, partial(add_intent, intent))
    waiting = ask(begin, lambda work: work.intents.waiting("dep_1"))
    assert [intent.why for intent in waiting] == ["1", "2", "3"]


def test_a_change_without_a_claim_makes_it_due_and_the_holder_too_late(begin: Begin) -> None:
    add(begin, deployment())
    (held,) = claim(begin, "a")
    changed = do(
        begin, lambda work: work.deployments.update(replace(deployment(), because="by hand"))
    )
    assert (changed.revision, changed.fence) == (1, 1)
    with pytest.raises(Conflict):
        do(begin, lambda work: work.deployments.save(held, wake_in=HOUR))
    do(begin, lambda work: work.deployments.release(held, wake_in=HOUR))
    assert [one.because for one in claim(begin, "b")] == ["by hand"]


def test_a_change_without_a_claim_needs_the_present_revision(begin: Begin) -> None:
    add(begin, deployment())
    with pytest.raises(Conflict):
        do(begin, lambda work: work.deployments.update(deployment(revision=1)))
    with pytest.raises(NotFound):
        do(begin, lambda work: work.deployments.update(deployment("dep_2", state=State.QUEUED)))


def test_a_veto_wakes_its_deployment(begin: Begin) -> None:
    add(begin, deployment())
    (held,) = claim(begin, "a")
    do(begin, lambda work: work.deployments.save(held, wake_in=HOUR))
    start(begin)
    veto = Veto(
        deployment="dep_1", epoch=3, arm="candidate", metric="errors", at=NOON, detail={"n": 9}
    )
    flush(begin, batch(vetoes=(veto,)))
    assert claim(begin, "a")
    assert ask(begin, lambda work: work.vetoes.of("dep_1")) == [veto]


def test_deployments_are_listed_newest_first(begin: Begin) -> None:
    queued = [deployment(f"dep_{i}", state=State.QUEUED) for i in (2, 3, 1)]
    add(begin, *queued, deployment("dep_4", model="other"))
    with begin() as work:

        def listed(**more: Any) -> list[str]:  # noqa: ANN401 - any of the filters
            usual = {"model": None, "environment": None, "states": (), "before": None, "limit": 9}
            return [d.id for d in work.deployments.list(**{**usual, **more})]

        assert listed() == ["dep_4", "dep_3", "dep_2", "dep_1"]
        assert listed(model="Digits", before="dep_3") == ["dep_2", "dep_1"]
        assert listed(model="digits", environment="production", limit=1) == ["dep_3"]
        assert listed(environment="staging") == []
        assert listed(states=[State.RUNNING]) == ["dep_4"]


def test_a_rollback_has_a_history_of_its_own(begin: Begin) -> None:
    do(begin, lambda work: work.rollbacks.add(ROLLBACK))
    do(begin, lambda work: work.rollbacks.add(replace(ROLLBACK, id="rb_2")))
    saved = do(
        begin,
        lambda work: work.rollbacks.save(
            replace(ROLLBACK, state=RollbackState.FINISHED, finished_at=NOON)
        ),
    )
    with begin() as work:
        assert work.rollbacks.get("rb_1") == saved
        assert [one.id for one in work.rollbacks.due()] == ["rb_2"]
        found = work.rollbacks.list(model="digits", environment=None, before="rb_2", limit=9)
        assert list(found) == [saved]
    with pytest.raises(Conflict):
        do(begin, lambda work: work.rollbacks.save(ROLLBACK))
    with pytest.raises(NotFound):
        ask(begin, lambda work: work.rollbacks.get("rb_9"))


def test_a_rollback_is_due_when_its_time_has_come_or_an_answer_has(begin: Begin) -> None:
    do(begin, lambda work: work.rollbacks.add(ROLLBACK))
    do(begin, lambda work: work.rollbacks.add(replace(ROLLBACK, id="rb_2", deployment="dep_1")))
    do(begin, lambda work: work.outbox.add(event(), message("probe 1", deployment="rb_1")))

    def due() -> list[str]:
        return [one.id for one in ask(begin, lambda work: work.rollbacks.due())]

    assert due() == ["rb_1"]
    looked = do(begin, lambda work: work.rollbacks.save(ROLLBACK, wake_in=HOUR))
    assert due() == []
    do(begin, lambda work: work.outbox.claim_messages(owner="me", lease=HOUR, limit=1))
    do(begin, lambda work: work.outbox.answer("probe 1", {"ok": True}, owner="me"))
    assert due() == ["rb_1"]
    with pytest.raises(Conflict):  # a look that began before the answer puts nothing off
        do(begin, lambda work: work.rollbacks.save(looked, wake_in=HOUR))
    assert due() == ["rb_1"]


def test_the_tables_know_the_states_as_the_domain_does() -> None:
    assert set(tables.ACTIVE) == set(ACTIVE)
    assert set(tables.FINISHED) == {state for state in State if not MOVES[state]}
