"""Prices and cost, as people meet them."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from tests.web.world import NOW, Api, MakeApi, World

from headway.tracking.measurement import Batch, Measurement
from headway.tracking.price import Dated, Rates, Timeline
from headway.tracking.price_service import Upstream, _Mark
from headway.tracking.sketch import Sketch

URL = "https://api.example.com/v1"
GPT = Upstream(URL, "gpt")
DEAR = {"input": 10, "output": 30, "cached": None, "cache_write": None}
CHEAP = {"input": 1, "output": 3, "cached": None, "cache_write": None}


@pytest.fixture(autouse=True)
def bot(admin: Api) -> None:
    admin.done("POST", "/models", {"name": "bot"})
    for number in ("1.0.0", "2.0.0"):
        target = {"provider": "openai", "base_url": URL, "model": "gpt", "parameters": {}}
        if number == "2.0.0":
            target["parameters"] = {"temperature": 1}
        admin.done("POST", "/models/bot/versions", {"version": number, "target": target})


def set_price(admin: Api, rates: dict[str, Any], **more: Any) -> Any:  # noqa: ANN401 - JSON
    asked = {"upstream_model": "gpt", "usd_per_million": rates, **more}
    return admin.done("PUT", "/prices", asked)


def measured(world: World, minute: int, tokens: dict[str, int], version: str = "1.0.0") -> None:
    one = Measurement(
        model="bot",
        environment="production",
        version=version,
        arm="stable",
        minute=minute,
        outcomes={"ok": 1},
        latency=Sketch.of([5]),
        first=Sketch(),
        tokens=tokens,
        served_by={},
    )
    boot = f"{version} {minute}"
    with world.begin() as work:
        work.gateways.start(boot=boot, host="h", pid=1)
        work.gateways.flush(Batch(boot=boot, seq=1, applied_generation=1, measurements=(one,)))
        work.commit()


def cost(admin: Api) -> float | None:
    (point,) = admin.done("GET", "/measurements?model=bot")["items"]
    found: float | None = point["cost_usd"]
    return found


def test_a_price_is_set_listed_and_taken_back(admin: Api) -> None:
    made = set_price(admin, DEAR, host="API.example.com", effective_from="2026-01-01T00:00:00Z")

    assert made["host"] == "api.example.com"
    assert made["effective_from"] == "2026-01-01T00:00:00.000Z"
    assert made["usd_per_million"] == DEAR
    assert made["set_by"].startswith("admin")
    assert made.pop("called") is True
    assert admin.done("GET", "/prices")["items"] == [made]
    which = "host=api.example.com&upstream_model=gpt&effective_from=2026-01-01T00:00:00Z"
    assert admin("DELETE", f"/prices?{which}").status_code == 204
    assert admin("DELETE", f"/prices?{which}").status_code == 404
    assert admin.done("GET", "/prices")["items"] == []


def test_a_version_says_what_it_costs_and_who_says_so(admin: Api, world: World) -> None:
    path = "/prices/present?model=bot&version=latest"
    unknown = admin.done("GET", path)
    assert (unknown["source"], unknown["usd_per_million"]) == ("unknown", None)
    assert (unknown["base_url"], unknown["upstream_model"]) == (URL, "gpt")

    world.published[GPT] = (Dated(0, Rates(1_000_000, 3_000_000)),)
    assert world.services.prices.look_up() == 1
    assert world.services.prices.look_up() == 0
    found = admin.done("GET", path)
    assert (found["source"], found["usd_per_million"], found["since"]) == (
        "published",
        CHEAP,
        None,
    )

    set_price(admin, DEAR, effective_from="2025-12-31T00:00:00Z")
    own = admin.done("GET", path)
    assert (own["source"], own["usd_per_million"]) == ("own", DEAR)
    assert own["since"] == "2025-12-31T00:00:00.000Z"
    before = admin.done("GET", f"{path}&at=2025-12-30T00:00:00Z")
    assert before["source"] == "published"


def test_a_new_edition_of_the_published_prices_is_looked_up_by_the_next_process(
    admin: Api, world: World
) -> None:
    world.services.prices.look_up()
    world.edition = "prices 2"
    world.published[GPT] = (Dated(0, Rates(1_000_000, 3_000_000)),)
    anew = replace(world.services.prices, _mark=_Mark())

    assert anew.look_up() == 1
    assert admin.done("GET", "/prices/present?model=bot&version=latest")["source"] == "published"


def test_a_look_up_that_failed_is_tried_again_after_five_minutes(world: World) -> None:
    asked: list[int] = []

    def fails(_: object) -> dict[Upstream, Timeline]:
        asked.append(world.now)
        raise OSError("no memory")

    prices = replace(world.services.prices, published=fails, _mark=_Mark())
    for _ in range(3):
        with suppress(OSError):
            prices.look_up()
    assert asked == [NOW]

    world.now += 5 * 60_000
    with pytest.raises(OSError, match="no memory"):
        prices.look_up()


def test_cost_is_unknown_without_a_price_and_never_nothing(admin: Api, world: World) -> None:
    measured(world, NOW - 60_000, {"input": 1000, "output": 100})

    assert cost(admin) is None


def test_cost_of_the_past_is_that_of_the_price_of_its_minute(admin: Api, world: World) -> None:
    measured(world, NOW - 120_000, {"input": 1000, "output": 100})
    measured(world, NOW - 60_000, {"input": 1000, "output": 100})
    set_price(admin, CHEAP)
    set_price(admin, DEAR, effective_from="2025-12-31T23:59:00Z")

    assert cost(admin) == pytest.approx((1000 * 1 + 100 * 3 + 1000 * 10 + 100 * 30) / 1e6)


def test_a_sum_of_which_a_minute_is_unknown_is_unknown(admin: Api, world: World) -> None:
    measured(world, NOW - 120_000, {"input": 1000})
    measured(world, NOW - 60_000, {"input": 1000})
    set_price(admin, DEAR, effective_from="2025-12-31T23:59:00Z")

    assert cost(admin) is None
    steps = admin.done("GET", "/measurements?model=bot&step=1m")["items"]
    assert [step["cost_usd"] for step in steps] == [None, 0.01]


def test_a_comparison_shows_what_an_answer_costs(admin: Api, world: World) -> None:
    measured(world, NOW - 60_000, {"input": 1000, "output": 0}, "1.0.0")
    measured(world, NOW - 60_000, {"input": 3000, "output": 0}, "2.0.0")
    path = "/models/bot/versions/1.0.0/comparison?with=2.0.0"
    rows = {row["metric"]: row for row in admin.done("GET", path)["measured"]}
    assert rows["cost_usd"]["old"] == {"value": None, "interval": None, "n": 1}
    assert (rows["cost_usd"]["difference"], rows["cost_usd"]["ratio"]) == (None, None)

    set_price(admin, DEAR)
    rows = {row["metric"]: row for row in admin.done("GET", path)["measured"]}
    assert rows["cost_usd"]["old"]["value"] == pytest.approx(0.01)
    assert rows["cost_usd"]["new"]["value"] == pytest.approx(0.03)
    assert rows["cost_usd"]["ratio"] == pytest.approx(3)


@pytest.mark.parametrize("role", ["viewer", "deployer", "caller"])
def test_only_administrators_set_prices(api: MakeApi, role: str) -> None:
    body = {"upstream_model": "gpt", "usd_per_million": DEAR}
    assert api(role)("PUT", "/prices", body).status_code == 403
    assert api(role)("DELETE", "/prices?upstream_model=gpt").status_code == 403
    assert api(role)("GET", "/prices").status_code == (403 if role == "caller" else 200)


def test_prices_are_of_all_models(api: MakeApi) -> None:
    body = {"upstream_model": "gpt", "usd_per_million": DEAR}
    answer = api("admin", models=("bot",))("PUT", "/prices", body)

    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"host": "https://x"}, "/host"),
        ({"upstream_model": " "}, "/upstream_model"),
        ({"usd_per_million": {"output": 1}}, "/usd_per_million/input"),
        ({"usd_per_million": {"input": -1}}, "/usd_per_million/input"),
        ({"usd_per_million": {"input": 1, "output": 0.0000001}}, "/usd_per_million/output"),
        ({"effective_from": "soon"}, "/effective_from"),
    ],
)
def test_a_wrong_price_is_refused_where_it_is_wrong(
    admin: Api, more: dict[str, Any], pointer: str
) -> None:
    body = {"upstream_model": "gpt", "usd_per_million": DEAR, **more}
    answer = admin("PUT", "/prices", body)

    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.get_json()["errors"]] == [pointer]


# Metrics


def test_metrics_tell_what_keys_did_and_versions_cost_and_what_is_unknown(
    admin: Api, world: World
) -> None:
    arm = {"key": "stable", "version": "1.0.0", "role": "stable", "share_bp": 10_000}
    admin.done("PUT", "/routes/bot/production", {"rules": [{"when": {}, "arms": [arm]}]})
    key = admin.done("POST", "/keys", {"name": "shop", "role": "caller"})["id"]
    gone = admin.done("POST", "/keys", {"name": "old", "role": "caller"})["id"]
    admin.done("DELETE", f"/keys/{gone}")
    counts = {
        (key, "outcome", "ok"): 2,
        (key, "token", "input"): 70,
        (key, "cost", "nano_usd"): 1_500_000_000,
        (key, "cost", "unpriced"): 3,
        (gone, "outcome", "ok"): 1,
    }
    costs = {
        ("bot", "production", "1.0.0", "nano_usd"): 2_500_000_000,
        ("bot", "production", "2.0.0", "unpriced"): 4,
    }
    with world.begin() as work:
        work.gateways.start(boot="b", host="h", pid=1)
        batch = Batch(boot="b", seq=1, applied_generation=1, key_counts=counts, costs=costs)
        work.gateways.flush(batch)
        work.commit()

    text = admin("GET", "//metrics").get_data(as_text=True)
    of_1, of_2 = (f'{{environment="production",model="bot",version="{n}.0.0"}}' for n in (1, 2))
    told = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))

    assert told[f"headway_cost_usd_total{of_1}"] == "2.5"
    assert f"headway_cost_usd_total{of_2}" not in told
    assert told[f"headway_unpriced_requests_total{of_2}"] == "4.0"
    assert told[f"headway_price_known{of_1}"] == "0.0"
    assert told[f'headway_key_requests_total{{key="{key}",outcome="ok"}}'] == "2.0"
    assert told[f'headway_key_requests_total{{key="{key}",outcome="policy"}}'] == "0.0"
    assert told[f'headway_key_tokens_total{{class="input",key="{key}"}}'] == "70.0"
    assert told[f'headway_key_cost_usd_total{{key="{key}"}}'] == "1.5"
    assert told[f'headway_key_unpriced_requests_total{{key="{key}"}}'] == "3.0"
    assert gone not in text
    set_price(admin, DEAR)
    assert f"headway_price_known{of_1} 1.0" in admin("GET", "//metrics").get_data(as_text=True)


@pytest.mark.parametrize(
    ("host", "model", "called"),
    [
        ("*", "gpt", True),
        ("API.example.com", "gpt", True),
        ("elsewhere.example.com", "gpt", False),
        ("api.example.com", "bot", False),
        ("*", "bot", False),
    ],
)
def test_a_price_says_whether_any_version_calls_that_model(
    admin: Api, host: str, model: str, *, called: bool
) -> None:
    assert set_price(admin, DEAR, host=host, upstream_model=model)["called"] is called
