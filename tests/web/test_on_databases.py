"""What is promised of repeats and dry runs holds on real databases as well."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from tests.web.world import Api, World

from headway.app import create_app
from headway.kernel.errors import OutcomeUnknown, Undone
from headway.persistence.engine import Database, Transaction, open_database
from headway.persistence.schema import upgrade
from headway.persistence.tables import counters
from headway.persistence.work import SqlWork, begin
from headway.web.transaction import Joined

OPENAI = {"provider": "openai", "base_url": "https://api.example.com/v1", "model": "m"}
FIRST = {"rules": [{"arms": [{"key": "stable", "version": "1.0.0", "share_bp": 10_000}]}]}
PLAN = {"model": "bot", "to": "1.1.0"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/headway.db", pool_size=12) as database:
        upgrade(database)
        yield database


@pytest.fixture
def world(tmp_path: Path, database: Database) -> World:
    joined = Joined(partial(begin, database), partial(begin, database, read_only=True))
    return World(tmp_path / "artifacts", begin=joined)


@pytest.fixture
def bot(admin: Api) -> Api:
    admin.done("POST", "/models", {"name": "bot"})
    for number in ("1.0.0", "1.1.0"):
        body = {"version": number, "target": OPENAI | {"model": number}}
        admin.done("POST", "/models/bot/versions", body)
    admin.done("PUT", "/routes/bot/production", FIRST)
    return admin


def test_a_dry_run_is_read_in_its_own_transaction_and_undone(bot: Api) -> None:
    tried = bot.done("POST", "/deployments?dry_run=true", PLAN)

    assert tried["state"] == "running"
    assert bot("GET", f"/deployments/{tried['id']}").status_code == 404
    back = {"model": "bot", "to": "1.1.0", "why": "try"}
    assert bot("POST", "/rollbacks?dry_run=true", back).status_code == 201
    assert bot.done("GET", "/routes/bot/production")["revision"] == 1


def test_a_repeat_finds_the_effect_and_the_answer(bot: Api) -> None:
    head = {"Idempotency-Key": "one"}
    first, again = (bot("POST", "/deployments", PLAN, headers=head) for _ in range(2))

    assert first.get_data() == again.get_data()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(bot.done("GET", "/deployments")["items"]) == 1


def test_eight_at_once_in_two_processes_make_one(world: World) -> None:
    """Two applications know nothing of each other, as two processes do."""
    key = world.key("admin")
    apps = [create_app(world.services) for _ in range(2)]
    statuses: list[int] = []
    together = threading.Barrier(8)

    def create(app: Flask) -> None:
        api = Api(app.test_client(), key)
        together.wait()
        head = {"Idempotency-Key": "one"}
        statuses.append(api("POST", "/models", {"name": "bot"}, headers=head).status_code)

    threads = [threading.Thread(target=create, args=(apps[i % 2],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    items = Api(apps[0].test_client(), key).done("GET", "/models")["items"]
    assert [model["name"] for model in items] == ["bot"]


def test_texts_that_databases_stumble_over_are_refused_or_kept(bot: Api) -> None:
    for text in ("\0", "\ud7ff\0"):
        assert bot("POST", "/models", {"name": "x", "description": text}).status_code == 422
    kept = "'; DROP TABLE keys; -- \u202e \U0001f600"
    bot.done("PATCH", "/models/bot", {"description": kept, "tags": {"a": kept}})
    assert bot.done("GET", "/models/bot")["description"] == kept
    assert bot("GET", "/models?q=%25_%27%22").status_code == 200


def test_a_kept_answer_lasts_as_long_as_its_effect(bot: Api, database: Database) -> None:
    """An effect that was undone leaves no answer behind."""
    head = {"Idempotency-Key": "one"}
    body = {"version": "1.0.0", "target": OPENAI | {"model": "other"}}
    assert bot("POST", "/models/bot/versions", body, headers=head).status_code == 409
    with begin(database, read_only=True) as work:
        assert len(work.outbox.latest(model="bot")) == 4
    fixed = bot("POST", "/models/bot/versions", body | {"version": "1.2.0"}, headers=head)
    assert fixed.status_code == 201


@pytest.mark.parametrize("head", [{}, {"Idempotency-Key": "one"}])
@pytest.mark.parametrize(("undone", "status"), [(3, 201), (4, 503)])
def test_what_was_undone_for_another_writer_is_tried_four_times(
    tmp_path: Path, database: Database, head: dict[str, str], undone: int, status: int
) -> None:
    left = [0]

    @contextmanager
    def crowded() -> Iterator[SqlWork]:
        with begin(database) as work:
            commit = work.commit

            def undone_at_first() -> None:
                left[0] -= 1
                if left[0] >= 0:
                    raise Undone("somebody else changed the same rows")
                commit()

            work.commit = undone_at_first  # type: ignore[method-assign]  # a store that is crowded
            yield work

    world = World(tmp_path / "artifacts", begin=Joined(crowded, partial(begin, database)))
    api = Api(create_app(world.services).test_client(), world.key("admin"))
    left[0] = undone
    answer = api("POST", "/models", {"name": "bot"}, headers=head)

    assert answer.status_code == status
    assert (api("GET", "/models/bot").status_code == 200) is (status == 201)


def test_a_request_that_waited_too_long_for_a_lock_is_done_when_the_lock_is_gone(
    tmp_path: Path, postgres_database: Database
) -> None:
    opened = [0]
    with Transaction(postgres_database) as holder:

        @contextmanager
        def queueing() -> Iterator[SqlWork]:
            opened[0] += 1
            if opened[0] == 2:
                holder.close()
            with begin(postgres_database) as work:
                yield work

        world = World(
            tmp_path / "artifacts", begin=Joined(queueing, partial(begin, postgres_database))
        )
        api = Api(create_app(world.services).test_client(), world.key("admin"))
        holder.run(sa.update(counters).values(number=counters.c.number + 1))
        opened[0] = 0
        made = api("POST", "/keys", {"name": "app", "role": "caller"})

    assert made.status_code == 201
    assert opened[0] == 2
    assert [key["name"] for key in api.done("GET", "/keys")["items"]].count("app") == 1


def test_an_answer_whose_commit_was_not_confirmed_is_looked_up(
    tmp_path: Path, database: Database
) -> None:
    lost = [False]

    @contextmanager
    def far_away() -> Iterator[SqlWork]:
        with begin(database) as work:
            commit = work.commit

            def unconfirmed() -> None:
                commit()
                if lost[0]:
                    lost[0] = False
                    raise OutcomeUnknown("the connection was lost while it committed")

            work.commit = unconfirmed  # type: ignore[method-assign]  # a store that is far away
            yield work

    world = World(tmp_path / "artifacts", begin=Joined(far_away, partial(begin, database)))
    api = Api(create_app(world.services).test_client(), world.key("admin"))
    head = {"Idempotency-Key": "one"}
    lost[0] = True
    made = api("POST", "/models", {"name": "bot"}, headers=head)
    lost[0] = True
    unsure = api("POST", "/models", {"name": "other"})

    assert (made.status_code, made.headers["Idempotency-Replayed"]) == (201, "true")
    assert unsure.status_code == 503
    assert unsure.get_json()["type"].endswith("/storage-unavailable")


def test_reading_waits_for_no_writer_and_writing_does_not_wait_for_ever(
    tmp_path: Path, database: Database
) -> None:
    del database  # made, and upgraded
    url = f"sqlite:///{tmp_path}/headway.db"
    with open_database(url, busy_timeout=50) as hasty:
        joined = Joined(partial(begin, hasty), partial(begin, hasty, read_only=True))
        world = World(tmp_path / "artifacts", begin=joined)
        api = Api(create_app(world.services).test_client(), world.key("admin"))
        with open_database(url) as other, begin(other) as work:
            work.settings.keep("held", "by another process")
            seen = api("GET", "/models")
            made = api("POST", "/models", {"name": "bot"})

    assert seen.status_code == 200
    assert (made.status_code, made.headers["Retry-After"]) == (503, "1")
    assert made.get_json()["type"].endswith("/storage-unavailable")
