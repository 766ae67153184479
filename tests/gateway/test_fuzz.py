"""Whatever bytes come: no 500, no connection that hangs, and the next caller is served.

`make fuzz` sends a hundred thousand inputs, and a crowd of the size that the limits name; the
ordinary run a few hundred, always the same.
"""

import asyncio
import itertools
import json
import os
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import prepare

from headway.adapters.outbound import Outbound
from headway.gateway.limits import FailedKeys
from headway.routing.route import Epoch
from headway.testing.gateway import RunningGateway, document, key_entry, route_of
from headway.testing.provider import Reply, ScriptedProvider
from headway.testing.provider.reply import Received, pleasant
from headway.wire.connection import ServerLimits

INPUTS: Final = int(os.environ.get("HEADWAY_FUZZ_INPUTS", "0"))
"""How many inputs the long run sends; 0: this is the short one."""
AT_ONCE: Final = 50
"""Inputs of one example: each on a connection of its own, all at the same time."""
LIMITS: Final = ServerLimits(
    head_seconds=0.3, body_window=0.3, idle_seconds=0.3, linger_seconds=0.3, sweep_seconds=0.05
)
PATIENCE: Final = 20.0
"""Seconds in which a connection must have come to its end, on a busy machine."""
FUZZ: Final = settings(
    max_examples=max(6, INPUTS // 2 // AT_ONCE),
    derandomize=not INPUTS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=(Phase.generate,),  # an input of fifty says which one it was: nothing is gained by less
)
HELLO: Final = [{"role": "user", "content": "hello"}]
MODELS: Final = ("bot", "merged", "claude", "gone", "bot@1.0.0", "bot@^9")
PATHS: Final = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/models",
    "/v1/models/bot",
    "/v2/models/bot/infer",
    "/v2/models/bot",
    "/v2",
    "/livez",
    "/readyz",
    "/api/v1/models",
)


PROVIDERS: Final[dict[int, ScriptedProvider]] = {}
"""By the port of the gateway in front of it."""


EPOCH: Final = Epoch(deployment="dep_1", step=1, alpha=0.01, first_gateway=1, ages={})
"""While a version is judged no circuit breaker opens, which would end every request early."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    with (
        ScriptedProvider() as provider,
        RunningGateway(
            prepare=prepare(), connect=Outbound(loopback_open=True).connect, limits=LIMITS
        ) as running,
    ):
        plain: dict[str, Any] = {
            "provider": "openai",
            "base_url": provider.url,
            "model": "up",
            "retries": 0,
            "timeouts": {"first": "2s", "idle": "2s", "total": "5s"},
        }
        versions = {
            ("bot", "1.0.0"): plain,
            ("merged", "1.0.0"): plain
            | {"prompt": {"system": "You are {{name}}."}, "parameters": {"temperature": 0.5}},
            ("claude", "1.0.0"): plain | {"provider": "anthropic", "base_url": provider.root},
        }
        names = [model for model, _ in versions]
        running.adopt(
            document(
                keys=[key_entry(running.key, running.digest)],
                versions=versions,
                routes=[
                    route_of(name, [("stable", "1.0.0", 10_000)], id=number, epoch=EPOCH)
                    for number, name in enumerate(names, 1)
                ],
            )
        )
        PROVIDERS[running.port] = provider
        yield running
        assert running.faults == []


async def ends(gateway: RunningGateway, pieces: list[bytes]) -> bytes:
    """Send pieces, then wait for the end of the connection; return what came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    got = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        while part := await reader.read(65_536):
            got += part
    except ConnectionError:
        pass
    finally:
        writer.close()
    return got


def send_all(gateway: RunningGateway, inputs: list[list[bytes]]) -> list[bytes]:
    async def story() -> list[bytes]:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.gather(*(ends(gateway, pieces) for pieces in inputs))

    return asyncio.run(story())


def check(gateway: RunningGateway, inputs: list[list[bytes]]) -> None:
    pipeline = gateway.gateway.pipeline
    pipeline.failed_keys = FailedKeys()  # else broken keys would soon end every request early
    for pieces, got in zip(inputs, send_all(gateway, inputs), strict=True):
        assert b"HTTP/1.1 500 " not in got, (b"".join(pieces), got)
        assert not got or re.match(rb"HTTP/1\.1 [1-5]\d\d ", got), (b"".join(pieces), got)
    assert gateway.faults == []
    [good] = send_all(gateway, [[request(gateway.key, "POST", PATHS[0], chat())]])
    assert good.startswith(b"HTTP/1.1 200 ")


def chat() -> bytes:
    return json.dumps({"model": "bot", "messages": HELLO}).encode()


def request(key: str, method: str, path: str, body: bytes, *fields: bytes) -> bytes:
    return b"%b %b HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\nconnection: close\r\n" % (
        method.encode(),
        path.encode(),
        key.encode(),
    ) + b"%bcontent-length: %d\r\n\r\n%b" % (b"".join(fields), len(body), body)


# Bytes

TOKENS: Final = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\x00", b":", b"?", b"#", b"\xff", b"{",
    b"}", b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffff\r\n", b"/", b"%2f", b"%00", b'"',
    b"content-length: 5\r\n", b"content-length: 4294967297\r\n", b"connection: keep-alive\r\n",
    b"transfer-encoding: chunked\r\n", b"expect: 100-continue\r\n", b"upgrade: h2c\r\n",
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"GET ", b"HEAD ", b"POST ", b"OPTIONS ",
    b"x" * 70_000, b"a: b\r\n" * 120, b"host: b\r\n", b"headway-environment: nowhere\r\n",
    b"anthropic-version: 2026-10-21\r\n", b"headway-pin: 1.2.3\r\n", b"headway-check: 1.0.0\r\n",
    b"inference-header-content-length: 9\r\n", b"x-stainless-read-timeout: nan\r\n",
    b"x-request-id: \xe9\r\n", b"traceparent: 00-\r\n",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, key: str) -> list[bytes]:
    """Write a request, spoil it here and there, and cut it into pieces."""
    path = draw(st.sampled_from(PATHS))
    method = draw(st.sampled_from(("POST", "GET", "HEAD", "OPTIONS", "DELETE", "PUT")))
    body = draw(st.sampled_from((chat(), b"", b"{}", b"[]", b"null", b"\xff\xfe")))
    data = bytearray(request(key, method, path, body))
    if draw(st.booleans()):
        data += request(key, method, path, body)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("insert", "cut", "flip", "again"))):
            case "insert":
                data[at:at] = draw(st.sampled_from(TOKENS))
            case "cut":
                del data[at : at + draw(st.integers(1, 40))]
            case "flip" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case _:
                data[at:at] = data[max(0, at - draw(st.integers(1, 60))) : at]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    edges = [0, *cuts, len(data)]
    return [bytes(data[a:b]) for a, b in itertools.pairwise(edges)]


def batches(one: st.SearchStrategy[list[bytes]]) -> st.SearchStrategy[list[list[bytes]]]:
    return st.lists(one, min_size=AT_ONCE, max_size=AT_ONCE)


@FUZZ
@given(data=st.data())
def test_no_bytes_make_the_gateway_fail_or_a_connection_hang(
    gateway: RunningGateway, data: st.DataObject
) -> None:
    check(gateway, data.draw(batches(mutated(gateway.key))))


# Bodies

LEAVES: Final = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(("user", "assistant", "system", "tool", "text", "function", "auto", "bot"))
)
WORDS: Final = (
    "role", "content", "type", "text", "image_url", "url", "tool_calls", "tool_call_id", "id",
    "name", "function", "arguments", "input", "output", "parameters", "data", "shape",
    "datatype", "source", "media_type", "cache_control", "thinking", "signature", "summary",
)  # fmt: skip
NAMES: Final = st.sampled_from(WORDS) | st.text(max_size=4)
ANYTHING: Final = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
KNOWN: Final = (
    "messages", "input", "stream", "stream_options", "n", "stop", "tools", "tool_choice", "system",
    "max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "metadata",
    "user", "response_format", "text", "reasoning", "reasoning_effort", "logprobs", "prompt",
    "instructions", "conversation", "previous_response_id", "dimensions", "encoding_format",
    "stop_sequences", "thinking", "inputs", "outputs", "parameters", "id", "modalities", "store",
)  # fmt: skip


@st.composite
def body(draw: st.DrawFn, key: str) -> list[bytes]:
    """Write a request whose JSON is right in some members and anything in others."""
    document: Any = {"model": draw(st.sampled_from(MODELS)), "messages": HELLO, "max_tokens": 9}
    document |= draw(st.dictionaries(st.sampled_from(KNOWN), ANYTHING, max_size=4))
    if draw(st.integers(0, 9)) == 0:
        document = draw(ANYTHING)
    text = json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.binary(max_size=3)) + text[at + 1 :]
    fields = draw(st.sampled_from((b"", b"anthropic-version: 2026-10-21\r\n")))
    return [request(key, "POST", draw(st.sampled_from(PATHS[:5] + PATHS[7:8])), text, fields)]


@FUZZ
@given(data=st.data())
def test_no_body_makes_the_gateway_fail_or_a_connection_hang(
    gateway: RunningGateway, data: st.DataObject
) -> None:
    check(gateway, data.draw(batches(body(gateway.key))))


# Answers

ANSWERS: Final[dict[str, Any]] = {
    "/v1/chat/completions": {
        "id": "c", "object": "chat.completion", "created": 1, "model": "up",
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": "hi"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    },
    "/v1/messages": {
        "id": "m", "type": "message", "role": "assistant", "model": "up",
        "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn",
        "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
    },
}  # fmt: skip
STATUSES: Final = (200, 200, 200, 200, 400, 401, 404, 413, 429, 503, 529)


@st.composite
def spoiled(draw: st.DrawFn, value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a document of which some part is anything."""
    if draw(st.integers(0, 7)) == 0:
        return draw(ANYTHING)
    if isinstance(value, dict):
        return {
            name: draw(spoiled(inner)) for name, inner in value.items() if draw(st.integers(0, 12))
        }
    if isinstance(value, list):
        return [draw(spoiled(inner)) for inner in value * draw(st.integers(0, 2))]
    return value


@st.composite
def answer(draw: st.DrawFn) -> tuple[str, str, Reply]:
    """Return a path, a model, and what its provider says there."""
    path, model = draw(
        st.sampled_from(tuple(itertools.product((*ANSWERS, "/v1/responses"), MODELS[:3])))
    )
    shape = ANSWERS["/v1/messages" if model == "claude" else "/v1/chat/completions"]
    text = json.dumps(draw(spoiled(shape))).encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        return path, model, Reply(status=draw(st.sampled_from(STATUSES)), body=text)
    events = draw(st.lists(spoiled(shape), max_size=3))
    lines = b"".join(
        b"event: %b\ndata: %b\n\n" % (str(kind).encode(), json.dumps(event).encode())
        for kind, event in zip(("message_start", "message_delta", "error"), events, strict=False)
    )
    return path, model, Reply(body=lines, content_type="text/event-stream")


@FUZZ
@given(data=st.data())
def test_no_answer_of_a_provider_makes_the_gateway_fail(
    gateway: RunningGateway, data: st.DataObject
) -> None:
    answers = data.draw(st.lists(answer(), min_size=AT_ONCE, max_size=AT_ONCE))
    provider = PROVIDERS[gateway.port]

    def script(asked: Received) -> Reply:
        number = re.search(rb"case (\d+)", asked.body)
        return answers[int(number[1])][2] if number else Reply()

    inputs = []
    for number, (path, model, reply) in enumerate(answers):
        said = [{"role": "user", "content": f"case {number}"}]
        body: dict[str, Any] = {"model": model, "max_tokens": 9, "metadata": {"name": "x"}}
        body |= {"input" if path.endswith("responses") else "messages": said}
        body["stream"] = bool(reply.content_type)
        inputs.append([request(gateway.key, "POST", path, json.dumps(body).encode())])
    provider.script = script
    try:
        check(gateway, inputs)
    finally:
        provider.script = pleasant
