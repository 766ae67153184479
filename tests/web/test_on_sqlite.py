"""What is promised of repeats and dry runs holds on a real database as well."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from tests.web.world import Api, World

from headway.app import create_app
from headway.persistence.engine import Database, open_database
from headway.persistence.schema import upgrade
from headway.persistence.work import begin
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
