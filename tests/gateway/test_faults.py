"""Whatever a provider does, in any dialect and translation, no half answer looks whole.

Every fault meets every caller: OpenAI's chat and responses, Anthropic's messages; in one piece and
as a stream; from a provider of the same dialect and from one of another. What counts is what the
official client does: it raises, or it holds all that was said.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import anthropic
import httpx2
import numpy as np
import openai
import pytest
import tritonclient.http as triton
from tests.gateway.conftest import Traffic, prepare
from tritonclient.utils import InferenceServerException

from headway.adapters.outbound import Outbound
from headway.gateway.resilience import Resilience, Resiliences
from headway.routing.route import Route
from headway.testing.gateway import RunningGateway, route_of
from headway.testing.provider import (
    BROKEN_STREAMS,
    FAULTS,
    ODDITIES,
    SILENCES,
    Received,
    Reply,
    Script,
    ScriptedProvider,
    ToolCall,
)

BROKEN = (
    openai.APIError,
    anthropic.APIError,
    httpx2.HTTPError,
    httpx2.StreamError,
)
ASKED: Any = [{"role": "user", "content": "where is it"}]
MODELS = {
    # caller's dialect, provider's: what the version calls
    ("chat", "chat"): "chat-at-openai",
    ("chat", "messages"): "any-at-anthropic",
    ("responses", "responses"): "responses-at-openai",
    ("responses", "chat"): "chat-at-openai",
    ("responses", "messages"): "any-at-anthropic",
    ("messages", "messages"): "any-at-anthropic",
    ("messages", "chat"): "chat-at-openai",
}
CREDENTIAL = "sk-canary-test"


@dataclass(frozen=True)
class Heard:
    """What a caller has of an answer."""

    text: str
    finished: bool


class Callers:
    """The official clients, made once, in front of one gateway."""

    def __init__(self, traffic: Traffic, gpt: openai.OpenAI, claude: anthropic.Anthropic) -> None:
        self.traffic = traffic
        key, url = traffic.gateway.key, traffic.gateway.url
        self.gpt = gpt.with_options(base_url=url + "/v1", api_key=key)
        self.claude = claude.with_options(base_url=url, api_key=key)
        self.said: list[str] = []
        """Pieces of text that streams have brought, failures included."""

    def ask(self, dialect: str, model: str, *, stream: bool) -> Heard:
        self.said = []
        ask: Callable[..., Heard] = getattr(self, f"_{dialect}_{'stream' if stream else 'whole'}")
        return ask(model)

    def _chat_whole(self, model: str) -> Heard:
        answer = self.gpt.chat.completions.create(model=model, messages=ASKED)
        choice = answer.choices[0]
        return Heard(choice.message.content or "", choice.finish_reason is not None)

    def _chat_stream(self, model: str) -> Heard:
        finished = False
        with self.gpt.chat.completions.create(model=model, messages=ASKED, stream=True) as stream:
            for chunk in stream:
                self.said.append(chunk.choices[0].delta.content or "")
                finished |= chunk.choices[0].finish_reason is not None
        return Heard("".join(self.said), finished)

    def _responses_whole(self, model: str) -> Heard:
        answer = self.gpt.responses.create(model=model, input="where is it")
        return Heard(answer.output_text, answer.status == "completed")

    def _responses_stream(self, model: str) -> Heard:
        finished = False
        with self.gpt.responses.create(model=model, input="where is it", stream=True) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    self.said.append(event.delta)
                finished |= event.type == "response.completed"
        return Heard("".join(self.said), finished)

    def _messages_whole(self, model: str) -> Heard:
        answer = self.claude.messages.create(model=model, max_tokens=50, messages=ASKED)
        text = "".join(block.text for block in answer.content if block.type == "text")
        return Heard(text, answer.stop_reason is not None)

    def _messages_stream(self, model: str) -> Heard:
        with self.claude.messages.stream(model=model, max_tokens=50, messages=ASKED) as stream:
            self.said.extend(stream.text_stream)
            answer = stream.get_final_message()
        return Heard("".join(self.said), answer.stop_reason is not None)


def targets(provider: ScriptedProvider, **more: object) -> Mapping[str, dict[str, Any]]:
    common = {
        "credential": "test",
        "retries": 0,
        "timeouts": {"first": "10s", "idle": "10s", "total": "20s"},
        **more,
    }
    gpt = {"provider": "openai", "base_url": provider.url, "model": "gpt-upstream", **common}
    claude = {"provider": "anthropic", "base_url": provider.root, "model": "claude-upstream"}
    return {
        "chat-at-openai": {**gpt, "apis": ["chat"]},
        "responses-at-openai": {**gpt, "apis": ["responses"]},
        "any-at-anthropic": {**claude, **common},
        "embeddings-at-openai": {**gpt, "apis": ["embeddings"]},
        "digits-at-triton": {
            "provider": "inference_v2",
            "base_url": provider.root,
            "model": "digits",
            **common,
        },
    }


@pytest.fixture(scope="module")
def callers(official: openai.OpenAI) -> Iterator[Callers]:
    outbound = Outbound(loopback_open=True)
    with (
        ScriptedProvider() as provider,
        RunningGateway(prepare=prepare(), connect=outbound.connect) as gateway,
        anthropic.Anthropic(
            base_url="http://127.0.0.1:1", api_key="none", max_retries=0, timeout=10.0
        ) as claude,
    ):
        traffic = Traffic(gateway, provider, official)
        found = Callers(traffic, official, claude)
        serve(traffic)
        yield found
        assert gateway.faults == []


def serve(traffic: Traffic, **more: object) -> None:
    versions = targets(traffic.provider, **more)
    routes: list[Route] = [
        route_of(model, [("stable", "1.0.0", 10_000)], id=n)
        for n, model in enumerate(versions, start=1)
    ]
    traffic.serve(*routes, versions={(model, "1.0.0"): each for model, each in versions.items()})


class Forgetful(Resiliences):
    def of(self, digest: str) -> Resilience:  # noqa: ARG002 - a port
        return Resilience()


@pytest.fixture(autouse=True)
def unspared(callers: Callers) -> None:
    """Forget how the providers fared: each test is the first that fails."""
    traffic = callers.traffic
    traffic.provider.requests.clear()
    traffic.gateway.gateway.pipeline.resiliences = Resiliences()
    traffic.gateway.taken()


@pytest.fixture
def impatient(callers: Callers) -> Iterator[None]:
    """Let versions wait for a moment only; no fault that is no silence must meet such a one."""
    serve(callers.traffic, timeouts={"first": "100ms", "idle": "100ms", "total": "5s"})
    yield
    serve(callers.traffic)


def every_pair(name: str) -> pytest.MarkDecorator:
    pairs = [pytest.param(*pair, id="-from-".join(pair)) for pair in MODELS]
    return pytest.mark.parametrize(("caller", name), pairs)


WAYS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def outcomes(traffic: Traffic) -> dict[str, int]:
    """Take what was counted, whichever model it was for."""
    found: dict[str, int] = {}
    for each in traffic.gateway.taken().measurements:
        for outcome, n in each.outcomes.items():
            found[outcome] = found.get(outcome, 0) + n
    return found


@every_pair("provider")
@WAYS
@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_raised_and_counted(
    callers: Callers, caller: str, provider: str, name: str, *, stream: bool
) -> None:
    traffic = callers.traffic
    traffic.provider.script = lambda _: FAULTS[name]
    with pytest.raises(BROKEN) as raised:
        callers.ask(caller, MODELS[caller, provider], stream=stream)
    assert outcomes(traffic) == {"provider": 1}
    assert len(traffic.provider.requests) == 1
    told = f"{raised.value} {getattr(raised.value, 'body', '')}"
    for secret in (CREDENTIAL, "sk-quoted", "10.1.2.3", "169.254", str(traffic.provider.port)):
        assert secret not in told


@every_pair("provider")
@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_broken_stream_is_raised_and_counted(
    callers: Callers, caller: str, provider: str, name: str
) -> None:
    traffic = callers.traffic
    traffic.provider.script = lambda _: BROKEN_STREAMS[name]
    with pytest.raises(BROKEN):
        callers.ask(caller, MODELS[caller, provider], stream=True)
    assert outcomes(traffic) == {"provider": 1}


@every_pair("provider")
@pytest.mark.parametrize("name", ["cut", "error within", "malformed event", "polite end"])
def test_what_a_broken_stream_gave_is_given(
    callers: Callers, caller: str, provider: str, name: str
) -> None:
    reply = {**FAULTS, **BROKEN_STREAMS}[name]
    callers.traffic.provider.script = lambda _: replace(reply, after=3, gap_s=0.001)
    with pytest.raises(BROKEN):
        callers.ask(caller, MODELS[caller, provider], stream=True)
    assert "".join(callers.said) == "".join(reply.words[:3])
    callers.traffic.gateway.taken()


@pytest.mark.usefixtures("impatient")
def test_silence_ends_by_the_versions_time_outs(callers: Callers) -> None:
    """All at once, since each has to wait for its time-out."""
    cases = [
        (name, pair, stream) for name in SILENCES for pair in MODELS for stream in (False, True)
    ]

    def script(request: Received) -> Reply:
        return SILENCES[request.headers["x-request-id"].replace("_", " ")]

    def call(case: tuple[str, tuple[str, str], bool]) -> BaseException | Heard:
        name, (caller, provider), stream = case
        fields = {"x-request-id": name.replace(" ", "_")}
        mine = Callers(
            callers.traffic,
            callers.gpt.with_options(default_headers=fields),
            callers.claude.with_options(default_headers=fields),
        )
        try:
            return mine.ask(caller, MODELS[caller, provider], stream=stream)
        except BROKEN as error:
            return error

    callers.traffic.provider.script = script
    callers.traffic.gateway.gateway.pipeline.resiliences = Forgetful()
    with ThreadPoolExecutor(len(cases)) as threads:
        found = list(threads.map(call, cases))
    unraised = [case for case, each in zip(cases, found, strict=True) if isinstance(each, Heard)]
    assert unraised == []
    assert outcomes(callers.traffic) == {"provider": len(cases)}


@every_pair("provider")
@pytest.mark.parametrize("name", ODDITIES)
def test_what_is_only_odd_is_understood(
    callers: Callers, caller: str, provider: str, name: str
) -> None:
    reply = replace(ODDITIES[name], input_tokens=9, output_tokens=4, cached_tokens=2)
    callers.traffic.provider.script = lambda _: reply
    heard = callers.ask(caller, MODELS[caller, provider], stream=True)
    assert heard == Heard(reply.text, finished=True)
    (measured,) = callers.traffic.gateway.taken().measurements
    assert measured.outcomes == {"ok": 1}
    assert measured.tokens == {"input": 9, "output": 4, "cached": 2}


RICH = Reply(
    thinking="Let me see.",
    text="I look it up.",
    tools=(ToolCall("find", '{"id": 7}'), ToolCall("tell", '{"who": "me"}', "call_2")),
    input_tokens=90,
    cached_tokens=50,
    cache_write_tokens=10,
    output_tokens=12,
)


@every_pair("provider")
@WAYS
def test_usage_is_the_providers_own_whatever_the_caller_asked(
    callers: Callers, caller: str, provider: str, *, stream: bool
) -> None:
    callers.traffic.provider.script = lambda _: RICH
    heard = callers.ask(caller, MODELS[caller, provider], stream=stream)
    assert heard == Heard("I look it up.", finished=True)
    (measured,) = callers.traffic.gateway.taken().measurements
    assert measured.tokens == {"input": 90, "output": 12, "cached": 50, "cache_write": 10}


@pytest.mark.parametrize("provider", ["messages", "responses"])
def test_tokens_that_a_broken_stream_told_are_counted(callers: Callers, provider: str) -> None:
    """Anthropic tells what was asked at the beginning; it is spent, whatever comes then."""
    caller = provider
    reply = replace(FAULTS["cut"], input_tokens=90, cached_tokens=50)
    callers.traffic.provider.script = lambda _: reply
    with pytest.raises(BROKEN):
        callers.ask(caller, MODELS[caller, provider], stream=True)
    (measured,) = callers.traffic.gateway.taken().measurements
    wanted = {"input": 90, "cached": 50} if provider == "messages" else {}
    assert {name: n for name, n in measured.tokens.items() if name != "output"} == wanted


def _without(word: bytes) -> Callable[[list[bytes]], list[bytes]]:
    return lambda events: [event for event in events if word not in event]


def _instead(old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    return lambda events: [event.replace(old, new) for event in events]


def _twice(events: list[bytes]) -> list[bytes]:
    return [events[0], *events]


HALF: dict[str, tuple[str, Reply]] = {
    "[DONE] without a finish reason": (
        "chat", Reply(edit=_instead(b'"finish_reason":"stop"', b'"finish_reason":null')),
    ),
    "[DONE] within a call of a tool": (
        "chat",
        Reply(
            text="",
            tools=(ToolCall("find", '{"id": 7}'),),
            edit=lambda events: [*events[:2], events[-1]],
        ),
    ),
    "[DONE] within a call, and nobody speaks of reasons": (
        "chat",
        Reply(
            text="",
            tools=(ToolCall("find", '{"id": 7}'),),
            edit=lambda events: [
                event.replace(b',"finish_reason":null', b"") for event in (*events[:2], events[-1])
            ],
        ),
    ),
    "[DONE] and nothing else": ("chat", Reply(edit=lambda events: events[-1:])),
    "finish reason that says it broke off": (
        "chat", Reply(edit=_instead(b'"finish_reason":"stop"', b'"finish_reason":"error"')),
    ),
    "message that never began": ("messages", Reply(edit=lambda events: events[1:])),
    "response that never began": ("responses", Reply(edit=lambda events: events[2:])),
    "message that begins twice": ("messages", Reply(edit=_twice)),
    "message without a stop reason": ("messages", Reply(edit=_without(b'stop_reason":"end'))),
    "block that never ends": ("messages", Reply(edit=_without(b"event: content_block_stop"))),
    "block that never began": ("messages", Reply(edit=_without(b"event: content_block_start"))),
    "response that begins twice": ("responses", Reply(edit=_twice)),
    "response that failed": ("responses", Reply(stop="failed")),
    "error by its name alone": (
        "messages", Reply(insert=b'event: error\ndata: {"error": {"type": "overloaded"}}\n\n'),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HALF)
def test_half_answer_that_claims_to_be_whole_is_not_believed(callers: Callers, name: str) -> None:
    provider, reply = HALF[name]
    callers.traffic.provider.script = lambda _: reply
    pairs = [pair for pair in MODELS if pair[1] == provider]
    for caller, _ in pairs:
        with pytest.raises(BROKEN):
            callers.ask(caller, MODELS[caller, provider], stream=True)
    assert outcomes(callers.traffic) == {"provider": len(pairs)}


NEW = b'event: something_new\ndata: {"type": "something_new", "sequence_number": 7}\n\n'
FINE: dict[str, tuple[str, Reply]] = {
    "pings": ("messages", Reply(insert=b'event: ping\ndata: {"type": "ping"}\n\n' * 3)),
    "unknown event of messages": ("messages", Reply(insert=NEW)),
    "events without a name": ("messages", Reply(edit=_instead(b"event: content_block_", b": "))),
    "usage that goes down": (
        "messages",
        Reply(input_tokens=9, output_tokens=4, edit=_instead(
            b'"usage":{"output_tokens":4}', b'"usage":{"output_tokens":4,"input_tokens":1}'
        )),
    ),
    "nobody speaks of finish reasons": (
        "chat", Reply(edit=lambda events: [
            event.replace(b',"finish_reason":null', b"") for event in events
            if b'"finish_reason":"stop"' not in event
        ]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_what_is_new_or_left_out_without_harm_is_taken(callers: Callers, name: str) -> None:
    provider, reply = FINE[name]
    callers.traffic.provider.script = lambda _: reply
    for caller, other in MODELS:
        if other == provider:
            heard = callers.ask(caller, MODELS[caller, provider], stream=True)
            assert heard.text == reply.text
    assert set(outcomes(callers.traffic)) == {"ok"}


def test_tokens_that_were_told_are_not_taken_back(callers: Callers) -> None:
    callers.traffic.provider.script = lambda _: FINE["usage that goes down"][1]
    callers.ask("messages", "any-at-anthropic", stream=True)
    (measured,) = callers.traffic.gateway.taken().measurements
    assert measured.tokens == {"input": 9, "output": 4}


def test_response_that_is_incomplete_is_an_answer(callers: Callers) -> None:
    callers.traffic.provider.script = lambda _: Reply(stop="incomplete")
    for stream in (False, True):
        heard = callers.ask("responses", "responses-at-openai", stream=stream)
        assert heard == Heard(Reply().text, finished=False)
    assert outcomes(callers.traffic) == {"ok": 2}


def test_refusal_of_a_claude_is_an_answer_in_every_dialect(callers: Callers) -> None:
    reply = Reply(text="", refusal="I will not.")
    callers.traffic.provider.script = lambda _: reply
    chat = callers.gpt.chat.completions.create(model="any-at-anthropic", messages=ASKED)
    assert chat.choices[0].finish_reason == "content_filter"
    response = callers.gpt.responses.create(model="any-at-anthropic", input="?")
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "content_filter"
    assert callers.ask("messages", "any-at-anthropic", stream=True).text == "I will not."
    assert outcomes(callers.traffic) == {"ok": 3}


def test_calls_with_the_same_index_stay_apart(callers: Callers) -> None:
    """As some servers of OpenAI's API number them."""
    reply = replace(RICH, edit=_instead(b'"tool_calls":[{"index":1', b'"tool_calls":[{"index":0'))
    callers.traffic.provider.script = lambda _: reply
    with callers.claude.messages.stream(
        model="chat-at-openai", max_tokens=50, messages=ASKED
    ) as stream:
        answer = stream.get_final_message()
    calls = [block.input for block in answer.content if block.type == "tool_use"]
    assert calls == [{"id": 7}, {"who": "me"}]
    callers.traffic.gateway.taken()


def test_several_choices_are_all_complete_or_none_is(callers: Callers) -> None:
    callers.traffic.provider.script = lambda _: Reply()
    with callers.gpt.chat.completions.create(
        model="chat-at-openai", messages=ASKED, n=2, stream=True
    ) as stream:
        assert {choice.index for chunk in stream for choice in chunk.choices} == {0, 1}
    callers.traffic.provider.script = lambda _: Reply(
        edit=lambda events: [*events[:-3], events[-1]]
    )
    with (
        pytest.raises(BROKEN),
        callers.gpt.chat.completions.create(
            model="chat-at-openai", messages=ASKED, n=2, stream=True
        ) as stream,
    ):
        list(stream)
    assert outcomes(callers.traffic) == {"ok": 1, "provider": 1}


LIMITED = {
    "429": (None, None),
    "429 with seconds": ("7", None),
    "429 with milliseconds": ("2", "1500"),
    "429 with a date": ("120", None),
    "429 with an absurd wait": ("120", None),
}


@every_pair("provider")
@WAYS
@pytest.mark.parametrize("name", LIMITED)
def test_a_providers_limit_is_told_with_its_wait(
    callers: Callers, caller: str, provider: str, name: str, *, stream: bool
) -> None:
    reply = replace(
        FAULTS[name],
        code="rate_limit_exceeded",
        error="organization org-canary is limited",
        headers={**FAULTS[name].headers, "x-ratelimit-remaining-requests": "0"},
    )
    callers.traffic.provider.script = lambda _: reply
    with pytest.raises((openai.RateLimitError, anthropic.RateLimitError)) as raised:
        callers.ask(caller, MODELS[caller, provider], stream=stream)
    error: Any = raised.value
    fields = error.response.headers
    assert (fields.get("retry-after"), fields.get("retry-after-ms")) == LIMITED[name]
    assert fields["x-ratelimit-remaining-requests"] == "0"
    assert "org-canary" not in error.response.text
    if caller != "messages":
        assert error.code == "rate_limit_exceeded"


@every_pair("provider")
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("code", ["invalid_api_key", "insufficient_quota"])
def test_refused_credential_of_ours_is_never_the_callers(
    callers: Callers, caller: str, provider: str, status: int, code: str
) -> None:
    quoted = "Incorrect API key provided: sk-ca******est"
    callers.traffic.provider.script = lambda _: Reply(status=status, error=quoted, code=code)
    with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)) as raised:
        callers.ask(caller, MODELS[caller, provider], stream=False)
    error: Any = raised.value
    assert error.status_code == 502
    assert "sk-ca" not in error.response.text
    assert code not in error.response.text


def always(reply: Reply) -> Script:
    return lambda _: reply


@every_pair("provider")
@WAYS
@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
def test_words_about_the_callers_request_reach_it_unless_they_hold_a_secret(
    callers: Callers, caller: str, provider: str, status: int, *, stream: bool
) -> None:
    port = callers.traffic.provider.port
    told: list[str] = []
    for words in ("too long by 7 tokens", f"key {CREDENTIAL}", f"ask 127.0.0.1:{port}"):
        reply = Reply(status=status, error=words)
        callers.traffic.provider.script = always(reply)
        with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as raised:
            callers.ask(caller, MODELS[caller, provider], stream=stream)
        error: Any = raised.value
        assert error.status_code == status
        told.append(error.response.text)
    assert "too long by 7 tokens" in told[0]
    assert CREDENTIAL not in told[1]
    assert str(port) not in told[2]
    assert outcomes(callers.traffic) == {"refused": 3}


@every_pair("provider")
@WAYS
def test_errors_within_an_answer_say_a_word_and_no_sentence(
    callers: Callers, caller: str, provider: str, *, stream: bool
) -> None:
    reply = replace(
        FAULTS["error within"], error=f"{CREDENTIAL} at 10.9.8.7", code="overloaded_error"
    )
    callers.traffic.provider.script = lambda _: reply
    with pytest.raises(BROKEN) as raised:
        callers.ask(caller, MODELS[caller, provider], stream=stream)
    told = f"{raised.value} {getattr(raised.value, 'body', '')}"
    assert "overloaded_error" in told
    assert CREDENTIAL not in told
    assert "10.9.8.7" not in told


def test_tokens_of_a_try_that_failed_are_counted_with_those_of_the_next(
    callers: Callers,
) -> None:
    serve(callers.traffic, retries=1)
    replies = iter(
        [
            replace(FAULTS["error before the first content"], input_tokens=90, output_tokens=0),
            Reply(input_tokens=90, output_tokens=5),
        ]
    )
    callers.traffic.provider.script = lambda _: next(replies)
    heard = callers.ask("messages", "any-at-anthropic", stream=True)
    serve(callers.traffic)
    assert heard.text == Reply().text
    (measured,) = callers.traffic.gateway.taken().measurements
    assert measured.tokens == {"input": 180, "output": 5}


WHOLE_ONLY = {
    # Faults that mean the same to a format that has no stream.
    name: reply
    for name, reply in FAULTS.items()
    if name != "polite end before the first content"
}


@pytest.mark.parametrize("name", WHOLE_ONLY)
@pytest.mark.parametrize("format_", ["embeddings", "count_tokens", "infer"])
def test_formats_without_streams_are_as_truthful(
    callers: Callers, format_: str, name: str
) -> None:
    traffic = callers.traffic
    traffic.provider.script = lambda _: WHOLE_ONLY[name]
    with pytest.raises((*BROKEN, InferenceServerException)) as raised:
        ask_once(callers, format_)
    assert outcomes(traffic) == {"provider": 1}
    assert "10.1.2.3" not in str(raised.value)
    assert "sk-quoted" not in str(raised.value)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("format_", ["embeddings", "count_tokens", "infer"])
def test_formats_without_streams_do_not_wait_for_ever(callers: Callers, format_: str) -> None:
    callers.traffic.provider.script = lambda _: SILENCES["stall"]
    with pytest.raises((*BROKEN, InferenceServerException)):
        ask_once(callers, format_)
    assert outcomes(callers.traffic) == {"provider": 1}


def ask_once(callers: Callers, format_: str) -> None:
    match format_:
        case "embeddings":
            callers.gpt.embeddings.create(model="embeddings-at-openai", input=["a", "b"])
        case "count_tokens":
            callers.claude.messages.count_tokens(model="any-at-anthropic", messages=ASKED)
        case _:
            infer(callers.traffic)


def infer(traffic: Traffic) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{traffic.gateway.port}")
    tensor = triton.InferInput("x", [3], "INT64")
    tensor.set_data_from_numpy(np.array([1, 2, 3]), binary_data=False)
    try:
        client.infer(
            "digits-at-triton",
            [tensor],
            headers={"authorization": f"Bearer {traffic.gateway.key}"},
        )
    finally:
        client.close()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_refusal_that_quotes_our_credential_in_escapes_is_not_shown(
    traffic: Traffic, path: str
) -> None:
    quoted = CREDENTIAL.replace("-", "\\u002d")
    body = f'{{"error": {{"message": "not with {quoted}", "code": "bad"}}}}'
    traffic.provider.script = lambda _: Reply(status=400, body=body.encode())
    answer = httpx2.post(
        traffic.gateway.url + path,
        json={"model": "bot", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
        headers={"authorization": f"Bearer {traffic.gateway.key}"},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "the model refuses this request"
