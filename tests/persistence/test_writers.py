"""Several writers at the same time: who is second gets `Conflict`, and nothing is done by halves.

Two works of one thread take turns here, as two processes might; a database may refuse the second
one when it begins to write, in the middle, or at its commit. Then threads do it in earnest.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
from tests.conftest import Begin, Work
from tests.persistence.examples import (
    NOON,
    artifact,
    ask,
    batch,
    claim,
    deployment,
    do,
    event,
    evidence,
    first,
    flush,
    key,
    local,
    measurement,
    message,
    model,
    route,
    start,
    version,
)

from headway.auth.session import Session
from headway.deployments.deployment import Deployment, State
from headway.deployments.intent import Intent, Verb
from headway.kernel.errors import Conflict, Contended, NotFound
from headway.outbox.answer import Answer, Scope
from headway.outbox.event import Event
from headway.persistence import work as sql
from headway.persistence.engine import Database
from headway.registry.model import Alias

SCOPE = Scope(key_id="k1", method="POST", path="/models", key="abc")
ANSWER = Answer(scope=SCOPE, digest="d", status=201, headers={}, body=b"", created_at=NOON)


def prepare(work: Work) -> None:
    work.models.add(model())
    work.versions.add(version())
    work.aliases.save(Alias("digits", "champion", version().number, NOON, "ada"))
    work.keys.add(key())
    work.routes.add(route())


def save_model(work: Work) -> None:
    work.models.save(replace(work.models.get("digits"), description="changed"))


def save_version(work: Work) -> None:
    found = work.versions.get("digits", version().number)
    work.versions.save(replace(found, description="changed"))


def save_alias(work: Work) -> None:
    found = work.aliases.find("digits", "champion")
    assert found is not None
    work.aliases.save(replace(found, why="changed"))


def save_key(work: Work) -> None:
    work.keys.save(replace(work.keys.get("k1"), revoked_at=NOON))


def add_revision(work: Work) -> None:
    current = work.routes.current("digits", "production")
    work.routes.add(replace(current, revision=current.revision + 1))


CHANGES: list[Callable[[Work], object]] = [
    save_model,
    save_version,
    save_alias,
    save_key,
    add_revision,
]
CREATES: list[Callable[[Work], object]] = [
    lambda work: work.models.add(model("new")),
    lambda work: work.versions.add(version("2.0.0")),
    lambda work: work.aliases.save(Alias("digits", "new", None, NOON, "ada")),
    lambda work: work.keys.add(key("k2")),
    lambda work: work.routes.add(route(environment="staging")),
    lambda work: work.deployments.add(deployment()),
    lambda work: work.idempotency.put(ANSWER),
]


@pytest.mark.parametrize("change", [*CHANGES, *CREATES])
def test_of_two_works_open_together_only_one_commits(
    begin: Begin, change: Callable[[Work], object]
) -> None:
    do(begin, prepare)
    with pytest.raises(Conflict), begin() as one, begin() as two:
        change(one)
        change(two)
        one.commit()
        two.commit()


@pytest.mark.parametrize("change", CREATES)
def test_what_was_made_meanwhile_is_not_made_again(
    begin: Begin, change: Callable[[Work], object]
) -> None:
    do(begin, prepare)
    with pytest.raises(Conflict), begin() as fast, begin() as slow:
        change(fast)
        fast.commit()
        change(slow)
        slow.commit()


def test_who_read_before_the_faster_one_wrote_is_refused(begin: Begin) -> None:
    do(begin, lambda work: work.deployments.add(deployment()))
    (held,) = claim(begin, "a")
    with pytest.raises(Conflict), begin() as fast, begin() as slow:
        fast.deployments.save(held, wake_in=0)
        fast.commit()
        slow.deployments.save(held, wake_in=0)
        slow.commit()


def test_the_loser_leaves_nothing_behind(begin: Begin) -> None:
    do(begin, prepare)
    with suppress(Conflict), begin() as fast, begin() as slow:
        add_revision(fast)
        fast.commit()
        slow.outbox.add(event(), message(deployment="dep_1"))
        slow.deployments.add(deployment())
        slow.routes.add(route(2))
        slow.commit()
    with begin() as work:
        assert work.deployments.active("digits", "production") is None
        assert list(work.outbox.history()) == []
        assert list(work.outbox.messages_of("dep_1")) == []
        assert work.routes.current("digits", "production").revision == 2


def test_an_artifact_is_not_removed_under_a_version_that_comes(begin: Begin) -> None:
    def fill(work: Work) -> None:
        work.models.add(model())
        work.artifacts.add(artifact())

    do(begin, fill)
    with pytest.raises(Conflict), begin() as comes, begin() as removes:
        comes.versions.add(version(target=local()))
        removes.artifacts.remove(artifact().digest)
        comes.commit()
        removes.commit()


def test_a_work_that_failed_cannot_be_committed(database: Database) -> None:
    begin = partial(sql.begin, database)
    nobody = Session(digest="d", key_id="nobody", created_at=NOON, seen_at=NOON)
    with begin() as work:
        work.models.add(model())
        with pytest.raises(Conflict):
            work.sessions.add(nobody)
        with pytest.raises(Conflict):
            work.models.get("digits")
        with pytest.raises(Conflict):
            work.commit()
    with pytest.raises(NotFound):
        ask(begin, lambda work: work.models.get("digits"))


def patiently(database: Database, unit: Callable[[sql.SqlWork], object]) -> object:
    """Do a unit of work and commit it; anew for as long as another writer is faster."""
    while True:
        with suppress(Contended):
            with sql.begin(database) as work:
                result = unit(work)
                work.commit()
            return result


def test_of_fifty_deployments_at_once_exactly_one_is_active(database: Database) -> None:
    def attempt(number: int) -> str | None:
        def add(work: sql.SqlWork) -> None:
            work.deployments.add(deployment(f"dep_{number}"))
            work.outbox.add(event())

        try:
            patiently(database, add)
        except Conflict as refused:
            return refused.stands_in_the_way
        return f"dep_{number}"

    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(attempt, range(50)))
    (active,) = ask(
        partial(sql.begin, database), lambda work: work.deployments.claim(owner="a", lease=9)
    )
    assert set(done) == {active.id}  # each of the others was told who is in its way
    assert len(ask(partial(sql.begin, database), lambda work: work.outbox.history())) == 1


def test_revisions_of_a_route_have_no_gap_and_no_twin(database: Database) -> None:
    begin = partial(sql.begin, database)
    do(begin, lambda work: work.routes.add(route()))

    def publish(_: int) -> None:
        while True:
            with suppress(Conflict):
                patiently(database, add_revision)
                return

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(publish, range(20)))
    with begin() as work:
        listed = work.routes.revisions("digits", "production", before=99, limit=99)
        assert [one.revision for one in listed] == list(range(21, 0, -1))
        assert work.routes.generation() == 21


def test_gateways_that_see_the_same_units_at_once_count_them_once(database: Database) -> None:
    begin = partial(sql.begin, database)
    gateways = [f"b{i}" for i in range(4)]
    for boot in gateways:
        start(begin, boot)

    def hand_over(boot: str) -> None:
        for seq in range(1, 6):
            units = range(seq * 20)
            given = batch(
                seq,
                boot=boot,
                measurements=(measurement(),),
                counts={"dep_1": (evidence(metric="measured", bin=0),)},
                firsts={"dep_1": tuple(first(unit) for unit in units)},
            )
            patiently(database, lambda work, given=given: work.gateways.flush(given))  # type: ignore[misc]  # a default binds it

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(hand_over, gateways))
    with begin() as work:
        counts = {one.metric: one.n for one in work.evidence.of("dep_1")}
        assert counts == {"errors": 100, "measured": 20}
        assert work.measurements.totals()[0][3] == {"ok": 40}


def test_who_follows_the_history_by_number_misses_nothing(database: Database) -> None:
    begin = partial(sql.begin, database)
    seen: list[str] = []

    def write(writer: int) -> None:
        for number in range(15):

            def add(work: sql.SqlWork, why: str = f"{writer}:{number}") -> None:
                work.outbox.add(event(why=why))
                work.outbox.add(event(why=f"{why}+"))

            patiently(database, add)

    def follow(after: int = 0) -> int:
        for one in ask(partial(sql.begin, database, read_only=True), _history(after)):
            seen.append(one.why)
            after = one.seq
        return after

    with ThreadPoolExecutor(4) as threads:
        writers = [threads.submit(write, writer) for writer in range(4)]
        after = 0
        while not all(one.done() for one in writers):
            after = follow(after)
        follow(after)
        for one in writers:
            one.result()
    assert Counter(seen) == Counter(
        f"{writer}:{number}{end}"
        for writer in range(4)
        for number in range(15)
        for end in ("", "+")
    )
    assert ask(begin, lambda work: work.outbox.latest(limit=1))[0].why == seen[-1]


def _history(after: int) -> Callable[[Work], Sequence[Event]]:
    return lambda work: work.outbox.history(after=after, limit=1_000)


def test_claims_made_at_once_give_each_deployment_to_one_owner(database: Database) -> None:
    begin = partial(sql.begin, database)
    for number in range(20):
        one = deployment(f"dep_{number:02}", environment=f"e{number}")
        do(begin, lambda work, one=one: work.deployments.add(one))  # type: ignore[misc]  # a default binds it

    def take(owner: int) -> list[str]:
        held = patiently(
            database, lambda work: work.deployments.claim(owner=f"o{owner}", lease=60_000)
        )
        return [one.id for one in held]  # type: ignore[attr-defined]  # deployments

    with ThreadPoolExecutor(4) as threads:
        claimed = [one for taken in threads.map(take, range(4)) for one in taken]
    assert sorted(claimed) == [f"dep_{number:02}" for number in range(20)]


def test_an_intent_that_races_with_its_deployment_is_never_slept_over(database: Database) -> None:
    begin = partial(sql.begin, database)
    do(begin, lambda work: work.deployments.add(deployment()))
    asked = Intent(
        deployment="dep_1", verb=Verb.ABORT, actor="a", actor_kind="person", why="", at=NOON
    )
    for _ in range(10):
        (held,) = claim(begin, "a")

        def give_back(work: sql.SqlWork, held: Deployment = held) -> None:
            work.deployments.save(held, wake_in=60_000)

        with ThreadPoolExecutor(2) as threads:
            units = [lambda work: work.intents.add(asked), give_back]
            list(threads.map(partial(patiently, database), units))
    assert claim(begin, "a")[0].state is State.RUNNING


def test_a_flush_waits_for_nobody_who_reads(sqlite_database: Database) -> None:
    begin = partial(sql.begin, sqlite_database)
    start(begin)
    with sql.begin(sqlite_database, read_only=True) as reader:
        before = reader.gateways.living(within=60_000)
        assert flush(begin, batch())
        assert reader.gateways.living(within=60_000) == before
