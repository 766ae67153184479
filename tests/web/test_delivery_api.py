"""Routes, deployments, snapshots and rollbacks, as a user's script meets them."""

import json
from typing import Any

import pytest
from tests.web.world import Api, MakeApi, World
from werkzeug.test import TestResponse

from headway.outbox.event import Event

OPENAI = {"provider": "openai", "base_url": "https://api.example.com/v1", "model": "m"}
ROUTE = "/routes/bot/production"
FIRST = {"rules": [{"arms": [{"key": "stable", "version": "1.0.0", "share_bp": 10_000}]}]}
PLAN = {"model": "bot", "to": "1.1.0"}


@pytest.fixture
def bot(admin: Api) -> Api:
    """A model with two versions, the first of which answers everybody."""
    admin.done("POST", "/models", {"name": "bot"})
    for number in ("1.0.0", "1.1.0"):
        body = {"version": number, "target": OPENAI | {"model": number}}
        admin.done("POST", "/models/bot/versions", body)
    admin.done("PUT", ROUTE, FIRST)
    return admin


def deploy(api: Api, plan: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - any JSON
    return api.done("POST", "/deployments", plan or PLAN)


def yaml(api: Api, path: str, text: str) -> TestResponse:
    head = {"Content-Type": "application/yaml"}
    return api("POST", path, data=text.encode(), headers=head)


# Routes


def test_a_route_shows_who_answers(bot: Api) -> None:
    route = bot("GET", ROUTE)
    (rule,) = route.get_json()["rules"]

    assert route.headers["ETag"] == '"1"'
    assert [(arm["version"], arm["share_bp"]) for arm in rule["arms"]] == [("1.0.0", 10_000)]
    assert bot.done("GET", "/models/bot")["live"] == {
        "production": [{"version": "1.0.0", "share_bp": 10_000}]
    }


def test_a_route_is_changed_by_who_saw_it(bot: Api) -> None:
    half = {
        "rules": [
            {
                "arms": [
                    {"key": "stable", "version": "1.0.0", "share_bp": 5_000},
                    {"key": "b", "version": "1.1.0", "share_bp": 5_000, "role": "baseline"},
                ]
            }
        ]
    }
    blind = bot("PUT", ROUTE, half)
    seen = bot("PUT", ROUTE, half, headers={"If-Match": '"1"'})
    late = bot("PUT", ROUTE, FIRST, headers={"If-Match": '"1"'})

    assert [blind.status_code, seen.status_code, late.status_code] == [428, 200, 412]
    assert [r["revision"] for r in bot.done("GET", f"{ROUTE}/revisions")["items"]] == [2, 1]
    assert len(bot.done("GET", f"{ROUTE}/revisions/1")["rules"][0]["arms"]) == 1


def test_what_a_route_shows_may_be_sent_back(bot: Api) -> None:
    shown = bot.done("GET", ROUTE)
    again = bot("PUT", ROUTE, shown, headers={"If-Match": '"1"'})

    assert again.status_code == 200
    assert again.get_json()["revision"] == 1


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"rules": []}, "/rules", "at least 1"),
        ({"ruels": []}, "/ruels", "'rules'"),
        (
            {"rules": [{"arms": [{"key": "a", "version": "1.0.0"}]}]},
            "/rules/0/arms/0/share_bp",
            "",
        ),
        (
            {"rules": [{"arms": [{"key": "stable", "version": "1.0.0", "share_bp": 9_999}]}]},
            "/rules/0/arms",
            "10,000",
        ),
        (
            {"rules": [{"arms": [{"key": "stable", "version": "9.0.0", "share_bp": 10_000}]}]},
            "/rules/0/arms/0/version",
            "not registered",
        ),
        (
            {"rules": [{"arms": [{"key": "stable", "version": "latest", "share_bp": 10_000}]}]},
            "/rules/0/arms/0/version",
            "no version",
        ),
        (
            {"rules": [{"arms": [{"keey": "a", "version": "1.0.0", "share_bp": 1}]}]},
            "/rules/0/arms/0/keey",
            "'key'",
        ),
        (FIRST | {"stick_to": "planet"}, "/stick_to", "unknown"),
        (FIRST | {"fallback": "bot"}, "/fallback", "itself"),
    ],
)
def test_a_wrong_route_is_refused_where_it_is_wrong(
    bot: Api, change: dict[str, Any], pointer: str, said: str
) -> None:
    answer = bot("PUT", ROUTE, change, headers={"If-Match": '"1"'})
    faults = {f["pointer"]: f["detail"] for f in answer.get_json()["errors"]}

    assert answer.status_code == 422
    assert said in faults[pointer]
    assert bot.done("GET", ROUTE)["revision"] == 1


def test_somebody_can_ask_why(bot: Api, world: World) -> None:
    told = bot.done("GET", f"{ROUTE}/explanation?unit=ada")
    assert (told["version"], told["revision"]) == ("1.0.0", 1)
    assert "100%" in told["why"]

    world.now += 60_000
    bot.done("PUT", ROUTE, {"enabled": False}, headers={"If-Match": '"1"'})
    assert bot.done("GET", f"{ROUTE}/explanation?unit=ada")["version"] is None
    past = f"{ROUTE}/explanation?unit=ada&at=2026-01-01T00:00:30Z"
    assert bot.done("GET", past)["version"] == "1.0.0"
    assert bot("GET", f"{ROUTE}/explanation?unit=ada&attributes=[1]").status_code == 400
    assert bot("GET", f"{ROUTE}/explanation").status_code == 422


def test_a_request_id_says_where_it_went(bot: Api, api: MakeApi, world: World) -> None:
    route = world.services.routing.current("bot", "production")
    prefix = world.stamper.prefix(route.id, 0)
    request_id = world.stamper.stamp(prefix, world.now, world.stamper.unit_hash("ada"))
    told = bot.done("GET", f"/requests/{request_id}")

    assert (told["model"], told["version"]) == ("bot", "1.0.0")
    assert told["at"] == "2026-01-01T00:00:00.000Z"
    for other in (f"{request_id[:-1]}{'A' if request_id[-1] != 'A' else 'B'}", "req_x"):
        assert bot("GET", f"/requests/{other}").status_code == 404
    assert api("viewer", models=("other",))("GET", f"/requests/{request_id}").status_code == 404


# Deployments


def test_two_lines_are_a_plan(bot: Api) -> None:
    made = yaml(bot, "/deployments", "model: bot\nto: 1.1.0\n")
    shown = bot("GET", made.headers["Location"].removeprefix("/api/v1"))

    assert made.status_code == 201
    assert made.get_json()["version"] == "1.1.0"
    assert shown.get_json() == made.get_json()
    assert [step["state"] for step in shown.get_json()["steps"]][:2] == ["next", "next"]
    assert shown.get_json()["created_at"] == "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("model: bot\nto: 1.1.0\nstep:\n- send: 1%\n", 422, "line 3: unknown field"),
        ("model: bot\nto: 1.1.0\nsteps:\n- sned: 1%\n", 422, "line 4: "),
        ("model: bot\nto: 1.1.0\nsteps:\n- send: lots\n", 422, "line 4: "),
        ("model: bot\nto: 1.1.0\nstrategy: cannary\n", 422, "'canary'"),
        ("model: bot\nto: 1.1.0\nto: 1.0.0\n", 400, "line 3: the key 'to'"),
        ("model: bot\nto: *x\n", 400, "line 2"),
        ("model: bot\nto: !!float 1.1\n", 400, "is a tag"),
        ("model: [bot\n", 400, "not YAML"),
        ("- model: bot\n", 400, "a plan is a mapping"),
        ("", 400, "empty"),
        ("to: 1.1.0\n", 422, "model"),
        ("model: bot\nto: 9.9.9\n", 404, "9.9.9"),
        ("model: bto\nto: 1.1.0\n", 404, "bto"),
        ("model: bot\nto: 1.1.0\nwhy: " + "x" * 300_000, 413, "256 KiB"),
    ],
)
def test_a_plan_with_a_mistake_is_a_lesson(bot: Api, text: str, status: int, said: str) -> None:
    for path in ("/deployments", "/deployments/plans"):
        answer = yaml(bot, path, text)
        assert answer.status_code == status, answer.get_data(as_text=True)
        assert said in answer.get_json()["detail"]
    assert bot.done("GET", "/deployments")["items"] == []


def test_a_plan_is_told_before_it_starts(bot: Api, api: MakeApi) -> None:
    told = bot.done("POST", "/deployments/plans", PLAN)

    assert [step["number"] for step in told["steps"]] == list(range(1, len(told["steps"]) + 1))
    assert all(step["sentence"] for step in told["steps"])
    assert told["stable"] == "1.0.0"
    assert api("viewer")("POST", "/deployments/plans", PLAN).status_code == 200
    assert api("viewer")("POST", "/deployments", PLAN).status_code == 403


def test_one_deployment_of_a_route_at_a_time(bot: Api) -> None:
    first = deploy(bot)
    second = bot("POST", "/deployments", PLAN)

    assert second.status_code == 409
    assert second.get_json()["stands_in_the_way"] == first["id"]


def test_a_repeated_create_is_one_deployment(bot: Api) -> None:
    head = {"Idempotency-Key": "deploy-1"}
    first, again = (bot("POST", "/deployments", PLAN, headers=head) for _ in range(2))

    assert first.get_json()["id"] == again.get_json()["id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(bot.done("GET", "/deployments")["items"]) == 1


def test_a_dry_run_of_a_deployment_starts_nothing(bot: Api) -> None:
    tried = bot("POST", "/deployments?dry_run=true", PLAN)

    assert tried.status_code == 201
    assert tried.get_json()["state"] == "running"
    assert bot.done("GET", "/deployments")["items"] == []
    assert bot("GET", f"/deployments/{tried.get_json()['id']}").status_code == 404


def test_only_what_may_be_asked_now_is_offered(bot: Api, api: MakeApi) -> None:
    made = deploy(bot)
    path = f"/deployments/{made['id']}"

    assert {"pause", "promote", "abort", "rollback", "events"} == set(made["links"])
    assert set(api("viewer").done("GET", path)["links"]) == {"events"}
    assert bot("POST", made["links"]["pause"]["href"].removeprefix("/api/v1")).status_code == 202
    for verb in ("resume", "abandon"):
        assert bot("POST", f"{path}/{verb}", {}).status_code == 409
    assert api("viewer")("POST", f"{path}/pause", {}).status_code == 403


def test_a_promotion_wants_a_reason(bot: Api) -> None:
    path = f"/deployments/{deploy(bot)['id']}/promote"

    assert bot("POST", path).status_code == 415
    assert bot("POST", path, {}).get_json()["errors"][0]["pointer"] == "/why"
    assert bot("POST", path, {"why": "  "}).status_code == 422
    assert bot("POST", path, {"why": "sure", "to": "ende"}).status_code == 422
    assert bot("POST", path, {"why": "sure", "to": "end"}).status_code == 202


def test_the_kill_switch_works_while_a_deployment_runs(bot: Api) -> None:
    made = deploy(bot)
    changed = bot("PUT", ROUTE, FIRST | {"stick_to": "user"}, headers={"If-Match": "*"})
    killed = bot("PUT", ROUTE, {"enabled": False, "why": "fire"}, headers={"If-Match": "*"})

    assert changed.status_code == 409
    assert changed.get_json()["stands_in_the_way"] == made["id"]
    assert (killed.status_code, killed.get_json()["enabled"]) == (200, False)


def test_deployments_are_listed_by_state_and_page(bot: Api, world: World) -> None:
    ids = []
    for environment in ("a", "b", "c"):
        world.now += 1
        ids.append(deploy(bot, PLAN | {"environment": environment})["id"])
    first = bot.done("GET", "/deployments?limit=2&state=active")
    second = bot.done("GET", f"/deployments?limit=2&state=active&after={first['next']}")

    assert [d["id"] for d in first["items"] + second["items"]] == sorted(ids, reverse=True)
    assert bot.done("GET", "/deployments?state=succeeded")["items"] == []
    assert (
        "did you mean 'running'?" in bot("GET", "/deployments?state=runing").get_json()["detail"]
    )


def test_what_a_key_may_not_see_does_not_move(bot: Api, api: MakeApi) -> None:
    made = deploy(bot)
    narrow = api("deployer", models=("other-*",))
    staging = api("deployer", environments=("staging",))

    for stranger in (narrow, staging):
        assert stranger("GET", f"/deployments/{made['id']}").status_code == 404
        assert stranger("POST", f"/deployments/{made['id']}/abort", {}).status_code == 404
        assert stranger("GET", f"/deployments/{made['id']}/events").status_code == 404
        assert stranger("POST", "/deployments", PLAN).status_code == 404
        assert stranger("GET", ROUTE).status_code == 404
        assert stranger.done("GET", "/deployments")["items"] == []
        back = {"model": "bot", "why": "x"}
        assert stranger("POST", "/rollbacks", back).status_code == 404
        assert yaml(stranger, "/deployments", "model: bot\nto: 1.1.0\n").status_code == 404


# History


def test_the_history_is_told_in_sentences(bot: Api) -> None:
    made = deploy(bot, PLAN | {"why": "cheaper"})
    (event,) = bot.done("GET", f"/deployments/{made['id']}/events")["items"]

    assert event["kind"] == "deployment.created"
    assert "cheaper" in event["why"]
    assert event["at"] == "2026-01-01T00:00:00.000Z"


def follow(api: Api, path: str, **head: str) -> TestResponse:
    return api("GET", f"{path}/events", headers={"Accept": "text/event-stream", **head})


def finish(world: World, deployment: str) -> None:
    """Let the deployment end with one event more."""
    with world.begin() as work:
        present = work.deployments.get(deployment)
        ended = type(present)(
            **{field: getattr(present, field) for field in present.__dataclass_fields__}
            | {"state": type(present.state).SUCCEEDED}
        )
        work.deployments.update(ended)
        work.outbox.add(
            Event(
                kind="deployment.succeeded",
                subject=present.subject,
                at=world.now,
                actor="headway",
                why="all went well",
                deployment=deployment,
            )
        )
        work.commit()


def test_the_history_is_followed_to_its_end_and_taken_up_again(bot: Api, world: World) -> None:
    path = f"/deployments/{deploy(bot)['id']}"
    finish(world, path.rsplit("/", 1)[-1])
    stream = follow(bot, path)
    events = [block for block in stream.get_data(as_text=True).split("\n\n") if "id: " in block]

    assert stream.mimetype == "text/event-stream"
    assert len(events) == 2
    number, kind, data = events[1].split("\n")
    assert kind == "event: deployment.succeeded"
    assert json.loads(data.removeprefix("data: "))["why"] == "all went well"

    last = number.removeprefix("id: ")
    assert follow(bot, path, **{"Last-Event-ID": last}).status_code == 204
    first = events[0].split("\n")[0].removeprefix("id: ")
    again = follow(bot, path, **{"Last-Event-ID": first}).get_data(as_text=True)
    assert f"id: {last}" in again
    assert f"id: {first}\n" not in again


def test_the_ninth_who_follows_is_asked_to_come_back(bot: Api) -> None:
    path = f"/deployments/{deploy(bot)['id']}"
    open_ones = [follow(bot, path) for _ in range(8)]
    ninth = follow(bot, path)

    assert (ninth.status_code, ninth.headers["Retry-After"]) == (503, "5")
    for one in open_ones:
        one.close()
    assert follow(bot, path).status_code == 200


# Snapshots and rollbacks


def test_a_snapshot_can_be_gone_back_to(bot: Api) -> None:
    taken = bot("POST", "/snapshots", {"model": "bot", "reason": "before the fair"})
    assert taken.status_code == 201
    where = taken.headers["Location"].removeprefix("/api/v1")
    assert bot.done("GET", where)["reason"] == "before the fair"

    second = {"rules": [{"arms": [{"key": "stable", "version": "1.1.0", "share_bp": 10_000}]}]}
    bot.done("PUT", ROUTE, second, headers={"If-Match": '"1"'})
    snapshot = taken.get_json()["id"]
    body = {"model": "bot", "to": snapshot, "why": "the fair is over"}
    back = bot("POST", "/rollbacks", body)

    assert back.status_code == 201
    assert bot.done("GET", ROUTE)["rules"][0]["arms"][0]["version"] == "1.0.0"
    assert bot.done("GET", ROUTE)["digest"] == taken.get_json()["digest"]
    shown = bot.done("GET", back.headers["Location"].removeprefix("/api/v1"))
    assert (shown["automatic"], shown["to_revision"]) == (False, 1)
    assert [r["id"] for r in bot.done("GET", "/rollbacks?model=bot")["items"]] == [shown["id"]]


def test_snapshots_of_a_route_are_listed_the_newest_first(bot: Api, world: World) -> None:
    for reason in ("one", "two", "three"):
        world.now += 1
        bot.done("POST", "/snapshots", {"model": "bot", "reason": reason})
    page = bot.done("GET", "/snapshots?model=bot&limit=2")
    rest = bot.done("GET", f"/snapshots?model=bot&limit=2&after={page['next']}")

    assert [s["reason"] for s in page["items"] + rest["items"]] == ["three", "two", "one"]
    assert bot("GET", "/snapshots").status_code == 422
    assert bot("GET", "/snapshots?model=none").status_code == 404


def test_a_rollback_takes_a_running_deployment_with_it(bot: Api) -> None:
    made = deploy(bot)
    bot.done("PUT", ROUTE, {"enabled": False}, headers={"If-Match": "*"})
    back = bot("POST", "/rollbacks", {"model": "bot", "to": "1.0.0", "why": "no more"})

    assert back.status_code == 201
    assert bot.done("GET", f"/deployments/{made['id']}")["state"] in {
        "rolling_back",
        "rolled_back",
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "bot", "to": "9.9.9", "why": "x"}, 404),
        ({"model": "none", "why": "x"}, 404),
        ({"model": "bot"}, 422),
        ({"model": "bot", "why": ""}, 422),
        ({"model": "bot", "why": "x", "too": "previous"}, 422),
    ],
)
def test_a_rollback_to_nowhere_is_refused(bot: Api, body: dict[str, Any], status: int) -> None:
    assert bot("POST", "/rollbacks", body).status_code == status
    assert bot.done("GET", ROUTE)["revision"] == 1


def test_a_decision_without_a_verdict_has_none_to_show(bot: Api) -> None:
    made = deploy(bot)
    (event, *_) = bot.done("GET", f"/deployments/{made['id']}/events")["items"]
    asked = bot("GET", f"/deployments/{made['id']}/events/{event['seq']}/verdict")
    assert asked.status_code == 404
    assert "has a verdict" in asked.get_json()["detail"]
