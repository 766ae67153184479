"""What every work promises of the history and of messages, asked of each of them."""

from dataclasses import replace

import pytest
from tests.conftest import Begin, Work
from tests.persistence.examples import NOON, ask, claim, deployment, do, event, message

from headway.kernel.clock import HOUR, MINUTE
from headway.kernel.errors import Conflict
from headway.outbox.message import Message


def leave(begin: Begin, *messages: Message) -> None:
    do(begin, lambda work: work.outbox.add(event(), *messages))


def claimed(begin: Begin, owner: str, *, lease: int = MINUTE, limit: int = 9) -> list[Message]:
    found = do(
        begin, lambda work: work.outbox.claim_messages(owner=owner, lease=lease, limit=limit)
    )
    return list(found)


def test_events_are_numbered_in_the_order_in_which_they_were_written(begin: Begin) -> None:
    def write(work: Work) -> None:
        work.outbox.add(event(why="1", detail={"n": (1,)}, deployment="dep_1", model="Digits"))
        work.outbox.add(event(why="2", subject="route:x"))
        work.outbox.add(event(why="3", deployment="dep_1", environment="production"))

    do(begin, write)
    with begin() as work:
        first, second, third = work.outbox.history()
        assert first == event(
            why="1", detail={"n": [1]}, deployment="dep_1", model="Digits", seq=first.seq
        )
        assert first.seq < second.seq < third.seq
        assert [e.why for e in work.outbox.history(deployment="dep_1")] == ["1", "3"]
        assert [e.why for e in work.outbox.history(subject="route:x")] == ["2"]
        assert [e.why for e in work.outbox.history(after=first.seq, limit=1)] == ["2"]
        assert [e.why for e in work.outbox.latest(limit=2)] == ["3", "2"]
        assert [e.why for e in work.outbox.latest(before=third.seq)] == ["2", "1"]
        assert [e.why for e in work.outbox.latest(model="digits")] == ["1"]


def test_a_transaction_reads_the_history_that_it_writes(begin: Begin) -> None:
    with begin() as work:
        work.outbox.add(event(why="1"))
        assert [e.why for e in work.outbox.history()] == ["1"]
        work.outbox.add(event(why="2"))
        work.commit()
    assert [e.why for e in ask(begin, lambda work: work.outbox.history())] == ["1", "2"]


def test_a_message_whose_key_is_there_is_left_as_it_is(begin: Begin) -> None:
    leave(begin, message(deployment="dep_1"))
    leave(begin, replace(message(deployment="dep_1"), payload="other"), message("m2"))
    (kept,) = ask(begin, lambda work: work.outbox.messages_of("dep_1"))
    assert kept == message(deployment="dep_1")


def test_a_message_is_leased_to_one_at_a_time(begin: Begin) -> None:
    leave(begin, message("m1"), message("m2"), message("m3"))
    first = claimed(begin, "a", limit=2)
    assert [(one.key, one.lease_owner, one.attempts) for one in first] == [
        ("m1", "a", 1),
        ("m2", "a", 1),
    ]
    assert [one.key for one in claimed(begin, "b")] == ["m3"]
    assert claimed(begin, "b") == []


def test_a_message_whose_lease_ended_is_leased_again(begin: Begin) -> None:
    leave(begin, message())
    claimed(begin, "a", lease=0)
    (again,) = claimed(begin, "b", lease=HOUR)
    assert again.attempts == 2
    with pytest.raises(Conflict):
        do(begin, lambda work: work.outbox.answer("m1", {}, owner="a"))
    assert len(claimed(begin, "c", lease=MINUTE)) == 1  # an hour is more than twice a minute


def test_an_answer_is_stored_once_and_wakes_the_deployment(begin: Begin) -> None:
    do(begin, lambda work: work.deployments.add(deployment()))
    (held,) = claim(begin, "r")
    do(begin, lambda work: work.deployments.save(held, wake_in=HOUR))
    leave(begin, message(deployment="dep_1"))
    claimed(begin, "a")
    do(begin, lambda work: work.outbox.answer("m1", {"ok": (True,)}, owner="a"))

    (answered,) = ask(begin, lambda work: work.outbox.messages_of("dep_1"))
    assert answered.answer == {"ok": [True]}
    assert answered.answered_at is not None
    assert answered.lease_owner == ""
    assert claimed(begin, "a") == []
    assert claim(begin, "r")
    with pytest.raises(Conflict):
        do(begin, lambda work: work.outbox.answer("m1", {}, owner="a"))


def test_a_message_that_failed_is_due_again_after_the_wait(begin: Begin) -> None:
    leave(begin, message("m1"), message("m2"))
    claimed(begin, "a")
    do(begin, lambda work: work.outbox.try_again("m1", owner="a", after=0, why="refused"))
    do(begin, lambda work: work.outbox.try_again("m2", owner="a", after=HOUR, why="refused"))
    assert [(one.key, one.attempts) for one in claimed(begin, "b")] == [("m1", 2)]


def test_who_lost_a_message_cannot_give_it_back(begin: Begin) -> None:
    leave(begin, message())
    claimed(begin, "a", lease=0)
    claimed(begin, "b")
    do(begin, lambda work: work.outbox.try_again("m1", owner="a", after=0, why="late"))
    assert claimed(begin, "c") == []


def test_a_message_that_is_given_up_wakes_the_deployment_and_is_dead(begin: Begin) -> None:
    do(begin, lambda work: work.deployments.add(deployment()))
    (held,) = claim(begin, "r")
    do(begin, lambda work: work.deployments.save(held, wake_in=HOUR))
    leave(begin, message(deployment="dep_1"))
    claimed(begin, "a")
    do(
        begin,
        lambda work: work.outbox.try_again("m1", owner="a", after=0, why="no", give_up=True),
    )
    (dead,) = ask(begin, lambda work: work.outbox.messages_of("dep_1"))
    assert (dead.dead, dead.answer, dead.created_at) == (True, None, NOON)
    assert claimed(begin, "a") == []
    assert claim(begin, "r")


def test_a_courier_takes_one_kind_and_keeps_what_it_holds(begin: Begin) -> None:
    leave(begin, message("hook"), replace(message("probe"), kind="probe"))

    def take(owner: str, kind: str | None = None) -> list[str]:
        found = do(
            begin,
            lambda work: work.outbox.claim_messages(owner=owner, lease=0, limit=9, kind=kind),
        )
        return [one.key for one in found]

    assert take("a", "probe") == ["probe"]
    do(begin, lambda work: work.outbox.keep_messages(["probe", "hook"], owner="a", lease=MINUTE))
    found = do(begin, lambda work: work.outbox.claim_messages(owner="b", lease=MINUTE, limit=9))
    assert [one.key for one in found] == ["hook"]
    do(begin, lambda work: work.outbox.answer("probe", {"ok": True}, owner="a"))
