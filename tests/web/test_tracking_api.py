"""Measurements, comparison, feedback and metrics, as users and scrapers meet them."""

import re
from typing import Any

import pytest
from flask import Flask
from tests.web.world import Api, MakeApi, World

from headway.app import create_app
from headway.tracking.measurement import Batch, Measurement
from headway.tracking.sketch import Sketch

OPENAI = {"provider": "openai", "base_url": "https://api.example.com/v1", "model": "m"}
FIRST = {"rules": [{"arms": [{"key": "stable", "version": "1.0.0", "share_bp": 10_000}]}]}
OUTCOMES = {"ok", "caller", "policy", "refused", "provider", "version", "gateway", "gone"}


@pytest.fixture
def bot(admin: Api) -> Api:
    admin.done("POST", "/models", {"name": "bot"})
    for number in ("1.0.0", "1.1.0"):
        body = {"version": number, "target": OPENAI | {"model": number}}
        admin.done("POST", "/models/bot/versions", body)
    admin.done("PUT", "/routes/bot/production", FIRST)
    return admin


def measure(
    world: World, version: str, outcomes: dict[str, int], *, latency: float, arm: str = "stable"
) -> None:
    """Let a gateway hand over what it saw in this minute."""
    boot = f"boot-{version}-{arm}-{world.now}"
    with world.begin() as work:
        work.gateways.start(boot=boot, host="here", pid=1)
        measured = Measurement(
            model="bot",
            environment="production",
            version=version,
            arm=arm,
            minute=world.now - world.now % 60_000,
            outcomes=outcomes,
            latency=Sketch.of([latency] * sum(outcomes.values())),
            first=Sketch(),
            tokens={"input": 7},
            served_by={"m": 1},
        )
        work.gateways.flush(
            Batch(boot=boot, seq=1, applied_generation=1, measurements=(measured,))
        )
        work.commit()


def test_what_requests_showed_is_told_by_version(bot: Api, world: World) -> None:
    measure(world, "1.0.0", {"ok": 90, "provider": 10}, latency=100)
    world.now += 60_000
    measure(world, "1.0.0", {"ok": 10}, latency=100)
    world.now += 1_000

    (whole,) = bot.done("GET", "/measurements?model=BOT&version=~1.0")["items"]
    assert (whole["requests"], whole["outcomes"]["provider"]) == (110, 10)
    assert whole["latency_ms"]["p50"] == pytest.approx(100, rel=0.011)
    assert whole["tokens"] == {"input": 14}
    assert whole["first_ms"]["p50"] is None
    steps = bot.done("GET", "/measurements?model=bot&step=1m")["items"]
    assert [step["requests"] for step in steps] == [100, 10]
    assert bot.done("GET", "/measurements?model=bot&version=1.1.0")["items"] == []


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("", 422, "?model: is missing"),
        ("model=none", 404, "none"),
        ("model=bot&step=5", 422, "?step"),
        ("model=bot&step=10s", 422, "?step"),
        ("model=bot&from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 422, "?to"),
        ("model=bot&from=monday", 422, "?from"),
        ("model=bot&to=0001-01-01T00:00:00Z", 422, "?to"),
        ("model=bot&form=2026-01-02T00:00:00Z", 422, "did you mean 'from'?"),
        ("model=bot&from=1999-01-01T00:00:00Z&step=1m", 422, "?step"),
        ("model=bot&version=9.9.9", 404, "9.9.9"),
    ],
)
def test_a_wrong_window_is_refused(bot: Api, query: str, status: int, said: str) -> None:
    answer = bot("GET", f"/measurements?{query}")
    assert answer.status_code == status
    assert said in answer.get_json()["detail"]


def test_two_versions_stand_side_by_side(bot: Api, world: World) -> None:
    measure(world, "1.0.0", {"ok": 900, "provider": 100}, latency=100)
    measure(world, "1.1.0", {"ok": 990, "provider": 10}, latency=200)
    told = bot.done("GET", "/models/bot/versions/1.0.0/comparison?with=latest")
    rows = {row["metric"]: row for row in told["measured"]}

    assert (told["old"], told["new"], told["order"], told["bump"]) == (
        "1.0.0",
        "1.1.0",
        -1,
        "patch",
    )
    assert told["target"] == [{"pointer": "/model", "before": "1.0.0", "after": "1.1.0"}]
    assert rows["errors"]["old"]["value"] == pytest.approx(0.1)
    assert rows["errors"]["new"]["interval"]["high"] < rows["errors"]["old"]["interval"]["low"]
    assert rows["latency.p50"]["ratio"] == pytest.approx(2, rel=0.05)
    assert bot("GET", "/models/bot/versions/1.0.0/comparison").status_code == 422


def test_checks_are_measured_on_an_arm_of_their_own_and_are_no_errors_of_the_version(
    bot: Api, world: World
) -> None:
    measure(world, "1.0.0", {"ok": 13}, latency=100)
    measure(world, "1.0.0", {"provider": 7}, latency=100, arm="check")
    world.now += 1_000

    shown = bot.done("GET", "/measurements?model=BOT&version=~1.0")["items"]
    assert {one["arm"]: one["requests"] for one in shown} == {"stable": 13, "check": 7}
    measure(world, "1.1.0", {"ok": 1}, latency=100)
    told = bot.done("GET", "/models/bot/versions/1.0.0/comparison?with=1.1.0")
    errors = next(row for row in told["measured"] if row["metric"] == "errors")
    assert (errors["old"]["value"], errors["old"]["n"]) == (0, 13)
    found = counters(bot("GET", "//metrics").get_data(as_text=True), "headway_requests_total")
    assert (found["1.0.0", "ok"], found["1.0.0", "provider"]) == (13, 0)


def request_id(world: World) -> str:
    route = world.services.routing.current("bot", "production")
    prefix = world.stamper.prefix(route.id, 0)
    return world.stamper.stamp(prefix, world.now, world.stamper.unit_hash("ada"))


def test_feedback_is_taken_once(bot: Api, api: MakeApi, world: World) -> None:
    caller = api("caller")
    item = {"request_id": request_id(world), "scores": {"correct": 1}}
    first = caller.done("POST", "/feedback", item)
    again = caller.done("POST", "/feedback", {"items": [item]})
    world.now += 1

    assert (first["accepted"], again["accepted"]) == (1, 0)
    assert again["items"][0]["why_not"]
    (score,) = bot.done("GET", "/measurements?model=bot")["scores"]
    assert (score["version"], score["name"], score["n"], score["mean"]) == (
        "1.0.0",
        "correct",
        1,
        1.0,
    )


def test_one_wrong_item_does_not_spoil_the_others(bot: Api, world: World) -> None:
    good = {"request_id": request_id(world), "scores": {"correct": 0.5}}
    forged = {"request_id": "req_" + "A" * 48, "scores": {"correct": 1}}
    told = bot.done("POST", "/feedback", {"items": [forged, good]})

    assert [one["accepted"] for one in told["items"]] == [False, True]
    assert told["items"][0]["why_not"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"items": []}, 422),
        ({"items": [{"request_id": "req_x", "scores": {}}]}, 422),
        ({"items": [{"request_id": "req_x", "scores": {"a": "1"}}]}, 422),
        ({"items": [{"request_id": "req_x", "scroes": {"a": 1}}]}, 422),
        ({"items": [], "request_id": "req_x", "scores": {"a": 1}}, 422),
        ({"request_id": "req_x"}, 422),
        ({"items": [{"request_id": "req_x", "scores": {"a": 1}}] * 1001}, 422),
        ({"items": [{"request_id": "req_x", "scores": {"a": 7}}] * 1000}, 200),
    ],
)
def test_feedback_of_another_shape_is_refused(bot: Api, body: dict[str, Any], status: int) -> None:
    answer = bot("POST", "/feedback", body)
    assert answer.status_code == status
    if status == 200:
        assert answer.get_json()["accepted"] == 0


def test_who_only_deploys_gives_no_feedback(api: MakeApi) -> None:
    body = {"request_id": "req_x", "scores": {"a": 1}}
    assert api("deployer")("POST", "/feedback", body).status_code == 403


# Metrics


def counters(text: str, name: str) -> dict[tuple[str, str], float]:
    """Return {(version, outcome): value} of a counter."""
    found = {}
    for line in text.splitlines():
        if line.startswith(f"{name}{{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            found[labels["version"], labels["outcome"]] = float(line.rsplit(" ", 1)[1])
    return found


def test_every_outcome_of_a_live_version_starts_at_zero(bot: Api) -> None:
    text = bot("GET", "//metrics").get_data(as_text=True)
    found = counters(text, "headway_requests_total")

    assert {outcome for version, outcome in found if version == "1.0.0"} == OUTCOMES
    assert set(found.values()) == {0.0}
    assert 'headway_route_share{arm="stable"' in text


def test_counters_never_fall(bot: Api, world: World) -> None:
    seen = []
    for n in (3, 4, 0):
        measure(world, "1.0.0", {"ok": n}, latency=1)
        world.services.tracking.tend()
        text = bot("GET", "//metrics").get_data(as_text=True)
        seen.append(counters(text, "headway_requests_total")["1.0.0", "ok"])
        world.now += 40 * 86_400_000

    assert seen == [3, 7, 7]


def test_times_are_histograms_that_never_fall(bot: Api, world: World) -> None:
    def shown(metric: str) -> dict[str, float]:
        text = bot("GET", "//metrics").get_data(as_text=True)
        pattern = metric + r'_bucket\{environment="production",le="([^"]+)",[^}]*"1.0.0"\} (\S+)'
        return {end: float(n) for end, n in re.findall(pattern, text)}

    nothing = shown("headway_request_seconds")
    assert (nothing["0.005"], nothing["+Inf"], len(nothing)) == (0, 0, 17)
    assert shown("headway_first_token_seconds") == {}
    measure(world, "1.0.0", {"ok": 3}, latency=40)
    world.now += 40 * 86_400_000
    world.services.tracking.tend()
    measure(world, "1.0.0", {"ok": 1}, latency=700)

    times = shown("headway_request_seconds")
    ends = {end: times[end] for end in ("0.025", "0.05", "0.5", "1.0", "600.0", "+Inf")}
    assert ends == {"0.025": 0, "0.05": 3, "0.5": 3, "1.0": 4, "600.0": 4, "+Inf": 4}


def test_requests_that_came_to_no_version_are_counted_from_zero_and_never_fall(
    bot: Api, world: World
) -> None:
    def shown() -> dict[str, str]:
        text = bot("GET", "//metrics").get_data(as_text=True)
        return dict(re.findall(r'headway_requests_unrouted_total{outcome="(\w+)"} (\S+)', text))

    assert shown() == {"caller": "0.0", "policy": "0.0", "gateway": "0.0", "gone": "0.0"}
    with world.begin() as work:
        work.gateways.start(boot="b", host="here", pid=1)
        for seq, unrouted in enumerate(({"caller": 2, "policy": 1}, {"caller": 5}), start=1):
            work.gateways.flush(Batch(boot="b", seq=seq, applied_generation=1, unrouted=unrouted))
        work.commit()
    world.now += 40 * 86_400_000
    world.services.tracking.tend()
    assert shown() == {"caller": "7.0", "policy": "1.0", "gateway": "0.0", "gone": "0.0"}


def test_metrics_are_for_administrators_and_scrapers(api: MakeApi, world: World) -> None:
    for role in ("viewer", "caller", "deployer"):
        assert api(role)("GET", "//metrics").status_code == 403
    token = "of-the-scraper"  # noqa: S105 - of a test
    app: Flask = create_app(world.services, metrics_token=token)
    head = {"Authorization": f"Bearer {token}"}

    assert app.test_client().get("/metrics", headers=head).status_code == 200
    assert app.test_client().get("/api/v1/keys", headers=head).status_code == 401
    assert api(None)("GET", "//metrics", headers=head).status_code == 401
