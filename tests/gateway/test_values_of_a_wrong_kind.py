"""A list or an object where a word belongs is the caller's mistake, or the provider's."""

import json
from typing import Any

import httpx2
import pytest
from tests.gateway.conftest import Traffic

from headway.testing.provider import Reply

HELLO = [{"role": "user", "content": "hello"}]
CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
FIND = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}


def ask(traffic: Traffic, path: str, **body: object) -> httpx2.Response:
    with httpx2.Client(base_url=traffic.gateway.url) as client:
        return client.post(
            path,
            json={"model": "bot", **body},
            headers={"authorization": f"Bearer {traffic.gateway.key}"},
        )


def serve(traffic: Traffic, provider: str, **more: object) -> None:
    target = traffic.target(provider=provider, **more)
    traffic.serve(versions={("bot", "1.0.0"): target})


@pytest.mark.parametrize("kind", [[], {}, ["user"], {"a": 1}])
@pytest.mark.parametrize(
    ("speaks", "path", "member"),
    [
        ("anthropic", CHAT, "role"),
        ("anthropic", CHAT, "part"),
        ("openai", MESSAGES, "role"),
        ("openai", MESSAGES, "tool_choice"),
        ("anthropic", RESPONSES, "role"),
    ],
)
def test_request_that_would_be_translated_is_refused(
    traffic: Traffic,
    speaks: str,
    path: str,
    member: str,
    kind: Any,  # noqa: ANN401 - whatever the test says
) -> None:
    serve(traffic, speaks)
    messages: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
    more: dict[str, Any] = {"max_tokens": 9} if path == MESSAGES else {}
    if member == "role":
        messages[0]["role"] = kind
    elif member == "part":
        messages[0]["content"] = [{"type": kind, "text": "hello"}]
    else:
        more["tool_choice"] = {"type": kind}
    more["input" if path == RESPONSES else "messages"] = messages

    answer = ask(traffic, path, **more)

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert traffic.provider.requests == []


def test_role_of_a_wrong_kind_passes_to_who_can_judge_it(traffic: Traffic) -> None:
    serve(traffic, "openai", prompt={"system": "Be kind."})
    answer = ask(traffic, CHAT, messages=[{"role": [], "content": "hello"}])
    assert answer.status_code == 200
    assert traffic.provider.requests[0].json["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": [], "content": "hello"},
    ]


@pytest.mark.parametrize("path", [MESSAGES, MESSAGES + "/count_tokens"])
def test_tool_with_a_name_of_a_wrong_kind_passes_beside_the_versions(
    traffic: Traffic, path: str
) -> None:
    serve(traffic, "anthropic", tools=[FIND])
    answer = ask(traffic, path, max_tokens=9, messages=HELLO, tools=[{"name": ["a"]}])
    assert answer.status_code == 200
    names = [tool["name"] for tool in traffic.provider.requests[0].json["tools"]]
    assert names == [["a"], "find"]


@pytest.mark.parametrize("reason", [[], {}, ["stop"]])
@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_answer_that_ends_for_no_word_is_the_providers_fault(
    traffic: Traffic,
    path: str,
    reason: Any,  # noqa: ANN401 - whatever the test says
) -> None:
    serve(traffic, "openai", apis=["chat"])
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}}
    body = {"id": "c", "choices": [{**choice, "finish_reason": reason}]}
    traffic.provider.script = lambda _: Reply(body=json.dumps(body).encode())
    said = {"input": "hello"} if path == RESPONSES else {"messages": HELLO, "max_tokens": 9}
    assert ask(traffic, path, **said).status_code == 502


def test_time_that_no_client_reads_is_left_out(traffic: Traffic) -> None:
    serve(traffic, "openai", apis=["chat"])
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "x"},
        "finish_reason": "stop",
    }
    body = {"id": "c", "created": 1e308, "choices": [choice]}
    traffic.provider.script = lambda _: Reply(body=json.dumps(body).encode())
    answer = ask(traffic, RESPONSES, input="hello")
    assert answer.status_code == 200, answer.text
    assert answer.json()["created_at"] < 1 << 53


def test_response_with_a_status_that_is_no_word_is_the_providers_fault(traffic: Traffic) -> None:
    serve(traffic, "openai", apis=["responses"])
    body = {"id": "r", "object": "response", "status": ["completed"], "output": []}
    traffic.provider.script = lambda _: Reply(body=json.dumps(body).encode())
    assert ask(traffic, RESPONSES, input="hello").status_code == 502


@pytest.mark.parametrize(
    ("speaks", "path", "more", "param", "words"),
    [
        ("openai", MESSAGES, {"tools": [{}]}, "tools.0.name", "a text"),
        ("openai", MESSAGES, {"tools": [{"name": "f"}]}, "tools.0.input_schema", "an object"),
        ("openai", MESSAGES, {"system": [{"type": "text", "text": 5}]}, "system.0.text", "a text"),
        ("anthropic", CHAT, {"tools": [{"type": "function"}]}, "tools[0].function", "an object"),
        (
            "anthropic",
            CHAT,
            {"tools": [{"type": "function", "function": {}}]},
            "tools[0].function.name",
            "a text",
        ),
        (
            "anthropic",
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
            "messages[0].content[0].text",
            "a text",
        ),
        ("anthropic", RESPONSES, {"tools": [{"type": "function"}]}, "tools[0].name", "a text"),
    ],
)
def test_what_is_missing_or_of_a_wrong_kind_is_named(
    traffic: Traffic,
    speaks: str,
    path: str,
    more: dict[str, Any],
    param: str,
    words: str,
) -> None:
    serve(traffic, speaks)
    asked: dict[str, Any] = {"input": "hello"} if path == RESPONSES else {"messages": HELLO}
    asked |= {"max_tokens": 9} if path == MESSAGES else {}
    answer = ask(traffic, path, **(asked | more))
    assert answer.status_code == 400
    assert f"`{param}` must be {words}" in answer.json()["error"]["message"]
