"""One line per request for who wants it, of what may be said, and nothing that a caller wrote."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from tests.gateway.conftest import Traffic, prepare
from tests.gateway.test_chat_traffic import chat, raw

from headway.adapters.outbound import Outbound
from headway.testing.gateway import RunningGateway
from headway.testing.provider import Reply, ScriptedProvider
from headway.wiring.logs import FIELDS

_TOLD = {
    "request_id", "method", "path", "status", "outcome", "key", "model", "version", "environment",
    "latency_ms", "first_ms", "input_tokens", "output_tokens",
}  # fmt: skip


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def traffic(
    provider: ScriptedProvider, official: openai.OpenAI, lines: list[dict[str, Any]]
) -> Iterator[Traffic]:
    with RunningGateway(
        prepare=prepare(),
        connect=Outbound(loopback_open=True).connect,
        pipeline_options={"access": lines.append},
    ) as gateway:
        found = Traffic(gateway, provider, official)
        found.serve()
        yield found
        assert gateway.faults == []


def test_an_answer_is_one_line(traffic: Traffic, lines: list[dict[str, Any]]) -> None:
    _, fields, _ = chat(traffic)

    [line] = lines
    assert line.pop("latency_ms") > 0
    assert line == {
        "request_id": fields["x-request-id"],
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "outcome": "ok",
        "key": traffic.gateway.key[3:11],
        "model": "bot",
        "version": "1.0.0",
        "environment": "production",
        "first_ms": None,
        "input_tokens": line["input_tokens"],
        "output_tokens": len(Reply().text.split()),
    }


def test_a_stream_is_one_line_too(traffic: Traffic, lines: list[dict[str, Any]]) -> None:
    stream = traffic.client().chat.completions.create(
        model="bot", messages=[{"role": "user", "content": "hello"}], stream=True
    )
    assert len(list(stream)) > 2

    [line] = lines
    assert (line["status"], line["outcome"]) == (200, "ok")
    assert line["first_ms"] > 0
    assert line["output_tokens"] == len(Reply().text.split())


def test_what_is_refused_is_a_line_without_a_version(
    traffic: Traffic, lines: list[dict[str, Any]]
) -> None:
    chat(traffic, "nope")
    raw(traffic, "POST", "/v1/chat/completions", b"{", authorization="Bearer hw_wrong")
    raw(traffic, "POST", "/v1/chat/completions", b"{")

    found = [(line["status"], line["outcome"], line["version"]) for line in lines]
    assert found == [(404, "caller", ""), (401, "policy", ""), (400, "caller", "")]


def test_a_failure_is_a_line_with_what_its_caller_saw(
    traffic: Traffic, lines: list[dict[str, Any]]
) -> None:
    traffic.provider.script = lambda _: Reply(status=500)
    chat(traffic)

    [line] = lines
    assert line["status"] >= 500
    assert (line["outcome"], line["version"]) == ("provider", "1.0.0")


def test_nothing_that_a_caller_wrote_is_in_it(
    traffic: Traffic, lines: list[dict[str, Any]]
) -> None:
    canary = "canary-of-the-caller"
    raw(
        traffic,
        "POST",
        f"/v1/chat/completions?{canary}=1",
        b'{"model": "bot", "messages": [{"role": "user", "content": "canary-of-the-caller"}]}',
        headway_conversation=canary,
        traceparent=canary,
        user_agent=canary,
    )
    chat(traffic, canary)

    assert len(lines) == 2
    assert canary not in str(lines)
    assert traffic.gateway.key not in str(lines)
    assert {name for line in lines for name in line} == _TOLD <= FIELDS
