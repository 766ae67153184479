"""How long is waited: as long as a caller, and each version for itself, says."""

import json
import time
from typing import Any

import openai
import pytest
from tests.gateway.conftest import Traffic
from tests.gateway.test_truth import gone

from headway.testing.gateway import route_of
from headway.testing.provider import Received, Reply

HELLO: Any = [{"role": "user", "content": "hello there"}]


def with_fallback(traffic: Traffic, **more: Any) -> None:  # noqa: ANN401 - of the target
    traffic.serve(
        route_of("bot", [("stable", "1.0.0", 10_000)], fallback="2.0.0"),
        versions={
            ("bot", "1.0.0"): traffic.target(**more),
            ("bot", "2.0.0"): traffic.target(model="other", **more),
        },
    )


def said(chunks: Any) -> str:  # noqa: ANN401 - the SDK's
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_stream_may_take_longer_than_its_client_waits_for_one_event(traffic: Traffic) -> None:
    """The time-out that clients tell is between two reads, not for all of them."""
    traffic.provider.script = lambda _: Reply(gap_s=0.05, text="word " * 30)
    client = traffic.client().with_options(timeout=0.8)
    chunks = list(client.chat.completions.create(model="bot", messages=HELLO, stream=True))
    assert said(chunks).count("word") == 30
    assert traffic.gateway.outcomes() == {"1.0.0": {"ok": 1}}


def test_impatient_callers_close_a_version_to_nobody_else(traffic: Traffic) -> None:
    """Who waits too briefly is one who left: neither a failure nor a reason to spare anybody."""
    with_fallback(traffic)
    traffic.gateway.gateway.pipeline.most_reading_on = 0
    traffic.provider.script = lambda _: Reply(delay_s=1.5)
    for _ in range(6):
        wait_briefly(traffic)
    traffic.provider.script = lambda _: Reply()
    traffic.client().chat.completions.create(model="bot", messages=HELLO)
    assert traffic.gateway.outcomes() == {"1.0.0": {"gone": 6, "ok": 1}}


def test_what_a_caller_waits_for_no_longer_is_counted_to_its_last_token(traffic: Traffic) -> None:
    """It costs what it costs, whoever ended first."""
    traffic.provider.script = lambda _: Reply(delay_s=0.8, text="word " * 9)
    wait_briefly(traffic)
    measured = gone(traffic)
    assert measured.outcomes == {"gone": 1}
    assert measured.tokens == {"input": 2, "output": 10}


def wait_briefly(traffic: Traffic) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        traffic.client().chat.completions.create(
            model="bot", messages=HELLO, extra_headers={"x-stainless-read-timeout": "0.01"}
        )
    assert (raised.value.status_code, raised.value.code) == (504, "caller_timeout")


def test_fallback_has_its_own_time_for_the_first_content(traffic: Traffic) -> None:
    with_fallback(traffic, timeouts={"first": "500ms", "idle": "1s", "total": "10s"})

    def script(asked: Received) -> Reply:
        return Reply(gap_s=0.4) if asked.json["model"] == "other" else Reply(delay_s=3)

    traffic.provider.script = script
    chunks = list(
        traffic.client().chat.completions.create(model="bot", messages=HELLO, stream=True)
    )
    assert said(chunks) == Reply().text


def test_fallback_has_what_is_left_of_the_time_for_the_whole(traffic: Traffic) -> None:
    with_fallback(traffic, timeouts={"first": "1500ms", "idle": "9s", "total": "2s"})
    traffic.provider.script = lambda _: Reply(delay_s=30)
    began = time.monotonic()
    with pytest.raises(openai.InternalServerError) as raised:
        traffic.client().chat.completions.create(model="bot", messages=HELLO)
    assert raised.value.status_code == 504
    # Alone it would be silent for another 1.5 s, and the time-outs are looked at every 250 ms.
    assert time.monotonic() - began < 2.9
    assert len(traffic.provider.requests) == 2


def test_fallback_is_not_asked_once_its_time_is_over(traffic: Traffic) -> None:
    with_fallback(traffic, timeouts={"first": "500ms", "idle": "500ms", "total": "500ms"})
    traffic.provider.script = lambda _: Reply(delay_s=30)
    with pytest.raises(openai.InternalServerError):
        traffic.client().chat.completions.create(model="bot", messages=HELLO)
    assert len(traffic.provider.requests) == 1


def test_tokens_of_an_answer_that_was_none_are_counted_when_another_answers(
    traffic: Traffic,
) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    none = json.dumps({"choices": [], "usage": usage}).encode()
    with_fallback(traffic)
    traffic.provider.script = lambda asked: (
        Reply() if asked.json["model"] == "other" else Reply(body=none)
    )
    traffic.client().chat.completions.create(model="bot", messages=HELLO)
    tokens = {each.version: each.tokens for each in traffic.gateway.taken().measurements}
    assert tokens["1.0.0"] == {"input": 7, "output": 5}
