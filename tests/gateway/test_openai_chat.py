"""What a chat request says, what goes to the provider, and what a stream shows as it passes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.gateway.exchange import NO_SETTINGS, Ask, NotAnswered, Settings
from headway.gateway.formats.openai_chat import OpenAIChat
from headway.gateway.formats.openai_chat.merge import splice
from headway.gateway.formats.openai_chat.stream import ChatStream
from headway.registry.prompt import Template
from headway.tracking.measurement import Outcome

CHAT = OpenAIChat()
NONE: dict[bytes, bytes] = {}


def ask(document: dict[str, Any] | bytes, **headers: str) -> Ask:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    fields = {k.replace("_", "-").encode(): v.encode() for k, v in headers.items()}
    return CHAT.read(body, fields, None)


def hello(**more: object) -> dict[str, Any]:
    return {"model": "bot", "messages": [{"role": "user", "content": "hello"}], **more}


def written(document: dict[str, Any], settings: Settings, **headers: str) -> dict[str, Any]:
    fields = {k.replace("_", "-").encode(): v.encode() for k, v in headers.items()}
    found = CHAT.writer(settings)(ask(document), fields)
    return dict(json.loads(found))


def test_model_may_be_pinned() -> None:
    assert (ask(hello()).model, ask(hello()).ref) == ("bot", None)
    pinned = ask(hello(model="bot@^1.2"))
    assert (pinned.model, pinned.ref) == ("bot", "^1.2")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"model": "bot"}',
        b'{"messages": []}',
        b'{"model": 7, "messages": []}',
        b'{"model": "", "messages": []}',
        b'{"model": "bot", "messages": {}}',
        b'{"model": "bot", "messages": [], "stream": "yes"}',
        b'{"model": "bot", "messages": [], "stream": true, "stream_options": 1}',
        b'{"model": "bot", "messages": [NaN]}',
        b'{"model": "bot", "messages": ' + b"[" * 80 + b"]" * 80 + b"}",
        b'{"model": "bot", "messages": [' + b"0," * 100_000 + b"0]}",
        b'{"model": "bot", "messages": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
def test_malformed_requests_are_the_callers_fault(body: bytes) -> None:
    with pytest.raises(NotAnswered) as refused:
        ask(body)
    assert refused.value.problem.status == 400
    assert refused.value.problem.outcome is Outcome.CALLER


def test_brackets_within_texts_are_no_depth() -> None:
    assert ask(hello(user="[" * 1_000)).model == "bot"


def test_unit_comes_from_headers_and_body() -> None:
    found = ask(
        hello(
            user="u",
            safety_identifier="s",
            prompt_cache_key="p",
            metadata={"conversation_id": "c"},
        ),
        headway_conversation="hc",
        headway_user="hu",
        headway_tenant="ht",
    ).hints
    assert found.conversation_header == "hc"
    assert found.conversation_id == "c"
    assert (found.prompt_cache_key, found.safety_identifier, found.user) == ("p", "s", "u")
    assert (found.user_header, found.tenant_header) == ("hu", "ht")
    nothing = ask(hello(user=7, metadata="x")).hints
    assert (nothing.user, nothing.conversation_id) == (None, None)


def test_splice_changes_the_models_name_and_not_one_other_byte() -> None:
    body = '{ "messages" : [{"content":"said \\"model\\": é"}],"model" :\t"bot@1", "x": 1e2 }'
    found = splice(ask(body.encode()), 'gpt-"5"')
    assert found == body.replace('"bot@1"', '"gpt-\\"5\\""').encode()


def test_stream_asks_for_usage_by_splice() -> None:
    found = splice(ask(hello(stream=True)), "gpt-5")
    assert found is not None
    assert json.loads(found) == hello(
        model="gpt-5", stream=True, stream_options={"include_usage": True}
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"bot","messages":[{"model":"x"}]}',
        b'{"model":"a","model":"bot","messages":[]}',
        b'{"mod\\u0065l":"bot","messages":[{"model":"bot"}]}',
        b'{"model":"b\\u006ft","messages":[]}',
        b'{"model":"b\\"t","messages":[]}',
        b'{"model":"bot","messages":[],"stream":true,"stream_options":{"x":1}}',
    ],
)
def test_what_cannot_be_spliced_is_written_anew(body: bytes) -> None:
    asked = ask(body)
    assert splice(asked, "gpt-5") is None
    document = json.loads(CHAT.writer(Settings(model="gpt-5"))(asked, NONE))
    assert document["model"] == "gpt-5"
    assert document["messages"] == json.loads(body)["messages"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text() | st.just("model"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.just("model"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    extra=st.dictionaries(st.text(max_size=4) | st.just('say "model'), json_values, max_size=4),
    model=st.text(min_size=1),
    escaped=st.booleans(),
    stream=st.booleans(),
)
def test_however_it_is_written_only_the_name_and_the_usage_change(
    extra: dict[str, Any], model: str, *, escaped: bool, stream: bool
) -> None:
    given_ = {**extra, **hello(), "stream": stream}
    given_.pop("stream_options", None)
    body = json.dumps(given_, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    try:
        asked = ask(body)
        wanted_name = model.encode().decode()
    except (NotAnswered, UnicodeEncodeError):
        return  # a lone surrogate: refused
    wanted = {**given_, "model": wanted_name}
    if stream:
        wanted["stream_options"] = {"include_usage": True}
    assert json.loads(CHAT.writer(Settings(model=model))(asked, NONE)) == wanted


def test_version_adds_its_defaults_and_its_locked_parameters_win() -> None:
    settings = Settings(
        model="gpt-5", parameters={"temperature": 0.2, "seed": 1}, locked={"top_p": 0.5}
    )
    found = written(hello(temperature=0.9, top_p=1), settings)
    assert found == hello(model="gpt-5", temperature=0.9, seed=1, top_p=0.5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")],
)
def test_limit_is_said_once_whichever_of_its_two_names_is_used(ours: str, theirs: str) -> None:
    """Providers refuse a request that holds both."""
    default = Settings(model="m", parameters={ours: 99})
    assert written(hello(), default) == hello(model="m", **{ours: 99})
    assert written(hello(**{theirs: 5}), default) == hello(model="m", **{theirs: 5})
    assert written(hello(**{ours: 5}), default) == hello(model="m", **{ours: 5})

    locked = Settings(model="m", locked={ours: 99})
    assert written(hello(**{theirs: 5}), locked) == hello(model="m", **{ours: 99})


def test_limit_that_a_caller_says_twice_is_the_providers_to_answer() -> None:
    both = {"max_tokens": 5, "max_completion_tokens": 6}
    settings = Settings(model="m", parameters={"max_tokens": 99, "seed": 1})
    assert written(hello(**both), settings) == hello(model="m", seed=1, **both)


def test_versions_text_goes_before_the_callers() -> None:
    settings = Settings(
        model="m",
        template=Template.parse("Desk of {{ company }}."),
        variables={"company": "Acme"},
    )
    assert written(hello(), settings)["messages"] == [
        {"role": "system", "content": "Desk of Acme."},
        {"role": "user", "content": "hello"},
    ]
    own = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    assert written(hello(messages=own), settings)["messages"] == [
        {"role": "system", "content": "Desk of Acme.\n\nBe brief."},
        {"role": "user", "content": "hello"},
    ]
    parts = [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}]
    assert written(hello(messages=parts), settings)["messages"] == [
        {
            "role": "developer",
            "content": [
                {"type": "text", "text": "Desk of Acme."},
                {"type": "text", "text": "Be brief."},
            ],
        },
    ]


def test_variables_come_from_the_header_then_the_metadata_then_the_default() -> None:
    settings = Settings(
        model="m",
        template=Template.parse("{{a}} {{b}} {{c}}"),
        variables={"a": "1", "b": "1", "c": "1"},
    )
    found = written(
        hello(metadata={"a": "2", "b": "{{c}}"}), settings, headway_variables='{"a": "3"}'
    )
    assert found["messages"][0]["content"] == "3 {{c}} 1"


def test_missing_variable_is_refused_with_its_name() -> None:
    settings = Settings(model="m", template=Template.parse("{{a}}"), variables={"a": None})
    with pytest.raises(NotAnswered, match="'a'") as refused:
        written(hello(), settings)
    assert refused.value.problem.status == 422
    assert refused.value.problem.outcome is Outcome.REFUSED


def test_versions_tool_wins_on_the_same_name() -> None:
    def tool(name: str, text: str) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "description": text}}

    settings = Settings(model="m", tools=(tool("search", "ours"),))
    found = written(hello(tools=[tool("search", "theirs"), tool("add", "theirs")]), settings)
    assert found["tools"] == [tool("add", "theirs"), tool("search", "ours")]


def test_merged_stream_keeps_the_callers_options() -> None:
    settings = Settings(model="m", parameters={"seed": 1})
    found = written(hello(stream=True, stream_options={"x": 1}), settings)
    assert found["stream_options"] == {"x": 1, "include_usage": True}


def test_answer_that_holds_an_error_is_a_failure() -> None:
    assert (
        CHAT.whole(ask(hello()), b'{"error": {"message": "no"}, "choices": []}', {}).error
        is not None
    )
    assert CHAT.whole(ask(hello()), b"<html>", {}).error is not None
    assert CHAT.whole(ask(hello()), b'{"choices": 1}', {}).error is not None
    assert CHAT.whole(ask(hello()), b"[]", {}).error is not None


def test_answer_tells_its_tokens_and_its_maker() -> None:
    found = CHAT.whole(
        ask(hello()),
        json.dumps(
            {
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}],
                "model": "gpt-5-2026",
                "system_fingerprint": "fp_1",
                "usage": {
                    "prompt_tokens": 10,
                    "completion_tokens": 20,
                    "prompt_tokens_details": {"cached_tokens": 4},
                    "completion_tokens_details": {"reasoning_tokens": 8},
                },
            }
        ).encode(),
        {},
    )
    assert found.error is None
    assert found.tokens == {"input": 10, "output": 20, "cached": 4, "reasoning": 8}
    assert found.served_by == "gpt-5-2026 fp_1"


def chunk(content: str | None = None, *, finish: str | None = None, **more: object) -> bytes:
    delta = {} if content is None else {"content": content}
    document = {
        "id": "c",
        "model": "gpt-5",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }
    return b"data: " + json.dumps(document).encode() + b"\n\n"


USAGE = chunk(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4})
DONE = b"data: [DONE]\n\n"
STREAM = [chunk(""), chunk("Hel"), chunk("lo"), chunk(finish="stop"), USAGE, DONE]


def passed(stream: ChatStream, data: bytes, size: int) -> bytes:
    return b"".join(stream.feed(data[i : i + size]) for i in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_stream_passes_whole_events_and_keeps_usage_from_who_did_not_ask(
    size: int, newline: bytes
) -> None:
    events = [event.replace(b"\n", newline) for event in STREAM]
    stream = ChatStream(wants_usage=False)
    out = passed(stream, b"".join(events), size)
    assert out == b"".join(events[:4] + events[5:])
    assert stream.done
    assert stream.started
    assert stream.tokens == {"input": 3, "output": 4}
    assert stream.served_by == "gpt-5"
    assert stream.end(by_close=True) == b""


def test_who_asked_for_usage_gets_it() -> None:
    stream = ChatStream(wants_usage=True)
    assert passed(stream, b"".join(STREAM), 50) == b"".join(STREAM)


@pytest.mark.parametrize("before", range(5))
def test_stream_that_ends_before_its_finish_is_incomplete(before: int) -> None:
    stream = ChatStream(wants_usage=False)
    stream.feed(b"".join(STREAM[: min(before, 3)]))
    assert stream.end(by_close=False) is None
    assert stream.end(by_close=True) is None


def test_finish_reason_and_a_framed_end_stand_for_the_missing_done() -> None:
    stream = ChatStream(wants_usage=False)
    stream.feed(b"".join(STREAM[:4]))
    assert stream.end(by_close=False) == DONE
    assert stream.end(by_close=True) is None


@pytest.mark.parametrize(
    "odd", [b"data:   [DONE]", b"data: \t[DONE] ", b"event: end\ndata:  [DONE]"]
)
def test_done_with_odd_blanks_is_told_so_that_clients_understand_it(odd: bytes) -> None:
    stream = ChatStream(wants_usage=False)
    assert stream.feed(b"".join(STREAM[:4]) + odd + b"\n\n").endswith(DONE)
    assert stream.done
    assert stream.error is None


@pytest.mark.parametrize("near", [b"data: [DONE]", b"data:[DONE]", b"data: [DONE]  "])
def test_done_that_clients_understand_passes_as_it_came(near: bytes) -> None:
    stream = ChatStream(wants_usage=False)
    assert stream.feed(b"".join(STREAM[:4]) + near + b"\n\n").endswith(near + b"\n\n")
    assert stream.done


def test_done_without_its_blank_line_counts() -> None:
    stream = ChatStream(wants_usage=False)
    stream.feed(b"".join(STREAM[:4]) + b"data: [DONE]\n")
    assert stream.end(by_close=True) == DONE


@pytest.mark.parametrize(
    "bad",
    [
        b'data: {"error": {"message": "overloaded"}}\n\n',
        b"data: <html>\n\n",
        b"data: []\n\n",
    ],
)
def test_error_in_the_stream_is_a_failure_and_nothing_after_it_passes(bad: bytes) -> None:
    stream = ChatStream(wants_usage=False)
    out = stream.feed(chunk("") + bad + chunk("more") + DONE)
    assert out == chunk("")
    assert stream.error is not None
    assert stream.end(by_close=False) is None
    assert stream.feed(DONE) == b""


def test_error_after_the_first_content_is_seen_too() -> None:
    stream = ChatStream(wants_usage=False)
    stream.feed(chunk("Hel"))
    error = b'{"message": "at 10.1.2.3", "type": "server_error", "code": "overloaded"}'
    assert stream.feed(b'data: {"error": %b}\n\n' % error) == b""
    assert stream.error is not None
    assert "overloaded" in stream.error
    assert "10.1.2.3" not in stream.error


def test_words_of_the_protocol_within_an_answer_mean_nothing() -> None:
    tricky = 'say "error" and "usage": {} and [DONE] and "finish_reason": "stop"'
    stream = ChatStream(wants_usage=False)
    events = chunk("x") + chunk(tricky)
    assert stream.feed(events) == events
    assert not stream.done
    assert stream.error is None
    assert stream.end(by_close=False) is None


def test_first_token_is_the_first_content_not_the_first_byte() -> None:
    stream = ChatStream(wants_usage=False)
    stream.feed(b": keep-alive\n\n" + chunk(""))
    assert not stream.started
    tool = {"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]}
    stream.feed(b"data: " + json.dumps(tool).encode() + b"\n\n")
    assert stream.started


def test_settings_without_anything_change_only_the_model() -> None:
    assert NO_SETTINGS.only_model
    assert not Settings(model="m", locked={"a": 1}).only_model
