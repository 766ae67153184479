"""The scripted provider is understood by the official clients, and breaks as it is told to."""

import gc
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import numpy as np
import openai
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from tests.e2e.processes import free_port

from headway.testing.provider import (
    BROKEN_STREAMS,
    FAULTS,
    ODDITIES,
    Ending,
    Received,
    Reply,
    ScriptedProvider,
    ToolCall,
)

ASKED: Any = [{"role": "user", "content": "where is it"}]
CALL = ToolCall("find", '{"id": 7}')
RICH = Reply(
    thinking="Let me see.",
    text="I look it up.",
    tools=(CALL,),
    input_tokens=90,
    cached_tokens=50,
    cache_write_tokens=10,
    output_tokens=12,
    reasoning_tokens=4,
)


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture(scope="module")
def gpt(provider: ScriptedProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def claude(provider: ScriptedProvider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=provider.root, api_key="any", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("stream", [False, True])
def test_chat_is_read_by_openais_client(
    provider: ScriptedProvider, gpt: openai.OpenAI, *, stream: bool
) -> None:
    provider.script = lambda _: RICH
    if stream:
        with gpt.chat.completions.stream(
            model="m", messages=ASKED, stream_options={"include_usage": True}
        ) as events:
            answer: Any = events.get_final_completion()
    else:
        answer = gpt.chat.completions.create(model="m", messages=ASKED)
    message = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("I look it up.", "Let me see.")
    assert message.tool_calls[0].function.arguments == '{"id": 7}'
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.usage.prompt_tokens_details.cached_tokens == 50
    assert answer.usage.total_tokens == 102


@pytest.mark.parametrize("stream", [False, True])
def test_response_is_read_by_openais_client(
    provider: ScriptedProvider, gpt: openai.OpenAI, *, stream: bool
) -> None:
    provider.script = lambda _: RICH
    if stream:
        with gpt.responses.stream(model="m", input="where is it") as events:
            kinds = [event.type for event in events]
            answer: Any = events.get_final_response()
        assert kinds[0] == "response.created"
        assert kinds[-1] == "response.completed"
    else:
        answer = gpt.responses.create(model="m", input="where is it")
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call"]
    assert answer.output_text == "I look it up."
    assert answer.usage.input_tokens_details.cached_tokens == 50


@pytest.mark.parametrize("stream", [False, True])
def test_message_is_read_by_anthropics_client(
    provider: ScriptedProvider, claude: anthropic.Anthropic, *, stream: bool
) -> None:
    provider.script = lambda _: RICH
    if stream:
        with claude.messages.stream(model="m", max_tokens=9, messages=ASKED) as events:
            answer: Any = events.get_final_message()
    else:
        answer = claude.messages.create(model="m", max_tokens=9, messages=ASKED)
    assert [block.type for block in answer.content] == ["thinking", "text", "tool_use"]
    assert answer.content[2].input == {"id": 7}
    assert answer.stop_reason == "tool_use"
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (30, 50)
    assert answer.usage.output_tokens == 12


def test_refusal_is_one_in_every_api(
    provider: ScriptedProvider, gpt: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    provider.script = lambda _: Reply(text="", refusal="I will not.")
    chat = gpt.chat.completions.create(model="m", messages=ASKED).choices[0].message
    assert (chat.content, chat.refusal) == (None, "I will not.")
    item: Any = gpt.responses.create(model="m", input="?").output[0]
    assert item.content[0].refusal == "I will not."
    assert claude.messages.create(model="m", max_tokens=9, messages=ASKED).stop_reason == "refusal"


def test_several_choices_and_logprobs_come_as_asked(
    provider: ScriptedProvider, gpt: openai.OpenAI
) -> None:
    provider.script = lambda _: Reply(text="a b")
    whole = gpt.chat.completions.create(model="m", messages=ASKED, n=3, logprobs=True)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert whole.choices[0].logprobs is not None
    with gpt.chat.completions.create(
        model="m", messages=ASKED, n=2, logprobs=True, stream=True
    ) as stream:
        finished = [c.index for chunk in stream for c in chunk.choices if c.finish_reason]
    assert finished == [0, 1]


def test_embeddings_models_and_counts_are_read(
    provider: ScriptedProvider, gpt: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    provider.script = lambda _: Reply(models=("a", "b"))
    found = gpt.embeddings.create(model="m", input=["one", "three"])
    assert [each.embedding for each in found.data] == [[1.0, 0.5, 3.0], [1.0, 0.5, 5.0]]
    assert [model.id for model in gpt.models.list()] == ["a", "b"]
    assert gpt.models.retrieve("b").id == "b"
    assert [model.id for model in claude.models.list()] == ["a", "b"]
    assert claude.messages.count_tokens(model="m", messages=ASKED).input_tokens == 3


def test_inference_is_read_by_tritons_client(provider: ScriptedProvider) -> None:
    provider.script = lambda _: Reply()
    client = triton.InferenceServerClient(provider.root.removeprefix("http://"))
    tensor = triton.InferInput("x", [1, 3], "INT64")
    tensor.set_data_from_numpy(np.array([[1, 2, 3]]), binary_data=False)
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.get_model_metadata("digits", "7")["versions"] == ["7"]
    assert client.infer("digits", [tensor]).as_numpy("x").tolist() == [[1, 2, 3]]
    client.close()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("FP32", np.array([0.5, -1.5], np.float32)),
        ("FP16", np.array([0.5, -1.5], np.float16)),
        ("INT8", np.array([1, -2], np.int8)),
        ("UINT64", np.array([1, 2**64 - 1], np.uint64)),
        ("BOOL", np.array([True, False])),
        ("BYTES", np.array(["", "grün"], np.object_)),
    ],
)
def test_raw_tensors_come_back_with_their_values(
    provider: ScriptedProvider,
    kind: str,
    values: Any,  # noqa: ANN401 - an array of any type
) -> None:
    provider.script = lambda _: Reply()
    client = triton.InferenceServerClient(provider.root.removeprefix("http://"))
    tensors = [triton.InferInput(name, [2], kind) for name in "xy"]
    tensors[0].set_data_from_numpy(values)
    tensors[1].set_data_from_numpy(values[::-1].copy())
    answer = client.infer("digits", tensors)
    client.close()
    found = [[_text(each) for each in answer.as_numpy(name).tolist()] for name in "xy"]
    assert found == [values.tolist(), values.tolist()[::-1]]


def _text(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


def test_unknown_path_is_not_found(provider: ScriptedProvider) -> None:
    provider.script = lambda _: Reply()
    connection = http.client.HTTPConnection("127.0.0.1", provider.port)
    connection.request("GET", "/v1/nothing")
    assert connection.getresponse().status == 404
    connection.close()


def test_error_is_written_in_the_words_of_the_api(
    provider: ScriptedProvider, gpt: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    provider.script = lambda _: FAULTS["529"]
    with pytest.raises(openai.InternalServerError, match="overloaded") as raised:
        gpt.responses.create(model="m", input="?")
    assert raised.value.code == "overloaded_error"
    with pytest.raises(anthropic.APIStatusError, match="overloaded") as other:
        claude.messages.create(model="m", max_tokens=9, messages=ASKED)
    assert other.value.type == "overloaded_error"


@pytest.mark.parametrize("name", ODDITIES)
def test_oddities_are_valid(provider: ScriptedProvider, gpt: openai.OpenAI, name: str) -> None:
    reply = ODDITIES[name]
    provider.script = lambda _: reply
    with gpt.chat.completions.create(model="m", messages=ASKED, stream=True) as stream:
        if name == "byte order mark":  # allowed by the standard, passed over by this client
            return
        said = "".join(c.delta.content or "" for chunk in stream for c in chunk.choices)
    assert said == reply.text


def test_inserted_bytes_stand_within_a_stream_that_goes_on(provider: ScriptedProvider) -> None:
    reply = BROKEN_STREAMS["event that is no object"]
    provider.script = lambda _: reply
    connection = http.client.HTTPConnection("127.0.0.1", provider.port)
    connection.request("POST", "/v1/chat/completions", b'{"stream": true}')
    with connection.getresponse() as answer:
        body = answer.read()
    connection.close()
    before, after = body.split(b"data: [1, 2]\n\n")
    assert before.count(b'"content":"') == 1 + reply.after
    assert after.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_stream_breaks_after_so_much_content(
    provider: ScriptedProvider, path: str, after: int
) -> None:
    provider.script = lambda _: Reply(end=Ending.POLITE, after=after)
    connection = http.client.HTTPConnection("127.0.0.1", provider.port)
    connection.request("POST", path, b'{"stream": true, "messages": []}')
    with connection.getresponse() as answer:
        body = answer.read().decode()
    connection.close()
    words = Reply().words
    assert all(f'"{word}"' in body for word in words[:after])
    assert f'"{words[after]}"' not in body


@pytest.mark.parametrize("arguments", ["", "{"])
def test_call_with_broken_arguments_has_no_input_at_anthropic(arguments: str) -> None:
    reply = Reply(text="", tools=(ToolCall("find", arguments),))
    with ScriptedProvider(lambda _: reply) as provider:
        answer = httpx2.post(f"{provider.url}/messages", json={"messages": []})
    assert answer.json()["content"][0]["input"] == {}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(),
        Reply(end=Ending.STALL),
        Reply(delay_s=60),
        Reply(text="word " * 1_000, gap_s=1),
        Reply(body=b"x" * 50_000_000),
    ],
    ids=["kept", "stalls", "waits", "speaks", "is not read"],
)
def test_end_in_the_middle_of_anything_is_silent(
    reply: Reply, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    asked = threading.Event()

    def script(_: object) -> Reply:
        asked.set()
        return reply

    body = json.dumps({"model": "m", "messages": ASKED, "stream": True}).encode()
    with ScriptedProvider(script) as provider:
        caller, silent = (socket.create_connection(("127.0.0.1", provider.port)) for _ in "ab")
        caller.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        assert asked.wait(10)
    caller.close()
    silent.close()
    gc.collect()
    assert caplog.text == ""
    assert [str(warning.message) for warning in recwarn] == []


def test_script_reads_the_last_text_of_an_embedding(gpt: openai.OpenAI) -> None:
    with ScriptedProvider() as provider:
        asked = []

        def script(request: Received) -> Reply:
            asked.append(request.asked)
            return Reply()

        provider.script = script
        client = gpt.with_options(base_url=provider.url)
        answer = client.embeddings.create(model="m", input=["one text", "another"])
        client.embeddings.create(model="m", input=[[1, 2], [3]])
    assert len(answer.data) == 2
    assert asked == ["another", "[3]"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {"messages": ["hello"]}, 400),
        ("/v1/chat/completions", {"messages": "hello"}, 400),
        ("/v1/chat/completions", {"messages": [], "n": "two"}, 400),
        ("/v1/chat/completions", {"messages": [], "stream": True, "stream_options": 1}, 400),
        ("/v1/chat/completions", ["no object"], 400),
        ("/v1/responses", {"input": [1, 2]}, 400),
        ("/v1/embeddings", {"input": {"a": 1}}, 400),
        ("/v1/messages", {"messages": [None], "max_tokens": 9}, 400),
        ("/v1/messages/count_tokens", {"messages": 7}, 400),
        ("/v2/models/m/infer", {"inputs": ["tensor"]}, 400),
        ("/v2/models/m/infer", {"inputs": [{"parameters": {"binary_data_size": 8}}]}, 400),
        ("/v1/embeddings", {"input": []}, 200),
        ("/v1/chat/completions", {"messages": None}, 200),
    ],
)
def test_body_of_no_use_is_refused_in_the_words_of_its_api(
    provider: ScriptedProvider, path: str, body: object, status: int
) -> None:
    provider.script = lambda request: Reply(text=request.asked + request.system)
    answer = httpx2.post(provider.root + path, json=body)
    assert answer.status_code == status
    if status == 400:
        error = answer.json()["error"]
        words = error if path.startswith("/v2") else error["message"]
        assert "expected" in words or "no JSON" in words or "cannot be read" in words


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["messages", "input", "inputs", "system", "instructions", "n", "stream", "stream_options"]


@given(
    path=st.sampled_from(
        [
            "/v1/chat/completions",
            "/v1/responses",
            "/v1/embeddings",
            "/v1/messages",
            "/v1/messages/count_tokens",
            "/v2/models/m/infer",
        ]
    ),
    body=any_json
    | st.dictionaries(st.sampled_from(FIELDS), any_json, max_size=4)
    | st.fixed_dictionaries({"inputs": st.lists(st.fixed_dictionaries({"parameters": any_json}))}),
)
def test_whatever_is_asked_is_answered(
    provider: ScriptedProvider, path: str, body: object
) -> None:
    provider.script = lambda request: Reply(text=request.asked[:9] + request.system[:9])
    assert httpx2.post(provider.root + path, json=body).status_code in {200, 400}


def test_port_that_is_taken_is_told(provider: ScriptedProvider) -> None:
    with (
        pytest.raises(OSError, match=r"address already in use"),
        ScriptedProvider(port=provider.port),
    ):
        pass


def test_command_answers_at_its_port_until_it_is_interrupted() -> None:
    port = free_port()
    command = [sys.executable, "-m", "headway.testing.provider", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = f"http://127.0.0.1:{port}/v1"
        answer = httpx2.post(f"{url}/chat/completions", json={"messages": ASKED})
        taken = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        process.send_signal(signal.SIGINT)
        code = process.wait(10)
    assert url in said
    assert answer.json()["choices"][0]["message"]["content"] == Reply().text
    assert (taken.returncode, len(taken.stderr.splitlines())) == (1, 1)
    assert str(port) in taken.stderr
    assert code == 0
