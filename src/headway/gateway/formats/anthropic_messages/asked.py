"""What a request in Anthropic's words asks, said so that another dialect can ask it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from headway.gateway import members
from headway.gateway.chat import (
    Chat,
    Media,
    Message,
    Part,
    Schema,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Untranslatable,
)
from headway.kernel.canonical import Json

_TRANSLATED: Final = frozenset(
    {
        "model",
        "messages",
        "system",
        "max_tokens",
        "metadata",
        "output_config",
        "stop_sequences",
        "stream",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_p",
    }
)
_IDLE: Final = frozenset({"cache_control", "inference_geo", "service_tier"})
"""Hints to Anthropic's own machinery: an answer without them is as good."""
_OWN: Final = ("container", "context_management", "mcp_servers", "output_format")
_UNHEARD: Final = frozenset({"cache_control", "citations"})
"""Of a part: hints, and marks that the provider itself put into its answer."""
_CHOICES: Final = ("auto", "any", "none", "tool")


def chat_of(document: Mapping[str, Any]) -> Chat:
    """Return what a parsed request asks.

    Raises `Untranslatable` for what only this API can do, `NotAnswered` (400) for what is wrong.
    """
    for name in _OWN:
        if document.get(name) is not None:
            raise Untranslatable(name, "is not known to this version's provider")
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    user = metadata.get("user_id")
    config = document.get("output_config")
    config = config if isinstance(config, Mapping) else {}
    choice = document.get("tool_choice")
    return Chat(
        messages=tuple(_messages(document["messages"])),
        system=tuple(_system(document.get("system"))),
        tools=tuple(_tools(document)),
        tool_choice=_choice(choice),
        parallel_tools=_parallel(choice),
        most_tokens=members.count(document, "max_tokens"),
        temperature=members.number(document, "temperature"),
        top_p=members.number(document, "top_p"),
        stop=_stop(document.get("stop_sequences")),
        schema=_schema(config.get("format")),
        effort=_effort(config.get("effort"), document.get("thinking")),
        user=user if isinstance(user, str) else None,
        metadata=metadata,
        stream=document.get("stream") is True,
        extra={
            name: value
            for name, value in document.items()
            if name not in _TRANSLATED and name not in _IDLE and name not in _OWN
        },
    )


# Fields


def _stop(value: Json) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise members.wrong("stop_sequences", "a list of texts")
    return tuple(map(str, value))


def _schema(value: Json) -> Schema | None:
    if value is None:
        return None
    schema = value.get("schema") if isinstance(value, Mapping) else None
    if not isinstance(schema, Mapping):
        raise Untranslatable("output_config.format", "is no `json_schema`")
    return Schema(schema, strict=True)


def _effort(effort: Json, thinking: Json) -> str | None:
    """Return how long to think; a budget in tokens becomes a word."""
    if isinstance(effort, str):
        return "xhigh" if effort == "max" else effort
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    if not isinstance(budget, int):
        return None
    return "low" if budget < 4_096 else "medium" if budget < 16_384 else "high"


def _tools(document: Mapping[str, Any]) -> Iterator[Tool]:
    for i, tool in enumerate(members.items(document, "tools")):
        if not isinstance(tool, Mapping):
            raise members.wrong(f"tools.{i}", "an object")
        schema = tool.get("input_schema")
        if tool.get("type", "custom") != "custom":
            raise Untranslatable(
                f"tools.{i}", "is no tool of the caller's: this version's provider has none"
            )
        if not isinstance(tool.get("name"), str) or not tool["name"]:
            raise members.wrong(f"tools.{i}.name", "a text")
        if not isinstance(schema, Mapping):
            raise members.wrong(f"tools.{i}.input_schema", "an object")
        strict = tool.get("strict")
        yield Tool(
            str(tool.get("name") or ""),
            str(tool.get("description") or ""),
            schema,
            strict if isinstance(strict, bool) else None,
        )


def _choice(value: Json) -> ToolChoice | None:
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or kind not in _CHOICES:
        raise members.wrong("tool_choice", "an object whose `type` is auto, any, tool or none")
    return ToolChoice(kind, str(value.get("name") or ""))


def _parallel(choice: Json) -> bool | None:
    found = choice.get("disable_parallel_tool_use") if isinstance(choice, Mapping) else None
    return not found if isinstance(found, bool) else None


# Messages


def _system(value: Json) -> Iterator[Text]:
    for part in _parts(value, "system"):
        if not isinstance(part, Text):
            raise Untranslatable("system", "holds more than text")
        yield part


def _messages(value: list[Any]) -> Iterator[Message]:
    for i, message in enumerate(value):
        at = f"messages.{i}"
        if not isinstance(message, Mapping):
            raise members.wrong(at, "an object")
        role = message.get("role")
        if role not in ("user", "assistant"):  # it may be a list: no hash
            raise members.wrong(f"{at}.role", "user or assistant")
        yield Message(role, tuple(_parts(message.get("content"), f"{at}.content")))


def _parts(content: Json, at: str) -> Iterator[Part]:
    return members.parts(content, at, _part, ".%d")


def _part(block: Mapping[str, Any], at: str) -> Part:
    match block:
        case {"type": "text", "text": str(text)}:
            known = {"type", "text"} | _UNHEARD
            return Text(text, {k: v for k, v in block.items() if k not in known})
        case {"type": "image", "source": dict(source)}:
            return _media("image", source, at)
        case {"type": "document", "source": {"type": "text", "data": str(text)}}:
            return Text(text)
        case {"type": "document", "source": dict(source)}:
            return _media("document", source, at, str(block.get("title") or ""))
        case {"type": "thinking", "thinking": str(text)}:
            return Thinking(text, str(block.get("signature") or ""))
        case {"type": "redacted_thinking", "data": str(data)}:
            return Thinking(sealed=data)
        case {"type": "tool_use", "id": str(id_), "name": str(name)}:
            return ToolCall(id_, name, orjson.dumps(block.get("input") or {}).decode())
        case {"type": "tool_result", "tool_use_id": str(id_)}:
            parts = tuple(
                part
                for part in _parts(block.get("content"), f"{at}.content")
                if isinstance(part, Text | Media)
            )
            return ToolResult(id_, parts, block.get("is_error") is True)
        case {"type": "text"}:
            raise members.wrong(f"{at}.text", "a text")
        case _:
            raise Untranslatable(
                at,
                f"is a block of the type {str(block.get('type'))[:64]!r}, which is not known to "
                "this version's provider",
            )


def _media(kind: Any, source: Mapping[str, Any], at: str, name: str = "") -> Media:  # noqa: ANN401 - a caller's JSON, of any kind
    match source:
        case {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            return Media(kind, data=data, media_type=media_type, name=name)
        case {"type": "url", "url": str(url)}:
            return Media(kind, url=url, name=name)
        case _:
            raise Untranslatable(
                f"{at}.source", "is of a type that is not known to this version's provider"
            )
