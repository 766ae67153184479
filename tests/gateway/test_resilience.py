"""A provider that fails is left alone for a while, and retries never multiply its load."""

import threading
from typing import Any

import openai
import pytest
from tests.gateway.conftest import Traffic
from tests.gateway.test_chat_traffic import chat

from headway.gateway.resilience import Breaker, Resilience, Resiliences, State
from headway.routing.route import Epoch
from headway.testing.gateway import route_of
from headway.testing.provider import Ending, Received, Reply, pleasant
from headway.wire.upstream_connection import PoolLimits


def told(breaker: Breaker, at: float, *, good: bool) -> None:
    """Let a request through, and tell how it ended."""
    leave = breaker.admit(at)
    assert leave is not None
    leave.ended(at, good=good)


def broken(at: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(5):
        told(breaker, at, good=False)
    return breaker


def test_healthy_provider_gets_everything() -> None:
    breaker = Breaker()
    for second in range(1000):
        told(breaker, second, good=second % 4 != 0)
    assert breaker.state is State.CLOSED


def test_five_failures_in_a_row_open_it_for_a_second() -> None:
    breaker = broken(at=100.0)
    assert breaker.state is State.OPEN
    assert breaker.admit(100.4) is None
    assert breaker.wait(100.4) == pytest.approx(0.6)


def test_half_of_many_failing_opens_it() -> None:
    breaker = Breaker()
    for i in range(10):
        told(breaker, 1.0, good=i % 2 == 0)
    assert breaker.state is State.OPEN


def test_failures_that_lie_far_apart_do_not_add_up() -> None:
    breaker = Breaker()
    for i in range(40):
        told(breaker, i * 6.0, good=i % 2 == 0)
    assert breaker.state is State.CLOSED


def test_one_request_tries_and_nobody_beside_it() -> None:
    breaker = broken(at=0.0)
    probe = breaker.admit(1.0)
    assert probe is not None
    assert breaker.admit(1.0) is None
    probe.ended(1.5, good=True)
    assert breaker.state is State.CLOSED
    assert breaker.admit(1.5) is not None


def test_each_probe_that_fails_doubles_the_rest_up_to_half_a_minute() -> None:
    breaker = broken(at=0.0)
    now, rests = 0.0, []
    for _ in range(8):
        wait = breaker.wait(now)
        rests.append(wait)
        now += wait
        told(breaker, now, good=False)
    assert rests == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30])


def test_probe_that_is_never_heard_of_again_is_replaced() -> None:
    breaker = broken(at=0.0)
    assert breaker.admit(1.0) is not None
    assert breaker.admit(30.0) is None
    assert breaker.admit(61.0) is not None


def test_probe_whose_caller_left_is_replaced_at_once() -> None:
    breaker = broken(at=0.0)
    probe = breaker.admit(1.0)
    assert probe is not None
    probe.ended(1.2, good=None)
    assert breaker.admit(1.2) is not None


@pytest.mark.parametrize("good", [True, False, None])
def test_what_was_sent_before_it_opened_is_not_taken_for_the_one_that_tries(
    good: bool | None,  # noqa: FBT001 - a parameter of the test
) -> None:
    breaker = Breaker()
    early = breaker.admit(0.0)
    assert early is not None
    for _ in range(5):
        told(breaker, 0.0, good=False)
    early.ended(0.5, good=good)
    assert breaker.admit(0.9) is None
    probe = breaker.admit(1.0)
    assert probe is not None
    early.ended(1.1, good=good)
    assert breaker.admit(1.1) is None
    probe.ended(1.2, good=True)
    assert breaker.state is State.CLOSED


def test_failures_from_before_a_rest_do_not_open_it_anew() -> None:
    breaker = Breaker()
    early = [breaker.admit(0.0) for _ in range(10)]
    for _ in range(5):
        told(breaker, 0.0, good=False)
    told(breaker, 1.0, good=True)
    for leave in early:
        assert leave is not None
        leave.ended(1.1, good=False)
    assert breaker.state is State.CLOSED


def test_retries_are_a_fifth_of_the_requests_at_most_however_long_a_failure_lasts() -> None:
    known, retries = Resilience(), 0
    for requests in range(1, 5_001):
        known.sent()
        while known.may_retry:
            known.retried()
            retries += 1
        assert retries <= max(requests, 200) / 5
    assert retries > 5_000 / 7


def test_quiet_version_has_a_few_retries_saved_up_and_no_more() -> None:
    known = Resilience()
    for _ in range(10_000):
        known.sent()
    retries = 0
    while known.may_retry:
        known.retried()
        retries += 1
    assert retries == 10


def test_each_version_fares_for_itself_and_memory_is_bounded() -> None:
    known = Resiliences()
    first = known.of("sha256:a")
    assert known.of("sha256:a") is first
    assert known.of("sha256:b") is not first
    for number in range(5_000):
        known.of(str(number))
    assert known.of("sha256:a") is not first


# Through the front door


def hello(traffic: Traffic, *, retries: int = 0, **more: Any) -> Any:  # noqa: ANN401 - the SDK's
    client = traffic.client().with_options(max_retries=retries)
    return client.chat.completions.create(
        model="bot", messages=[{"role": "user", "content": "?"}], **more
    )


def fails(_: Received) -> Reply:
    return Reply(status=500, error="the engine fell over")


@pytest.mark.parametrize("retries", range(5))
def test_one_failing_call_of_an_sdk_costs_at_most_five_upstream_calls(
    traffic: Traffic, retries: int
) -> None:
    traffic.serve(
        route_of("bot", [("stable", "1.0.0", 10_000)], fallback="2.0.0"),
        versions={
            ("bot", "1.0.0"): traffic.target(retries=retries),
            ("bot", "2.0.0"): traffic.target(retries=retries, model="other"),
        },
    )
    traffic.provider.script = fails
    with pytest.raises(openai.InternalServerError):
        hello(traffic, retries=2)
    assert retries < len(traffic.provider.requests) <= 5


def test_open_breaker_answers_at_once_and_one_request_tries(traffic: Traffic) -> None:
    traffic.provider.script = fails
    for _ in range(5):
        with pytest.raises(openai.InternalServerError):
            hello(traffic)
    with pytest.raises(openai.InternalServerError) as raised:
        hello(traffic)
    assert raised.value.code == "circuit_open"
    assert raised.value.response.headers["retry-after"] == "1"
    assert len(traffic.provider.requests) == 5

    traffic.provider.script = pleasant
    clock = traffic.gateway.on_loop(traffic.gateway.gateway.pipeline.monotonic)
    traffic.gateway.gateway.pipeline.monotonic = lambda: clock + 2
    assert hello(traffic).choices
    assert hello(traffic).choices


def test_callers_mistakes_open_no_breaker(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(status=400, error="no such parameter")
    for _ in range(8):
        with pytest.raises(openai.BadRequestError):
            hello(traffic)
    assert len(traffic.provider.requests) == 8


def test_no_breaker_opens_while_a_deployment_is_judged(traffic: Traffic) -> None:
    """What it held back would be missing in the evidence."""
    epoch = Epoch(deployment="dep_1", step=0, alpha=0.01, first_gateway=1, ages={})
    arms = [("stable", "1.0.0", 10_000)]
    traffic.serve(route_of("bot", arms, epoch=epoch))
    traffic.provider.script = fails
    for _ in range(8):
        with pytest.raises(openai.InternalServerError):
            hello(traffic)
    assert len(traffic.provider.requests) == 8


def test_stream_that_fails_before_its_first_content_is_answered_by_the_fallback(
    traffic: Traffic,
) -> None:
    traffic.serve(
        route_of("bot", [("stable", "1.0.0", 10_000)], fallback="2.0.0"),
        versions={
            ("bot", "1.0.0"): traffic.target(),
            ("bot", "2.0.0"): traffic.target(model="other"),
        },
    )
    traffic.provider.script = lambda asked: (
        Reply(text="Hello") if asked.json["model"] == "other" else Reply(end=Ending.CUT, after=0)
    )
    chunks = list(hello(traffic, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello"
    assert [chunk.choices[0].delta.role for chunk in chunks].count("assistant") == 1
    assert traffic.gateway.outcomes() == {"1.0.0": {"provider": 1}, "2.0.0": {"ok": 1}}


def test_stream_that_fails_before_its_first_content_is_tried_again(traffic: Traffic) -> None:
    traffic.serve(versions={("bot", "1.0.0"): traffic.target(retries=1)})
    traffic.provider.script = lambda _: (
        Reply(end=Ending.ERROR_EVENT, after=0)
        if len(traffic.provider.requests) == 1
        else Reply(text="Hello")
    )
    chunks = list(hello(traffic, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello"


def test_stream_that_begins_and_says_nothing_ends_in_time(traffic: Traffic) -> None:
    target = traffic.target(timeouts={"first": "500ms", "idle": "30s", "total": "60s"})
    traffic.serve(versions={("bot", "1.0.0"): target})
    traffic.provider.script = lambda _: Reply(end=Ending.STALL, after=0)
    with pytest.raises(openai.InternalServerError) as raised:
        hello(traffic, stream=True)
    assert raised.value.status_code == 504


def test_more_requests_than_connections_are_refused_at_once_and_told_when_to_come_again(
    traffic: Traffic,
) -> None:
    came = threading.Event()
    over = threading.Event()

    def slowly(_: Received) -> Reply:
        came.set()
        return Reply(delay_s=0.5)

    traffic.provider.script = slowly
    traffic.gateway._pool.limits = PoolLimits(connections=1)

    def ask_first() -> None:
        chat(traffic)
        over.set()

    first = threading.Thread(target=ask_first)
    first.start()
    came.wait(10)
    status, fields, answer = chat(traffic)
    assert not over.is_set()
    assert (status, fields["retry-after"]) == (503, "1")
    assert answer["error"]["code"] == "overloaded"
    first.join()
    assert chat(traffic)[0] == 200
