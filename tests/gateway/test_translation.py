"""Callers of one dialect are answered by a provider of another, as if it spoke theirs."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from tests.gateway.conftest import Traffic

from headway.testing.provider import Received, Reply

MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-upstream",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {"id": 7}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 3},
}
CLAUDE_EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("message_start", {"message": {**MESSAGE, "content": [], "stop_reason": None}}),
    ("ping", {}),
    (
        "content_block_start",
        {"index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    ),
    ("content_block_delta", {"index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}}),
    (
        "content_block_delta",
        {"index": 0, "delta": {"type": "signature_delta", "signature": "sig"}},
    ),
    ("content_block_stop", {"index": 0}),
    ("content_block_start", {"index": 1, "content_block": {"type": "text", "text": ""}}),
    ("content_block_delta", {"index": 1, "delta": {"type": "text_delta", "text": "Let me"}}),
    ("content_block_delta", {"index": 1, "delta": {"type": "text_delta", "text": " look."}}),
    ("content_block_stop", {"index": 1}),
    (
        "content_block_start",
        {
            "index": 2,
            "content_block": {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}},
        },
    ),
    (
        "content_block_delta",
        {"index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"id": 7}'}},
    ),
    ("content_block_stop", {"index": 2}),
    (
        "message_delta",
        {
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
    ),
    ("message_stop", {}),
]
TOOL: dict[str, Any] = {"type": "object", "properties": {"id": {"type": "integer"}}}


def claude_stream(events: list[tuple[str, dict[str, Any]]]) -> bytes:
    return b"".join(
        f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()
        for name, data in events
    )


def claude(received: Received) -> Reply:
    if received.json.get("stream"):
        return Reply(body=claude_stream(CLAUDE_EVENTS), content_type="text/event-stream")
    return Reply(body=json.dumps(MESSAGE).encode())


@pytest.fixture
def claudes(traffic: Traffic) -> Traffic:
    """`bot` is a Claude model at its provider."""
    target = traffic.target(
        provider="anthropic", base_url=traffic.provider.url, model="claude-upstream"
    )
    traffic.serve(versions={("bot", "1.0.0"): target})
    traffic.provider.script = claude
    return traffic


@pytest.fixture(scope="session")
def official_anthropic() -> Iterator[anthropic.Anthropic]:
    """The official client, once: what it sets up for TLS takes a tenth of a second."""
    with anthropic.Anthropic(
        base_url="http://127.0.0.1:1", api_key="none", max_retries=0, timeout=10.0
    ) as client:
        yield client


@pytest.fixture
def sdk(traffic: Traffic, official_anthropic: anthropic.Anthropic) -> anthropic.Anthropic:
    return official_anthropic.with_options(
        base_url=traffic.gateway.url, api_key=traffic.gateway.key
    )


def test_openai_client_asks_a_claude(claudes: Traffic) -> None:
    answer = claudes.client().chat.completions.create(
        model="bot",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Where is it?"},
        ],
        tools=[{"type": "function", "function": {"name": "find", "parameters": TOOL}}],
        tool_choice="required",
        temperature=1.5,
        stop="END",
        user="u-1",
        extra_body={"top_k": 5},
    )

    asked = claudes.provider.requests[-1]
    assert asked.path == "/v1/messages"
    assert asked.headers["x-api-key"] == "sk-canary-test"
    assert asked.headers["anthropic-version"] == "2023-06-01"
    assert asked.json == {
        "model": "claude-upstream",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Where is it?"}]}],
        "tools": [{"name": "find", "input_schema": TOOL}],
        "tool_choice": {"type": "any"},
        "max_tokens": 4096,
        "temperature": 1,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "top_k": 5,
    }
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me look."
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.id, call.function.name) == ("toolu_1", "find")
    assert json.loads(call.function.arguments) == {"id": 7}
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (15, 3)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 5
    assert claudes.gateway.outcomes() == {"1.0.0": {"ok": 1}}


def test_openai_client_streams_from_a_claude(claudes: Traffic) -> None:
    with claudes.client().chat.completions.stream(
        model="bot",
        messages=[{"role": "user", "content": "Where is it?"}],
        stream_options={"include_usage": True},
    ) as stream:
        answer = stream.get_final_completion()
    choice = answer.choices[0]
    assert choice.message.content == "Let me look."
    (call,) = choice.message.tool_calls or []
    assert call.function.arguments == '{"id": 7}'
    assert choice.finish_reason == "tool_calls"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (15, 3)


def test_reasoning_of_a_streamed_answer_goes_back_to_claude_word_for_word(
    claudes: Traffic,
) -> None:
    """It refuses a turn whose thinking is not what it signed."""
    thought: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "Where might it be?", "signature": "sig-1"},
        {"type": "redacted_thinking", "data": "sealed"},
        {"type": "thinking", "thinking": "Now I know.", "signature": "sig-2"},
    ]
    events: list[tuple[str, dict[str, Any]]] = [CLAUDE_EVENTS[0]]
    for index, block in enumerate(thought):
        begun = block if "data" in block else {"type": "thinking", "thinking": "", "signature": ""}
        events.append(("content_block_start", {"index": index, "content_block": begun}))
        words = str(block.get("thinking", ""))
        deltas = [
            {"type": "thinking_delta", "thinking": each} for each in words.split(" ") if each
        ]
        for delta in deltas[1:]:
            delta["thinking"] = " " + delta["thinking"]
        if words:
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        events += [("content_block_delta", {"index": index, "delta": delta}) for delta in deltas]
        events.append(("content_block_stop", {"index": index}))
    events += CLAUDE_EVENTS[-2:]
    claudes.provider.script = lambda received: (
        Reply(body=claude_stream(events), content_type="text/event-stream")
        if received.json.get("stream")
        else Reply(body=json.dumps(MESSAGE).encode())
    )
    asked: list[Any] = [{"role": "user", "content": "Where is it?"}]
    with claudes.client().chat.completions.stream(model="bot", messages=asked) as stream:
        said: Any = stream.get_final_completion().choices[0].message
    assert said.reasoning_content == "Where might it be?Now I know."

    turn: Any = {"role": "assistant", "content": "Here.", "thinking_blocks": said.thinking_blocks}
    claudes.client().chat.completions.create(
        model="bot", messages=[*asked, turn, {"role": "user", "content": "Thanks."}]
    )
    (_, back, _) = claudes.provider.requests[-1].json["messages"]
    assert back["content"] == [*thought, {"type": "text", "text": "Here."}]


def test_effort_of_a_caller_leaves_a_claude_the_versions_format(traffic: Traffic) -> None:
    shape = {"type": "json_schema", "schema": {"type": "object"}}
    target = traffic.target(
        provider="anthropic",
        base_url=traffic.provider.root,
        model="claude-upstream",
        parameters={"output_config": {"format": shape, "effort": "low"}},
    )
    traffic.serve(versions={("bot", "1.0.0"): target})
    traffic.provider.script = claude
    hello: Any = [{"role": "user", "content": "Hi"}]
    traffic.client().chat.completions.create(model="bot", messages=hello, reasoning_effort="high")
    asked = traffic.provider.requests[-1].json
    assert asked["output_config"] == {"format": shape, "effort": "high"}


def test_usage_is_counted_but_not_told_to_who_did_not_ask(claudes: Traffic) -> None:
    chunks = list(
        claudes.client().chat.completions.create(
            model="bot", messages=[{"role": "user", "content": "Where?"}], stream=True
        )
    )
    assert all(chunk.choices for chunk in chunks)
    (measured,) = claudes.gateway.taken().measurements
    assert measured.tokens == {"input": 15, "cached": 5, "output": 3}


def test_what_a_claude_cannot_do_is_refused_by_name(claudes: Traffic) -> None:
    with pytest.raises(openai.BadRequestError, match="`n`") as raised:
        claudes.client().chat.completions.create(
            model="bot", messages=[{"role": "user", "content": "?"}], n=2
        )
    assert raised.value.param == "n"
    assert claudes.provider.requests == []


def test_a_claudes_refusal_is_read_by_openais_client(claudes: Traffic) -> None:
    error = {"type": "invalid_request_error", "message": "too many tools"}
    body = json.dumps({"type": "error", "error": error}).encode()
    claudes.provider.script = lambda _: Reply(status=400, body=body)
    with pytest.raises(openai.BadRequestError, match="too many tools"):
        claudes.client().chat.completions.create(
            model="bot", messages=[{"role": "user", "content": "?"}]
        )


@pytest.mark.parametrize("last", range(1, len(CLAUDE_EVENTS)))
def test_a_claudes_stream_that_ends_early_is_never_whole(claudes: Traffic, last: int) -> None:
    cut = claude_stream(CLAUDE_EVENTS[:last])
    claudes.provider.script = lambda _: Reply(body=cut, content_type="text/event-stream")
    with pytest.raises((openai.APIError, httpx2.RemoteProtocolError)):
        list(
            claudes.client().chat.completions.create(
                model="bot", messages=[{"role": "user", "content": "?"}], stream=True
            )
        )
    assert claudes.gateway.outcomes() == {"1.0.0": {"provider": 1}}


def test_anthropic_client_asks_openais_api(traffic: Traffic, sdk: anthropic.Anthropic) -> None:
    traffic.provider.script = lambda _: Reply(text="On its way.", cached_tokens=1)
    answer = sdk.messages.create(
        model="bot",
        max_tokens=50,
        system="Be brief.",
        messages=[
            {"role": "user", "content": "Where is it?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me look."},
                    {"type": "tool_use", "id": "call_1", "name": "find", "input": {"id": 7}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "Berlin"},
                    {"type": "text", "text": "So?"},
                ],
            },
        ],
        tools=[{"name": "find", "input_schema": TOOL}],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        stop_sequences=["END"],
    )

    asked = traffic.provider.requests[-1]
    assert asked.path == "/v1/chat/completions"
    assert asked.json == {
        "model": "gpt-upstream",
        "max_tokens": 50,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Where is it?"},
            {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "find", "arguments": '{"id":7}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "Berlin"},
            {"role": "user", "content": "So?"},
        ],
        "tools": [{"type": "function", "function": {"name": "find", "parameters": TOOL}}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "stop": ["END"],
    }
    assert [block.to_dict() for block in answer.content] == [
        {"type": "text", "text": "On its way."}
    ]
    assert answer.stop_reason == "end_turn"
    assert answer.usage.cache_read_input_tokens == 1
    assert traffic.gateway.outcomes() == {"1.0.0": {"ok": 1}}


@pytest.mark.parametrize("stream", [False, True])
def test_call_of_a_tool_that_is_no_function_is_never_an_answer_without_it(
    traffic: Traffic, sdk: anthropic.Anthropic, *, stream: bool
) -> None:
    call = {"id": "call_1", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    said = {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call}]}
    frame = {"id": "c-1", "created": 1, "model": "m"}
    whole = {**frame, "choices": [{"index": 0, "message": said, "finish_reason": "tool_calls"}]}
    begun = {**frame, "choices": [{"index": 0, "delta": said, "finish_reason": None}]}
    ended = {**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    events = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in (begun, ended))
    traffic.provider.script = lambda _: (
        Reply(body=events + b"data: [DONE]\n\n", content_type="text/event-stream")
        if stream
        else Reply(body=json.dumps(whole).encode())
    )
    hello: Any = [{"role": "user", "content": "Hi"}]
    with pytest.raises(anthropic.APIStatusError, match="no function"):
        if stream:
            with sdk.messages.stream(model="bot", max_tokens=9, messages=hello) as answer:
                answer.get_final_message()
        else:
            sdk.messages.create(model="bot", max_tokens=9, messages=hello)
    assert traffic.gateway.outcomes() == {"1.0.0": {"provider": 1}}


def test_anthropic_client_streams_from_openais_api(
    traffic: Traffic, sdk: anthropic.Anthropic
) -> None:
    traffic.provider.script = lambda _: Reply(text="On its way.")
    with sdk.messages.stream(
        model="bot", max_tokens=50, messages=[{"role": "user", "content": "Where is it?"}]
    ) as stream:
        assert "".join(stream.text_stream) == "On its way."
        answer = stream.get_final_message()
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 3)
    assert traffic.gateway.outcomes() == {"1.0.0": {"ok": 1}}


def test_anthropic_client_asks_a_claude_in_its_own_words(
    claudes: Traffic, sdk: anthropic.Anthropic
) -> None:
    with sdk.messages.stream(
        model="bot",
        max_tokens=50,
        messages=[{"role": "user", "content": "Where is it?"}],
        extra_body={"something_new": {"a": 1}},
    ) as stream:
        answer = stream.get_final_message()
    asked = claudes.provider.requests[-1]
    assert asked.json["something_new"] == {"a": 1}
    assert asked.json["model"] == "claude-upstream"
    assert asked.headers["anthropic-version"] == sdk.default_headers["anthropic-version"]
    assert [block.type for block in answer.content] == ["thinking", "text", "tool_use"]
    assert answer.usage.output_tokens == 3
    assert claudes.gateway.outcomes() == {"1.0.0": {"ok": 1}}


def test_image_that_a_tool_returned_is_shown_to_openais_api_by_the_user(
    traffic: Traffic, sdk: anthropic.Anthropic
) -> None:
    """That API takes images of users alone, and results of tools right behind their calls."""
    image: Any = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
    }
    sdk.messages.create(
        model="bot",
        max_tokens=50,
        messages=[
            {"role": "user", "content": "What do you see?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "call_1", "name": "look", "input": {}},
                    {"type": "tool_use", "id": "call_2", "name": "find", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "call_1",
                        "content": [{"type": "text", "text": "north"}, image],
                    },
                    {"type": "tool_result", "tool_use_id": "call_2", "content": "Berlin"},
                    {"type": "text", "text": "So?"},
                ],
            },
        ],
    )
    told = "(What else this tool returned follows in the next message.)"
    assert traffic.provider.requests[-1].json["messages"][2:] == [
        {"role": "tool", "tool_call_id": "call_1", "content": f"north\n\n{told}"},
        {"role": "tool", "tool_call_id": "call_2", "content": "Berlin"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Returned by the tool call call_1:"},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="},
                },
                {"type": "text", "text": "So?"},
            ],
        },
    ]


@pytest.mark.parametrize("content", ["", []])
def test_message_in_which_a_user_says_nothing_is_refused_in_words_where_claude_refuses_it(
    claudes: Traffic,
    content: Any,  # noqa: ANN401 - of the wrong kind too
) -> None:
    with pytest.raises(openai.BadRequestError, match="without content") as raised:
        claudes.client().chat.completions.create(
            model="bot",
            messages=[{"role": "user", "content": "Hi"}, {"role": "user", "content": content}],
        )
    assert (raised.value.code, raised.value.param) == ("unsupported_parameter", "messages")
    assert claudes.provider.requests == []
    assert claudes.gateway.outcomes() == {"1.0.0": {"refused": 1}}


def test_values_of_a_prompt_do_not_go_on_to_claude_in_metadata(
    traffic: Traffic, sdk: anthropic.Anthropic
) -> None:
    """It refuses all but `user_id` there."""
    target = traffic.target(
        provider="anthropic",
        base_url=traffic.provider.root,
        model="claude-upstream",
        prompt={"system": "You are {{company}}.", "variables": {"company": {}}},
    )
    traffic.serve(versions={("bot", "1.0.0"): target})
    metadata: Any = {"user_id": "u-1", "company": "Acme"}
    hello: Any = [{"role": "user", "content": "Hi"}]
    sdk.messages.create(model="bot", max_tokens=9, messages=hello, metadata=metadata)
    asked = traffic.provider.requests[-1].json
    assert (asked["system"], asked["metadata"]) == ("You are Acme.", {"user_id": "u-1"})
