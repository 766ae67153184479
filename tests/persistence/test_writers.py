"""Several writers at the same time: who is second gets `Conflict`, and nothing is done by halves.

Two works of one thread take turns here, as two processes might; a database may refuse the second
one when it begins to write, in the middle, or at its commit. Then threads do it in earnest.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
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
    snapshot,
    start,
    version,
)

from headway.auth.session import Session
from headway.deployments.deployment import Deployment, State
from headway.deployments.intent import Intent, Verb
from headway.deployments.rollback import Rollback, RollbackState
from headway.kernel.clock import MINUTE
from headway.kernel.errors import Conflict, Contended, NotFound
from headway.outbox.answer import Answer, Scope
from headway.outbox.event import Event
from headway.persistence import work as sql
from headway.persistence.engine import Database
from headway.registry.model import Alias
from headway.tracking.measurement import Score

SCORE = Score(
    request_id="req_1",
    name="correct",
    value=1.0,
    at=NOON,
    age=500,
    model="digits",
    environment="production",
    version="1.0.0",
)
SCOPE = Scope(key_id="k1", method="POST", path="/models", key="abc")
ROLLBACK = Rollback(
    id="rb_0",
    model="digits",
    environment="production",
    state=RollbackState.COMMITTED,
    from_revision=2,
    to_revision=1,
    published=3,
    generation=7,
    automatic=False,
    actor="ada",
    why="why",
    created_at=NOON,
)
ANSWER = Answer(scope=SCOPE, digest="d", status=201, headers={}, body=b"", created_at=NOON)


def prepare(work: Work) -> None:
    work.models.add(model())
    work.versions.add(version())
    work.aliases.save(Alias("digits", "champion", version().number, NOON, "ada"))
    work.keys.add(key())
    work.routes.add(route())


def prepare_all(work: Work) -> None:
    prepare(work)
    work.deployments.add(deployment("dep_0"))
    work.rollbacks.add(ROLLBACK)
    work.gateways.start(boot="b0", host="h", pid=7)
    work.gateways.flush(batch(boot="b0", measurements=(measurement(),)))
    work.outbox.add(event(), message("m0"))


@dataclass(frozen=True)
class Row:
    """One kind of row that is changed by who read its present revision."""

    read: Callable[[Work], Any]
    write: Callable[[Work, Any], object]

    def change(self, work: Work) -> None:
        self.write(work, self.read(work))


ROWS: dict[str, Row] = {
    "a model": Row(
        lambda work: work.models.get("digits"),
        lambda work, row: work.models.save(replace(row, description="changed")),
    ),
    "a version": Row(
        lambda work: work.versions.get("digits", version().number),
        lambda work, row: work.versions.save(replace(row, description="changed")),
    ),
    "an alias": Row(
        lambda work: work.aliases.find("digits", "champion"),
        lambda work, row: work.aliases.save(replace(row, why="changed")),
    ),
    "a key": Row(
        lambda work: work.keys.get("k1"),
        lambda work, row: work.keys.save(replace(row, revoked_at=NOON)),
    ),
    "a route": Row(
        lambda work: work.routes.current("digits", "production"),
        lambda work, row: work.routes.add(replace(row, revision=row.revision + 1)),
    ),
    "a deployment": Row(
        lambda work: work.deployments.get("dep_0"),
        lambda work, row: work.deployments.update(replace(row, because="changed")),
    ),
    "a rollback": Row(
        lambda work: work.rollbacks.get("rb_0"),
        lambda work, row: work.rollbacks.save(replace(row, finished_at=NOON)),
    ),
}
CREATES: dict[str, Callable[[Work], object]] = {
    "a model": lambda work: work.models.add(model("new")),
    "a version": lambda work: work.versions.add(version("2.0.0")),
    "an alias": lambda work: work.aliases.save(Alias("digits", "new", None, NOON, "ada")),
    "a key": lambda work: work.keys.add(key("k2")),
    "a route": lambda work: work.routes.add(route(environment="staging")),
    "a deployment": lambda work: work.deployments.add(deployment(environment="staging")),
    "a rollback": lambda work: work.rollbacks.add(replace(ROLLBACK, id="rb_1")),
    "a snapshot": lambda work: work.snapshots.add(snapshot("snap_1")),
    "a start of a gateway": lambda work: work.gateways.start(boot="b1", host="h", pid=7),
    "an answer": lambda work: work.idempotency.put(ANSWER),
}
CLAIMS: dict[str, tuple[Callable[[Work], object], object, object]] = {
    "the first value of a setting": (lambda work: work.settings.keep("s", "v"), "v", "v"),
    "an artifact": (lambda work: work.artifacts.add(artifact()), True, False),
    "a flush": (lambda work: work.gateways.flush(batch(2, boot="b0")), True, False),
    "a score": (lambda work: work.scores.add([SCORE]), [True], [False]),
    "a message": (
        lambda work: [
            one.key for one in work.outbox.claim_messages(owner="a", lease=60_000, limit=9)
        ],
        ["m0"],
        [],
    ),
    "a deployment that is due": (
        lambda work: [one.id for one in work.deployments.claim(owner="a", lease=60_000)],
        ["dep_0"],
        [],
    ),
    "minutes to be merged": (
        lambda work: work.measurements.merge(before=NOON + MINUTE, limit=9),
        1,
        0,
    ),
}
"""What is done once, whoever else tries: what the first is told, and what the second."""


@pytest.mark.parametrize("what", ROWS)
def test_of_two_works_open_together_only_one_changes_a_row(begin: Begin, what: str) -> None:
    do(begin, prepare_all)
    row = ROWS[what]
    before = ask(begin, row.read)
    with begin() as one:
        row.change(one)
        with pytest.raises(Conflict), begin() as two:
            row.change(two)
            one.commit()
            two.commit()
        one.commit()
    assert ask(begin, row.read).revision == before.revision + 1


@pytest.mark.parametrize("what", ROWS)
def test_who_read_a_row_before_the_faster_one_changed_it_is_refused(
    begin: Begin, what: str
) -> None:
    do(begin, prepare_all)
    row = ROWS[what]
    as_read = ask(begin, row.read)
    do(begin, row.change)
    changed = ask(begin, row.read)
    with pytest.raises(Conflict):
        do(begin, lambda work: row.write(work, as_read))
    assert ask(begin, row.read) == changed


@pytest.mark.parametrize("what", CREATES)
def test_of_two_works_open_together_only_one_creates(begin: Begin, what: str) -> None:
    do(begin, prepare_all)
    create = CREATES[what]
    with begin() as one:
        create(one)
        with pytest.raises(Conflict), begin() as two:
            create(two)
            one.commit()
            two.commit()
        one.commit()


@pytest.mark.parametrize("what", CREATES)
def test_what_was_made_meanwhile_is_not_made_again(begin: Begin, what: str) -> None:
    do(begin, prepare_all)
    create = CREATES[what]
    with pytest.raises(Conflict), begin() as fast, begin() as slow:
        create(fast)
        fast.commit()
        create(slow)
        slow.commit()


def test_one_name_is_given_to_one_model_alone(begin: Begin) -> None:
    do(begin, lambda work: [work.models.add(model(name)) for name in ("a", "b")])

    def take(work: Work, name: str) -> None:
        work.models.save(replace(work.models.get(name), alternative_ids=("gpt",)))

    with begin() as one:
        take(one, "a")
        with pytest.raises(Conflict), begin() as two:
            take(two, "b")
            one.commit()
            two.commit()
        one.commit()
    assert ask(begin, lambda work: work.models.get("a")).alternative_ids == ("gpt",)
    assert ask(begin, lambda work: work.models.get("b")).alternative_ids == ()


def both(begin: Begin, act: Callable[[Work], object]) -> tuple[object, object]:
    """Let two works do it, open together; who is refused looks again. Return what each is told."""
    with begin() as one:
        told = [act(one)]
        with suppress(Conflict), begin() as two:
            second = act(two)
            one.commit()
            two.commit()
            told.append(second)
        one.commit()
    if len(told) == 1:
        told.append(do(begin, act))
    return told[0], told[1]


@pytest.mark.parametrize("what", CLAIMS)
def test_what_two_do_at_once_is_done_once(begin: Begin, what: str) -> None:
    do(begin, prepare_all)
    act, first_told, second_told = CLAIMS[what]
    assert both(begin, act) == (first_told, second_told)


def test_evidence_of_two_writers_adds_up(begin: Begin) -> None:
    counts = [evidence(metric="measured", bin=0)]
    both(begin, lambda work: work.evidence.add("dep_1", counts, [first(7)]))
    found = {one.metric: one.n for one in ask(begin, lambda work: work.evidence.of("dep_1"))}
    assert found == {"errors": 1, "measured": 2}


def test_a_change_of_no_row_that_is_there_is_not_found(begin: Begin) -> None:
    nowhere: list[Callable[[Work], object]] = [
        lambda work: work.models.save(model()),
        lambda work: work.versions.save(version()),
        lambda work: work.aliases.save(Alias("digits", "champion", None, NOON, "ada")),
        lambda work: work.keys.save(key()),
        lambda work: work.deployments.update(deployment()),
        lambda work: work.rollbacks.save(ROLLBACK),
    ]
    for change in nowhere:
        with pytest.raises(NotFound):
            do(begin, change)


def test_two_changes_of_what_gateways_read_are_two_generations(begin: Begin) -> None:
    do(begin, prepare_all)
    before = ask(begin, lambda work: work.routes.generation())
    with begin() as one:
        ROWS["a model"].change(one)
        mine = one.routes.generation()
        with suppress(Conflict), begin() as two:
            ROWS["a key"].change(two)
            theirs = two.routes.generation()
            one.commit()
            two.commit()
            assert theirs != mine
        one.commit()
    assert mine == before + 1


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
        ROWS["a route"].change(fast)
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
                patiently(database, ROWS["a route"].change)
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


def test_minutes_that_another_merged_meanwhile_are_not_merged_again(
    postgres_database: Database,
) -> None:
    begin = partial(sql.begin, postgres_database)
    start(begin)
    flush(begin, batch(measurements=(measurement(), measurement())))

    def merge(work: Work) -> int:
        return work.measurements.merge(before=NOON + MINUTE, limit=9)

    def be_faster(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("DELETE") and not faster:
            faster.append(True)
            do(begin, merge)

    faster: list[bool] = []
    sa.event.listen(postgres_database.engine, "before_cursor_execute", be_faster)
    try:
        with pytest.raises(Conflict):
            do(begin, merge)
    finally:
        sa.event.remove(postgres_database.engine, "before_cursor_execute", be_faster)
    with begin() as work:
        (read,) = work.measurements.read(
            model="digits", environment="production", since=0, until=NOON + MINUTE
        )
    assert read.outcomes == {"ok": 4}


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
