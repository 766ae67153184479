"""A number that no float holds passes as it was written, also where a body is written anew."""

import http.client
import json
from contextlib import closing
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.conftest import Traffic

from headway.gateway import exact
from headway.testing.provider import Reply

LONG = "12345678901234567890123"
ODD = [LONG, f"-{LONG}", "18446744073709551616", "3.14159265358979323846", "1e-400"]
PLAIN = ["18446744073709551615", "-9223372036854775808", "0.1", "1.5e300", "7"]


def post(traffic: Traffic, path: str, body: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", traffic.gateway.port, timeout=10)
    headers = {"authorization": f"Bearer {traffic.gateway.key}"}
    connection.request("POST", path, body, headers)
    with closing(connection), connection.getresponse() as answer:
        return answer.status, answer.read()


def serve(traffic: Traffic, provider: str, **more: Any) -> None:  # noqa: ANN401 - of the target
    target = traffic.target(
        provider=provider,
        base_url=traffic.provider.url if provider == "openai" else traffic.provider.root,
        prompt={"system": "Be brief."},
        **more,
    )
    traffic.serve(versions={("bot", "1.0.0"): target})


BODIES = {
    "/v1/chat/completions": """{"model": "bot", "messages": [{"role": "user", "content": "?"}],
        "mine": %s, "tools": [{"type": "function", "function": {"name": "f", "parameters":
        {"type": "object", "properties": {"n": {"maximum": %s}}}}}]}""",
    "/v1/messages": """{"model": "bot", "messages": [{"role": "user", "content": "?"}],
        "max_tokens": 9, "mine": %s, "tools": [{"name": "f", "input_schema":
        {"type": "object", "properties": {"n": {"maximum": %s}}}}]}""",
    "/v1/responses": """{"model": "bot", "input": "?", "mine": %s, "tools": [{"type": "function",
        "name": "f", "parameters": {"type": "object", "properties": {"n": {"maximum": %s}}}}]}""",
}


@pytest.mark.parametrize("number", [*ODD, *PLAIN])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("path", BODIES)
def test_numbers_of_a_request_that_is_merged_or_translated(
    traffic: Traffic, path: str, kind: str, number: str
) -> None:
    serve(traffic, kind)
    assert post(traffic, path, BODIES[path] % (number, number))[0] == 200
    (asked,) = traffic.provider.requests
    # Read by the standard library with all numbers as their text.
    sent = json.loads(asked.body, parse_int=str, parse_float=str)
    (tool,) = sent["tools"]
    schema = tool.get("input_schema") or tool.get("function", {}).get("parameters")
    written = schema["properties"]["n"]["maximum"]
    assert sent["mine"] == written
    assert written == number if number in ODD else float(written) == float(number)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_number_with_which_a_claude_calls_a_tool(traffic: Traffic, path: str) -> None:
    serve(traffic, "anthropic")
    body = (
        '{"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [{"type": '
        f'"tool_use", "id": "t", "name": "f", "input": {{"n": {LONG}}}}}], "stop_reason": '
        f'"tool_use", "usage": {{"input_tokens": 1, "output_tokens": 1}}, "theirs": {LONG}}}'
    )
    traffic.provider.script = lambda _: Reply(body=body.encode())
    _, said = post(traffic, path, BODIES[path] % (1, 1))
    assert f'{{\\"n\\":{LONG}}}'.encode() in said
    assert f'"theirs":{LONG}'.encode() in said


def test_number_with_which_a_gpt_calls_a_tool(traffic: Traffic) -> None:
    serve(traffic, "openai")
    body = {
        "id": "c", "object": "chat.completion", "created": 1, "model": "g",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant",
            "tool_calls": [{"id": "t", "type": "function",
                "function": {"name": "f", "arguments": f'{{"n": {LONG}}}'}}]}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }  # fmt: skip
    traffic.provider.script = lambda _: Reply(body=json.dumps(body).encode())
    _, said = post(traffic, "/v1/messages", BODIES["/v1/messages"] % (1, 1))
    assert f'"input":{{"n":{LONG}}}'.encode() in said


def test_number_in_a_call_of_a_tool_that_is_sent_back(traffic: Traffic) -> None:
    serve(traffic, "anthropic")
    call = {
        "id": "t",
        "type": "function",
        "function": {"name": "f", "arguments": f'{{"n":{LONG}}}'},
    }
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t", "content": "7"},
    ]
    post(traffic, "/v1/chat/completions", json.dumps({"model": "bot", "messages": messages}))
    (asked,) = traffic.provider.requests
    assert f'"input":{{"n":{LONG}}}'.encode() in asked.body


def test_known_field_may_be_written_with_more_digits_than_a_float_has(traffic: Traffic) -> None:
    serve(traffic, "anthropic")
    body = BODIES["/v1/chat/completions"].replace('"mine"', '"temperature"') % (
        "0.3" + "0" * 30,
        1,
    )
    assert post(traffic, "/v1/chat/completions", body)[0] == 200
    assert traffic.provider.requests[0].json["temperature"] == 0.3


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.text(max_size=5)
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=3), JSON))
def test_whatever_is_read_is_written_with_the_same_numbers(document: dict[str, Any]) -> None:
    written = orjson.dumps(exact.loads(json.dumps(document)))
    assert json.loads(written) == document


def test_exponents_that_nobody_can_count_with_stay_as_they_are() -> None:
    text = b'{"a":1e-99999999999999999999}'
    assert orjson.dumps(exact.loads(text)) == text


def test_what_is_too_deep_for_a_second_look_is_still_read() -> None:
    deep = b'{"a":' * 1_000 + LONG.encode() + b"}" * 1_000
    found = exact.loads(deep)
    while isinstance(found, dict):
        found = found["a"]
    assert found == float(LONG)


@pytest.mark.parametrize("alone", ["null", "7", "true", '"text"', "1.5", LONG])
def test_answer_that_is_no_object_is_the_providers_fault(traffic: Traffic, alone: str) -> None:
    serve(traffic, "openai")
    traffic.provider.script = lambda _: Reply(body=alone.encode(), content_type="application/json")
    body = {"model": "bot", "max_tokens": 5, "messages": [{"role": "user", "content": "?"}]}
    assert post(traffic, "/v1/messages", json.dumps(body))[0] == 502
    assert traffic.gateway.outcomes() == {"1.0.0": {"provider": 1}}
