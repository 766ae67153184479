"""Clients of OpenAI's responses: answered by providers that have them, and by all others."""

import json
from typing import Any

import openai
import pytest
from tests.gateway.conftest import Traffic
from tests.gateway.test_translation import claude

from headway.testing.provider import Reply

RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_700_000_000,
    "status": "completed",
    "error": None,
    "model": "gpt-upstream-0807",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "On its way.", "annotations": []}],
        }
    ],
    "usage": {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 12,
    },
}


def events(*kinds: tuple[str, dict[str, Any]]) -> bytes:
    said = (
        (kind, json.dumps({"type": kind, "sequence_number": i, **rest}))
        for i, (kind, rest) in enumerate(kinds)
    )
    return b"".join(f"event: {kind}\ndata: {data}\n\n".encode() for kind, data in said)


CREATED = ("response.created", {"response": {**RESPONSE, "status": "in_progress", "usage": None}})
DELTA = ("response.output_text.delta", {"delta": "On its way.", "output_index": 0})
COMPLETED = ("response.completed", {"response": RESPONSE})


def native(traffic: Traffic, **more: object) -> None:
    target = traffic.target(apis=["chat", "responses"], **more)
    traffic.serve(versions={("bot", "1.0.0"): target})


def streams(traffic: Traffic, body: bytes) -> None:
    traffic.provider.script = lambda _: Reply(body=body, content_type="text/event-stream")


def test_provider_that_has_responses_is_asked_for_one(traffic: Traffic) -> None:
    native(traffic)
    traffic.provider.script = lambda _: Reply(body=json.dumps(RESPONSE).encode())
    answer = traffic.client().responses.create(
        model="bot", input="Where is it?", previous_response_id="resp_0"
    )
    asked = traffic.provider.requests[-1]
    assert asked.path == "/v1/responses"
    assert asked.json == {
        "model": "gpt-upstream",
        "input": "Where is it?",
        "previous_response_id": "resp_0",
    }
    assert answer.output_text == "On its way."
    (measured,) = traffic.gateway.taken().measurements
    assert measured.tokens == {"input": 9, "cached": 4, "output": 3, "reasoning": 1}
    assert measured.served_by == {"gpt-upstream-0807": 1}


def test_who_says_one_of_the_parameters_in_an_object_leaves_the_others_to_the_version(
    traffic: Traffic,
) -> None:
    shape = {"name": "order", "schema": {"type": "object"}}
    native(
        traffic,
        parameters={
            "reasoning_effort": "low",
            "response_format": {"type": "json_schema", "json_schema": shape},
            "verbosity": "high",
        },
        locked=["response_format"],
    )
    traffic.provider.script = lambda _: Reply(body=json.dumps(RESPONSE).encode())
    traffic.client().responses.create(
        model="bot",
        input="Hello",
        reasoning={"summary": "auto"},
        text={"verbosity": "low", "format": {"type": "text"}},
    )
    asked = traffic.provider.requests[-1].json
    assert asked["reasoning"] == {"effort": "low", "summary": "auto"}
    assert asked["text"] == {"verbosity": "low", "format": {"type": "json_schema", **shape}}

    traffic.client().responses.create(model="bot", input="Hello", reasoning=None)
    asked = traffic.provider.requests[-1].json
    assert asked["reasoning"] is None
    assert asked["text"] == {"verbosity": "high", "format": {"type": "json_schema", **shape}}


def test_tool_that_a_version_wants_to_be_called_is_named_in_the_words_of_responses(
    traffic: Traffic,
) -> None:
    native(
        traffic,
        parameters={"tool_choice": {"type": "function", "function": {"name": "find"}}},
        tools=[{"type": "function", "function": {"name": "find", "parameters": {}}}],
    )
    traffic.provider.script = lambda _: Reply(body=json.dumps(RESPONSE).encode())
    client = traffic.client()
    client.responses.create(model="bot", input="Hello")
    assert traffic.provider.requests[-1].json["tool_choice"] == {
        "type": "function",
        "name": "find",
    }
    client.responses.create(model="bot", input="Hello", tool_choice="auto")
    assert traffic.provider.requests[-1].json["tool_choice"] == "auto"


def test_how_closely_to_look_at_an_image_is_said_to_a_chat_too(traffic: Traffic) -> None:
    picture: Any = {"type": "input_image", "image_url": "https://x.test/y.png", "detail": "low"}
    traffic.client().responses.create(model="bot", input=[{"role": "user", "content": [picture]}])
    (message,) = traffic.provider.requests[-1].json["messages"]
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": "https://x.test/y.png", "detail": "low"}}
    ]


def test_versions_settings_hold_for_a_response_too(traffic: Traffic) -> None:
    native(
        traffic,
        parameters={"temperature": 0.5, "max_tokens": 99, "reasoning_effort": "low"},
        locked=["temperature"],
        prompt={"system": "You are {{who}}.", "variables": {"who": {}}},
        tools=[{"type": "function", "function": {"name": "find", "parameters": {}}}],
    )
    traffic.provider.script = lambda _: Reply(body=json.dumps(RESPONSE).encode())
    traffic.client().responses.create(
        input="Hello", instructions="Be brief.", temperature=1,
        prompt={"id": "bot", "version": "^1", "variables": {"who": "the desk"}},
    )  # fmt: skip
    assert traffic.provider.requests[-1].json == {
        "model": "gpt-upstream",
        "input": "Hello",
        "instructions": "You are the desk.\n\nBe brief.",
        "temperature": 0.5,
        "max_output_tokens": 99,
        "reasoning": {"effort": "low"},
        "tools": [{"type": "function", "name": "find", "parameters": {}}],
    }


def test_stored_prompt_is_known_by_an_alternative_id(traffic: Traffic) -> None:
    """Only the base URL of a program changes that was written for a provider's stored prompts."""
    traffic.serve(
        versions={("bot", "1.0.0"): traffic.target(apis=["responses"])},
        names={"pmpt_68abC": "bot"},
    )
    traffic.provider.script = lambda _: Reply(body=json.dumps(RESPONSE).encode())
    answer = traffic.client().responses.with_raw_response.create(
        input="Hello", prompt={"id": "pmpt_68abC", "version": "1"}
    )
    assert answer.headers["headway-version"] == "1.0.0"
    assert "prompt" not in traffic.provider.requests[-1].json


def test_prompt_that_is_not_ours_is_not_found(traffic: Traffic) -> None:
    native(traffic)
    with pytest.raises(openai.NotFoundError):
        traffic.client().responses.create(input="Hello", prompt={"id": "pmpt_other"})


def test_stream_of_a_response_passes_and_is_counted(traffic: Traffic) -> None:
    native(traffic)
    streams(traffic, events(CREATED, DELTA, COMPLETED))
    with traffic.client().responses.create(model="bot", input="?", stream=True) as stream:
        kinds = [event.type for event in stream]
    assert kinds == ["response.created", "response.output_text.delta", "response.completed"]
    (measured,) = traffic.gateway.taken().measurements
    assert measured.outcomes == {"ok": 1}
    assert measured.tokens["output"] == 3


@pytest.mark.parametrize(
    "body",
    [
        events(CREATED),
        events(CREATED, DELTA),
        events(CREATED, DELTA, ("error", {"code": "server_error", "message": "fell over"})),
        events(
            CREATED,
            (
                "response.failed",
                {"response": {**RESPONSE, "status": "failed", "error": {"message": "no"}}},
            ),
        ),
        events(CREATED) + b"data: {garbage\n\n",
        events(CREATED, DELTA) + b"data: [DONE]\n\n",
    ],
)
def test_response_that_fails_raises(traffic: Traffic, body: bytes) -> None:
    native(traffic)
    streams(traffic, body)
    with pytest.raises(openai.APIError):
        list(traffic.client().responses.create(model="bot", input="?", stream=True))
    assert traffic.gateway.outcomes() == {"1.0.0": {"provider": 1}}


def test_provider_without_responses_is_asked_for_a_chat(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(text="On its way.")
    answer = traffic.client().responses.create(
        model="bot",
        instructions="Be brief.",
        input=[
            {"role": "user", "content": "Where is it?"},
            {"type": "function_call", "call_id": "c1", "name": "find", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "Berlin"},
        ],
        text={"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        max_output_tokens=20,
    )
    asked = traffic.provider.requests[-1]
    assert asked.path == "/v1/chat/completions"
    assert asked.json == {
        "model": "gpt-upstream",
        "max_tokens": 20,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Where is it?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "find", "arguments": "{}"},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "Berlin"},
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object"}},
        },
    }
    assert answer.status == "completed"
    assert answer.output_text == "On its way."
    assert answer.usage is not None
    assert answer.usage.output_tokens == 3


def test_claude_streams_a_response(traffic: Traffic) -> None:
    target = traffic.target(provider="anthropic", base_url=traffic.provider.url, model="claude")
    traffic.serve(versions={("bot", "1.0.0"): target})
    traffic.provider.script = claude
    with traffic.client().responses.stream(model="bot", input="Where is it?") as stream:
        answer = stream.get_final_response()
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call"]
    assert answer.output_text == "Let me look."
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.cached_tokens == 5


def test_what_only_responses_can_do_is_refused_by_name(traffic: Traffic) -> None:
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        traffic.client().responses.create(model="bot", input="?", previous_response_id="resp_0")


def test_embeddings_pass(traffic: Traffic) -> None:
    body = {
        "object": "list",
        "model": "embedder",
        "data": [{"object": "embedding", "index": i, "embedding": [0.5, 1.0]} for i in range(2)],
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    traffic.provider.script = lambda _: Reply(body=json.dumps(body).encode())
    answer = traffic.client().embeddings.create(
        model="bot", input=["a", "b"], encoding_format="float"
    )
    assert answer.data[0].embedding == [0.5, 1.0]
    asked = traffic.provider.requests[-1]
    assert asked.path == "/v1/embeddings"
    assert asked.json["model"] == "gpt-upstream"
    (measured,) = traffic.gateway.taken().measurements
    assert measured.tokens == {"input": 2}


def test_missing_embedding_is_no_answer(traffic: Traffic) -> None:
    one = {"data": [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}]}
    traffic.provider.script = lambda _: Reply(body=json.dumps(one).encode())
    with pytest.raises(openai.InternalServerError, match="one vector for each text"):
        traffic.client().embeddings.create(model="bot", input=["a", "b"])
    assert traffic.gateway.outcomes() == {"1.0.0": {"provider": 1}}
