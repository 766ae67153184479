"""What an OpenAI chat request asks, said so that another dialect can ask it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from headway.gateway import members
from headway.gateway.chat import (
    Chat,
    Media,
    Message,
    Part,
    Refusal,
    Schema,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Untranslatable,
    split_data_url,
)
from headway.gateway.openai_words import choice_of, image_at, schema_of, tool_of
from headway.kernel.canonical import Json

_TRANSLATED: Final = frozenset(
    {
        "model",
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "stop",
        "response_format",
        "reasoning_effort",
        "user",
        "safety_identifier",
        "metadata",
        "stream",
        "stream_options",
    }
)
_IDLE: Final = frozenset(
    {
        "prediction",
        "prompt_cache_key",
        "prompt_cache_retention",
        "seed",
        "service_tier",
        "store",
    }
)
"""Hints to OpenAI's own machinery: an answer without them is as good."""
_HARMLESS: Final[Mapping[str, tuple[Json, ...]]] = {
    "n": (None, 1),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "functions": (None,),
    "function_call": (None,),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
}
"""Fields that only OpenAI's API has, with the values that change nothing."""


def chat_of(document: Mapping[str, Any]) -> Chat:
    """Return what a parsed request asks.

    Raises `Untranslatable` for what only this API can do, `NotAnswered` (400) for what is wrong.
    """
    for name, harmless in _HARMLESS.items():
        if document.get(name) not in harmless:
            raise Untranslatable(name, "is not known to this version's provider")
    system, messages = _messages(document["messages"])
    return Chat(
        messages=messages,
        system=system,
        tools=tuple(_tools(document)),
        tool_choice=choice_of(document.get("tool_choice"), _named),
        parallel_tools=members.flag(document, "parallel_tool_calls"),
        most_tokens=members.count(document, "max_completion_tokens")
        or members.count(document, "max_tokens"),
        temperature=members.number(document, "temperature"),
        top_p=members.number(document, "top_p"),
        stop=_stop(document.get("stop")),
        schema=_schema(document.get("response_format")),
        effort=members.text(document, "reasoning_effort"),
        user=members.text(document, "safety_identifier") or members.text(document, "user"),
        metadata=_metadata(document.get("metadata")),
        stream=document.get("stream") is True,
        extra={
            name: value
            for name, value in document.items()
            if name not in _TRANSLATED and name not in _IDLE and name not in _HARMLESS
        },
    )


# Fields


def _metadata(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _stop(value: Json) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(map(str, value))
    raise members.wrong("stop", "a text or a list of texts")


def _schema(value: Json) -> Schema | None:
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(kind, str):
        raise members.wrong("response_format", "an object with a `type`")
    if kind == "text":
        return None
    inner = value.get("json_schema")
    if kind != "json_schema" or not isinstance(inner, Mapping):
        raise Untranslatable(
            "response_format",
            f"of the type {kind[:64]!r} is not known to this version's provider: "
            "a `json_schema` is",
        )
    return schema_of(inner)


def _tools(document: Mapping[str, Any]) -> Iterator[Tool]:
    for i, tool in enumerate(members.items(document, "tools")):
        if not isinstance(tool, Mapping):
            raise members.wrong(f"tools[{i}]", "an object")
        function = tool.get("function")
        if tool.get("type") != "function":
            raise Untranslatable(f"tools[{i}]", "is no function: this version's provider has none")
        if not isinstance(function, Mapping):
            raise members.wrong(f"tools[{i}].function", "an object")
        if not isinstance(function.get("name"), str) or not function["name"]:
            raise members.wrong(f"tools[{i}].function.name", "a text")
        yield tool_of(function, {k: v for k, v in tool.items() if k not in {"type", "function"}})


def _named(choice: Mapping[str, Any]) -> Json:
    function = choice.get("function")
    return function.get("name") if isinstance(function, Mapping) else None


# Messages


def _messages(value: list[Any]) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    """Return the system texts, wherever they stand, and the turns in between."""
    system: list[Text] = []
    turns: list[Message] = []
    results: list[Part] = []

    def flush() -> None:
        if results:
            turns.append(Message("user", tuple(results)))
            results.clear()

    for i, message in enumerate(value):
        at = f"messages[{i}]"
        if not isinstance(message, Mapping):
            raise members.wrong(at, "an object")
        role = message.get("role")
        if role == "tool":
            # Results of one turn stand together: other dialects take them in one message.
            results.append(_result(message, at))
            continue
        flush()
        if role in ("system", "developer"):  # it may be a list: no hash
            system.extend(_texts(message.get("content"), at))
        elif role == "user":
            turns.append(Message("user", tuple(_parts(message.get("content"), at))))
        elif role == "assistant":
            turns.append(Message("assistant", tuple(_said(message, at))))
        else:
            raise Untranslatable(f"{at}.role", f"is {str(role)[:64]!r}, which is not translated")
    flush()
    return tuple(system), tuple(turns)


def _texts(content: Json, at: str) -> Iterator[Text]:
    for part in _parts(content, at):
        if not isinstance(part, Text):
            raise Untranslatable(f"{at}.content", "holds more than text")
        yield part


def _parts(content: Json, at: str) -> Iterator[Part]:
    return members.parts(content, f"{at}.content", _part, "[%d]")


def _part(part: Mapping[str, Json], at: str) -> Part:
    kind = part.get("type")
    kind = kind if isinstance(kind, str) else ""
    extra = {k: v for k, v in part.items() if k not in {"type", kind}}
    inner = part.get(kind)
    match kind, inner:
        case "text", str(text):
            return Text(text, extra)
        case "refusal", str(text):
            return Refusal(text)
        case "image_url", {"url": str(url), **rest}:
            return image_at(url, rest.get("detail"), extra)
        case "file", {"file_data": str(url)}:
            media_type, data = split_data_url(url)
            name = inner.get("filename") if isinstance(inner, Mapping) else None
            if not data:
                raise members.wrong(f"{at}.file.file_data", "a data URL with base64")
            return Media(
                "document", data=data, media_type=media_type, name=str(name or ""), extra=extra
            )
        case "text", _:
            raise members.wrong(f"{at}.text", "a text")
        case _:
            raise Untranslatable(
                at, f"is of the type {str(kind)[:64]!r}, which is not known to this provider"
            )


def _said(message: Mapping[str, Any], at: str) -> Iterator[Part]:
    yield from thinking_of(message)
    yield from _parts(message.get("content"), at)
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        yield Refusal(refusal)
    calls = message.get("tool_calls")
    if calls is None:
        return
    if not isinstance(calls, list):
        raise members.wrong(f"{at}.tool_calls", "a list")
    for i, call in enumerate(calls):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise Untranslatable(f"{at}.tool_calls[{i}]", "is no call of a function")
        arguments = function.get("arguments")
        yield ToolCall(
            str(call.get("id") or ""),
            function["name"],
            arguments if isinstance(arguments, str) else "",
        )


def thinking_of(message: Mapping[str, Any]) -> Iterator[Thinking]:
    """Return the reasoning in a message, as far as it can be shown to a provider again.

    OpenAI's API has no field for it. `thinking_blocks`, which several gateways write, holds the
    blocks whole; we write it so that who sends a turn back brings the signatures with it.
    """
    blocks = message.get("thinking_blocks")
    for block in blocks if isinstance(blocks, list) else ():
        if not isinstance(block, Mapping):
            continue
        if block.get("type") == "redacted_thinking":
            yield Thinking(sealed=str(block.get("data") or ""))
        elif block.get("type") == "thinking":
            yield Thinking(str(block.get("thinking") or ""), str(block.get("signature") or ""))


def _result(message: Mapping[str, Any], at: str) -> ToolResult:
    call = message.get("tool_call_id")
    if not isinstance(call, str):
        raise members.wrong(f"{at}.tool_call_id", "a text")
    parts = tuple(
        part for part in _parts(message.get("content"), at) if isinstance(part, Text | Media)
    )
    return ToolResult(call, parts)
