"""Keys with paths and limits, as the official clients meet them."""

# ruff: noqa: ANN401 - what the official clients take and return

import json
import threading
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from tests.chaos.running import until
from tests.gateway.conftest import Traffic

from headway.auth.key import Secret
from headway.gateway.exchange import Fields
from headway.kernel.clock import MINUTE
from headway.testing.gateway import key_entry, route_of
from headway.testing.provider import Received, Reply
from headway.tracking.measurement import Others

NOON = 1_790_000_000_000 - 1_790_000_000_000 % MINUTE
HELLO: Any = [{"role": "user", "content": "hello"}]


class Limited:
    """A gateway whose clock stands, and a key with limits."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.now = NOON
        self.secret = Secret.generate()
        traffic.gateway.clock = lambda: self.now

    def by(self, *, price: Any = (), **more: Any) -> None:
        """Give the key limits, or paths; `price`: of what the version calls, as in documents."""
        gateway = self.traffic.gateway
        self.traffic.serve(
            route_of("bot", [("stable", "1.0.0", 10_000)]),
            prices={("bot", "1.0.0"): price},
            keys=[key_entry(self.secret.text, gateway.digest, role="caller", **more)],
        )

    @property
    def openai(self) -> openai.OpenAI:
        return self.traffic.client(self.secret.text)

    def ask(self, **more: Any) -> Any:
        return self.openai.chat.completions.create(model="bot", messages=HELLO, **more)

    def head(self) -> Fields:
        raw = self.openai.chat.completions.with_raw_response.create(model="bot", messages=HELLO)
        return {name.encode(): value.encode() for name, value in raw.headers.items()}


@pytest.fixture
def limited(traffic: Traffic) -> Limited:
    return Limited(traffic)


def test_requests_beyond_the_limit_of_a_minute_are_refused_until_it_is_over(
    limited: Limited,
) -> None:
    limited.by(limits={"requests": 2})
    limited.now = NOON + 18_500

    limited.ask()
    limited.ask()
    with pytest.raises(openai.RateLimitError) as refused:
        limited.ask()

    answer = refused.value.response
    assert refused.value.code == "rate_limit_exceeded"
    assert answer.headers["retry-after"] == "42"
    assert answer.headers["x-should-retry"] == "true"
    assert len(limited.traffic.provider.requests) == 2
    limited.now = NOON + MINUTE
    limited.ask()


def test_a_refusal_is_counted_as_policy_and_against_no_version(limited: Limited) -> None:
    limited.by(limits={"requests": 1})
    limited.ask()
    with pytest.raises(openai.RateLimitError):
        limited.ask()

    batch = limited.traffic.gateway.taken()
    assert [dict(one.outcomes) for one in batch.measurements] == [{"ok": 1}]
    assert batch.unrouted == {"policy": 1}


def test_every_answer_says_what_is_left_in_the_words_of_both_dialects(limited: Limited) -> None:
    limited.by(limits={"requests": 5, "tokens": 1000})
    limited.now = NOON + 1
    limited.ask()
    used = limited.traffic.gateway.taken().measurements[0].tokens

    head = limited.head()

    left = 1000 - used["input"] - used["output"]
    assert head[b"x-ratelimit-limit-requests"] == b"5"
    assert head[b"x-ratelimit-remaining-requests"] == b"3"
    assert head[b"x-ratelimit-reset-requests"] == b"60s"
    assert head[b"x-ratelimit-limit-tokens"] == b"1000"
    assert head[b"x-ratelimit-remaining-tokens"] == str(left).encode()
    assert head[b"anthropic-ratelimit-requests-limit"] == b"5"
    assert head[b"anthropic-ratelimit-requests-remaining"] == b"3"
    assert head[b"anthropic-ratelimit-requests-reset"] == b"2026-09-21T14:14:00Z"
    assert head[b"anthropic-ratelimit-tokens-remaining"] == str(left).encode()


def test_a_stream_and_a_refused_request_say_what_is_left_too(limited: Limited) -> None:
    limited.by(limits={"requests": 5})
    create = limited.openai.chat.completions.with_raw_response.create

    stream = create(model="bot", messages=HELLO, stream=True)
    assert stream.headers["x-ratelimit-remaining-requests"] == "4"
    with pytest.raises(openai.NotFoundError) as refused:
        create(model="nobody", messages=HELLO)
    assert refused.value.response.headers["x-ratelimit-remaining-requests"] == "3"


def test_what_the_provider_says_of_its_own_limits_contradicts_nothing(limited: Limited) -> None:
    fields = {"x-ratelimit-remaining-requests": "9999", "x-ratelimit-limit-project-tokens": "7"}
    limited.traffic.provider.script = lambda _: Reply(headers=fields)
    limited.by(limits={"requests": 5})

    assert limited.head()[b"x-ratelimit-remaining-requests"] == b"4"
    assert b"x-ratelimit-limit-project-tokens" not in limited.head()
    limited.by()
    assert limited.head()[b"x-ratelimit-remaining-requests"] == b"9999"


def test_tokens_are_paid_afterwards(limited: Limited) -> None:
    limited.by(limits={"tokens": 1})

    limited.ask()
    with pytest.raises(openai.RateLimitError, match="1 tokens a minute"):
        limited.ask()
    limited.now += MINUTE
    limited.ask()


def test_tokens_of_a_stream_count(limited: Limited) -> None:
    limited.by(limits={"tokens": 1})

    assert list(limited.ask(stream=True))
    with pytest.raises(openai.RateLimitError):
        limited.ask()


def test_no_more_requests_at_a_time_than_allowed(limited: Limited) -> None:
    limited.by(limits={"concurrent": 1})
    arrived, go_on = threading.Event(), threading.Event()

    def slow(_: Received) -> Reply:
        arrived.set()
        go_on.wait(5)
        return Reply()

    limited.traffic.provider.script = slow
    first = threading.Thread(target=limited.ask)
    first.start()
    assert arrived.wait(5)
    with pytest.raises(openai.RateLimitError, match="1 requests at a time") as refused:
        limited.ask()
    go_on.set()
    first.join()

    assert refused.value.response.headers["retry-after"] == "1"
    limited.ask()


def test_a_caller_who_left_makes_room_while_his_answer_is_read_on(limited: Limited) -> None:
    limited.by(limits={"concurrent": 1})
    limited.traffic.provider.script = lambda asked: Reply(
        gap_s=0.5 if asked.json.get("stream") else 0
    )
    gateway = limited.traffic.gateway
    pipeline = gateway.gateway.pipeline
    with limited.ask(stream=True) as stream:
        next(iter(stream))
    until(lambda: pipeline.reading_on == 1, seconds=5, what="a caller who left")

    limited.ask()
    assert gateway.on_loop(lambda: pipeline.reading_on) == 1


@pytest.mark.parametrize("reason", ["malformed", "unknown", "provider"])
def test_a_request_that_failed_is_under_way_no_more(limited: Limited, reason: str) -> None:
    limited.by(limits={"concurrent": 1})
    if reason == "provider":
        limited.traffic.provider.script = lambda _: Reply(status=500)
    model = "nobody" if reason == "unknown" else "bot"
    for _ in range(3):
        answer = httpx2.post(
            f"{limited.traffic.gateway.url}/v1/chat/completions",
            headers={"authorization": f"Bearer {limited.secret.text}"},
            json=[] if reason == "malformed" else {"model": model, "messages": HELLO},
        )
        assert answer.status_code == {"malformed": 400, "unknown": 404, "provider": 500}[reason]


def test_what_the_other_gateways_used_counts(limited: Limited) -> None:
    limited.by(limits={"requests": 10})
    gateway = limited.traffic.gateway
    key_id = limited.secret.id
    others = Others({("requests/minute", NOON, key_id): 9})
    gateway.on_loop(lambda: gateway.gateway.pipeline.spending.told(others))
    assert limited.head()[b"x-ratelimit-remaining-requests"] == b"0"
    with pytest.raises(openai.RateLimitError, match="10 requests a minute"):
        limited.ask()
    limited.now += MINUTE
    limited.ask()


def test_what_was_used_is_handed_over_once(limited: Limited) -> None:
    limited.by(limits={"requests": 10})
    limited.ask()
    limited.ask()
    batch = limited.traffic.gateway.taken()

    key_id = limited.secret.id
    tokens = batch.measurements[0].tokens
    assert batch.windows == {
        ("requests/minute", NOON, key_id): 2,
        ("tokens/minute", NOON, key_id): tokens["input"] + tokens["output"],
    }
    assert limited.traffic.gateway.taken().windows == {}


def test_a_limit_that_is_lowered_counts_what_was_used_before(limited: Limited) -> None:
    limited.by(limits={"requests": 10})
    limited.ask()
    limited.ask()

    limited.by(limits={"requests": 2})
    with pytest.raises(openai.RateLimitError):
        limited.ask()


def test_a_key_without_limits_is_told_nothing_of_any(limited: Limited) -> None:
    limited.by()
    assert not [name for name in limited.head() if b"ratelimit" in name]
    assert limited.traffic.gateway.taken().windows == {}


def test_anthropics_client_reads_the_refusal_as_its_own(limited: Limited) -> None:
    limited.by(limits={"requests": 1})
    client = anthropic.Anthropic(
        base_url=limited.traffic.gateway.url, api_key=limited.secret.text, max_retries=0
    )
    ask: Callable[[], Any] = lambda: client.messages.create(  # noqa: E731 - said twice
        model="bot", max_tokens=5, messages=HELLO
    )
    ask()
    with pytest.raises(anthropic.RateLimitError) as refused:
        ask()
    assert refused.value.response.json()["error"]["type"] == "rate_limit_error"
    assert refused.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"


# Paths


def test_a_key_calls_only_its_paths(limited: Limited) -> None:
    limited.by(paths=["/v1/chat/completions", "/v2/*"])
    limited.ask()

    with pytest.raises(openai.PermissionDeniedError) as refused:
        limited.openai.models.list()
    assert refused.value.code == "path_not_allowed"
    with pytest.raises(openai.PermissionDeniedError):
        limited.openai.embeddings.create(model="bot", input="x")
    answer = httpx2.get(
        f"{limited.traffic.gateway.url}/v2/models/bot",
        headers={"authorization": f"Bearer {limited.secret.text}"},
    )
    assert answer.status_code == 200


# Money

DAY = 24 * 3_600_000
TODAY = NOON - NOON % DAY
DEAR = {"input": 1_000_000_000_000, "output": 1_000_000_000_000}
"""A dollar a token, in pico-dollars."""


def used(limited: Limited) -> int:
    """Ask once; return how many tokens that took."""
    limited.ask()
    tokens = limited.traffic.gateway.taken().measurements[0].tokens
    return tokens["input"] + tokens["output"]


def test_a_budget_that_is_spent_is_refused_until_the_next_day(limited: Limited) -> None:
    limited.by(limits={"day": 1_000_000}, price=[[0, DEAR]])

    limited.ask()  # below its budget: let through, and paid afterwards
    with pytest.raises(openai.RateLimitError) as refused:
        limited.ask()

    assert refused.value.code == refused.value.type == "insufficient_quota"
    assert "$1 a day: the next day begins at 2026-09-22T00:00:00Z" in str(refused.value)
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert refused.value.response.headers["retry-after"] == "120"
    limited.now = TODAY + DAY - 1
    with pytest.raises(openai.RateLimitError):
        limited.ask()
    limited.now = TODAY + DAY
    limited.ask()


def test_an_sdk_that_is_told_of_a_spent_budget_does_not_ask_again(limited: Limited) -> None:
    limited.by(limits={"day": 1}, price=[[0, DEAR]])
    limited.ask()
    patient = limited.openai.with_options(max_retries=5)

    with pytest.raises(openai.RateLimitError):
        patient.chat.completions.create(model="bot", messages=HELLO)
    assert limited.traffic.gateway.taken().unrouted == {"policy": 1}


def test_a_day_ends_and_the_month_goes_on(limited: Limited) -> None:
    limited.by(limits={"day": 1, "month": 2}, price=[[0, DEAR]])
    limited.ask()
    limited.now = TODAY + DAY

    with pytest.raises(openai.RateLimitError, match="a month"):
        limited.ask()
    limited.now = TODAY + 20 * DAY  # in October
    limited.ask()


def test_what_a_request_cost_is_counted_to_the_nano_dollar(limited: Limited) -> None:
    price = [[0, {"input": 150_000, "output": 600_000}]]
    limited.by(limits={"day": 5_000_000, "month": 9_000_000}, price=price)
    limited.ask()
    batch = limited.traffic.gateway.taken()
    tokens, key_id = batch.measurements[0].tokens, limited.secret.id

    nano = tokens["input"] * 150 + tokens["output"] * 600
    month = NOON - 20 * DAY - NOON % DAY  # 1 September
    assert batch.windows[("usd/day", TODAY, key_id)] == nano
    assert batch.windows[("usd/month", month, key_id)] == nano
    assert batch.costs == {("bot", "production", "1.0.0", "nano_usd"): nano}
    assert batch.key_counts[(key_id, "cost", "nano_usd")] == nano
    assert batch.key_counts[(key_id, "outcome", "ok")] == 1
    assert batch.key_counts[(key_id, "token", "input")] == tokens["input"]


def test_without_a_price_a_budget_lets_through_and_says_that_it_does_not_know(
    limited: Limited,
) -> None:
    limited.by(limits={"day": 1})
    limited.ask()
    limited.ask()
    batch = limited.traffic.gateway.taken()

    key_id = limited.secret.id
    assert batch.windows[("unpriced/day", TODAY, key_id)] == 2
    assert ("usd/day", TODAY, key_id) not in batch.windows
    assert batch.costs == {("bot", "production", "1.0.0", "unpriced"): 2}
    assert batch.key_counts[(key_id, "cost", "unpriced")] == 2


def test_an_answer_that_tells_no_tokens_cost_something_that_nobody_knows(
    limited: Limited,
) -> None:
    limited.by(limits={"day": 1_000_000}, price=[[0, DEAR]])
    answer = {"id": "1", "object": "chat.completion", "model": "m", "choices": []}
    said = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "."}}
    body = json.dumps(answer | {"choices": [said]}).encode()
    limited.traffic.provider.script = lambda _: Reply(body=body)

    limited.ask()

    batch = limited.traffic.gateway.taken()
    assert batch.windows[("unpriced/day", TODAY, limited.secret.id)] == 1
    assert batch.costs == {("bot", "production", "1.0.0", "unpriced"): 1}


def test_a_budget_does_not_begin_anew_when_it_is_taken_away_and_given_back(
    limited: Limited,
) -> None:
    limited.by(limits={"day": 1_000_000}, price=[[0, DEAR]])
    limited.ask()
    limited.by(price=[[0, DEAR]])
    limited.ask()

    limited.by(limits={"day": 1_000_000}, price=[[0, DEAR]])
    with pytest.raises(openai.RateLimitError):
        limited.ask()


def test_a_price_counts_from_its_time_on(limited: Limited) -> None:
    price = [[0, {"input": 1000, "output": 1000}], [NOON + MINUTE, {"input": 0, "output": 0}]]
    limited.by(price=price)
    n = used(limited)
    limited.now = NOON + MINUTE
    limited.ask()

    assert limited.traffic.gateway.taken().costs == {("bot", "production", "1.0.0", "nano_usd"): 0}
    limited.now = NOON
    limited.ask()
    assert limited.traffic.gateway.taken().costs == {("bot", "production", "1.0.0", "nano_usd"): n}


def test_money_that_others_spent_counts(limited: Limited) -> None:
    limited.by(limits={"day": 1_000_000}, price=[[0, DEAR]])
    gateway = limited.traffic.gateway
    spent = Others({("usd/day", TODAY, limited.secret.id): 1_000_000_000})
    gateway.on_loop(lambda: gateway.gateway.pipeline.spending.told(spent))

    with pytest.raises(openai.RateLimitError):
        limited.ask()


def test_what_a_key_does_is_counted_by_its_outcome(limited: Limited) -> None:
    limited.by(limits={"requests": 2})
    limited.ask()
    with pytest.raises(openai.NotFoundError):
        limited.openai.chat.completions.create(model="nobody", messages=HELLO)
    with pytest.raises(openai.RateLimitError):
        limited.ask()
    counts = limited.traffic.gateway.taken().key_counts

    key_id = limited.secret.id
    outcomes = {name: n for (key, kind, name), n in counts.items() if kind == "outcome"}
    assert outcomes == {"ok": 1, "caller": 1, "policy": 1}
    assert {key for key, _, _ in counts} == {key_id}
