"""A chat, said in the words of OpenAI's chat completions, and the answer understood."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from headway.adapters.providers.openai.reading import (
    NO_FUNCTION,
    ChatReading,
    is_function,
    stop_of,
)
from headway.gateway import exact
from headway.gateway.chat import (
    Answer,
    Chat,
    Media,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Untranslatable,
)
from headway.gateway.exchange import Complaint, Settings
from headway.gateway.formats.openai_chat import NAME
from headway.gateway.formats.openai_chat.merge import merge
from headway.gateway.formats.openai_chat.usage import fault_of, served_by, tokens_of
from headway.gateway.openai_errors import complaint

_CHOICES: Final = {"auto": "auto", "none": "none", "any": "required"}
_FOLLOWS: Final = "(What else this tool returned follows in the next message.)"
_SHOWN: Final = "Returned by the tool call %s:"
_LATEST: Final = 1 << 53
"""Seconds since 1970 beyond which no client reads a number."""
_KNOWN: Final = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint"}
)


class OpenAIUpstream:
    """The provider's side of a translated chat (`exchange.Upstream`)."""

    name = NAME

    def __init__(self, *, limit_field: str) -> None:
        """`limit_field`: how this provider calls the most tokens of an answer."""
        self._limit_field = limit_field

    def write(self, chat: Chat, settings: Settings, values: Mapping[str, str]) -> bytes:
        document: dict[str, Any] = {**chat.extra, "messages": list(_messages(chat))}
        optional: dict[str, Any] = {
            "tools": [_tool(tool) for tool in chat.tools],
            "tool_choice": _choice(chat.tool_choice),
            "parallel_tool_calls": chat.parallel_tools,
            self._limit_field: chat.most_tokens,
            "temperature": chat.temperature,
            "top_p": chat.top_p,
            "stop": list(chat.stop),
            "response_format": _format(chat),
            "reasoning_effort": chat.effort,
            "user": chat.user,
            "stream": chat.stream or None,
        }
        document |= {k: v for k, v in optional.items() if v is not None and v != []}
        return orjson.dumps(merge(document, settings, values))

    def answer(self, body: bytes) -> Answer | str:
        try:
            document = exact.loads(body)
        except orjson.JSONDecodeError:
            return "the provider's answer is not JSON"
        if type(document) is not dict:
            return "the provider's answer is not a JSON object"
        if (fault := fault_of(document)) is not None:
            return fault
        first = document["choices"][0]
        message = first["message"]
        if not all(map(is_function, _calls_of(message))):
            return NO_FUNCTION
        parts = tuple(_parts(message))
        return Answer(
            parts=parts,
            stop=stop_of(first.get("finish_reason"), calls=_calls(parts)),
            tokens=tokens_of(document.get("usage")),
            id=_text(document, "id"),
            model=_text(document, "model"),
            served_by=served_by(document),
            created=created_of(document),
            extra={k: v for k, v in document.items() if k not in _KNOWN},
        )

    def reading(self) -> ChatReading:
        return ChatReading()

    def complaint(self, body: bytes) -> Complaint:
        return complaint(body)._replace(body=None)


def created_of(document: Mapping[str, Any]) -> int:
    value = document.get("created")
    return int(value) if isinstance(value, int | float) and 0 < value < _LATEST else 0


def _calls(parts: Sequence[Part]) -> bool:
    return any(isinstance(part, ToolCall) for part in parts)


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


# What is asked


def _messages(chat: Chat) -> Iterator[dict[str, Any]]:
    if chat.system:
        yield {"role": "system", "content": _content(chat.system)}
    for message in chat.messages:
        yield from _turn(message)


def _turn(message: Message) -> Iterator[dict[str, Any]]:
    rest: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield {"role": "tool", "tool_call_id": part.call_id, "content": _result(part)}
            rest += _shown(part)
        elif not isinstance(part, Thinking):  # these providers do not take it back
            rest.append(part)
    if message.role == "assistant":
        yield _assistant(rest, message.extra)
    elif rest or not message.parts:
        yield {**message.extra, "role": "user", "content": _content(rest)}


def _assistant(parts: Sequence[Part], extra: Mapping[str, Any]) -> dict[str, Any]:
    calls = [
        {
            "id": part.id,
            "type": "function",
            "function": {"name": part.name, "arguments": part.arguments or "{}"},
        }
        for part in parts
        if isinstance(part, ToolCall)
    ]
    said = [part for part in parts if not isinstance(part, ToolCall)]
    message = {**extra, "role": "assistant", "content": _content(said) if said else None}
    return message | ({"tool_calls": calls} if calls else {})


def _content(parts: Sequence[Part]) -> str | list[dict[str, Any]]:
    """Write parts: as one text where that says all, as servers understand that best."""
    if all(isinstance(part, Text) and not part.extra for part in parts):
        return "\n\n".join(part.text for part in parts if isinstance(part, Text))
    return [_part(part) for part in parts]


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {**part.extra, "type": "text", "text": part.text}
        case Refusal():
            return {"type": "refusal", "refusal": part.text}
        case Media(kind="image") if part.url or part.data:
            url = part.url or f"data:{part.media_type};base64,{part.data}"
            image = {"url": url} | ({"detail": part.detail} if part.detail else {})
            return {**part.extra, "type": "image_url", "image_url": image}
        case Media(kind="document") if part.data:
            file = {
                "filename": part.name or "document",
                "file_data": f"data:{part.media_type};base64,{part.data}",
            }
            return {**part.extra, "type": "file", "file": file}
        case _:
            raise Untranslatable("messages", "hold a part that this version's provider has not")


def _result(result: ToolResult) -> str:
    """Write what a tool's result says; more than text has no place here, see `_shown`."""
    said = [part.text for part in result.parts if isinstance(part, Text)]
    if len(said) < len(result.parts):
        said.append(_FOLLOWS)
    return "\n\n".join(said)


def _shown(result: ToolResult) -> Iterator[Part]:
    """Return what a tool's result shows: it follows in the user's next message.

    These providers take images of users alone.
    """
    shown = [part for part in result.parts if not isinstance(part, Text)]
    if shown:
        yield Text(_SHOWN % result.call_id)
    yield from shown


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {**tool.extra, "type": "function", "function": function}


def _choice(choice: ToolChoice | None) -> str | dict[str, Any] | None:
    if choice is None:
        return None
    if choice.kind == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return _CHOICES[choice.kind]


def _format(chat: Chat) -> dict[str, Any] | None:
    schema = chat.schema
    if schema is None:
        return None
    inner: dict[str, Any] = {"name": schema.name, "schema": schema.schema}
    if schema.description:
        inner["description"] = schema.description
    if schema.strict is not None:
        inner["strict"] = schema.strict
    return {"type": "json_schema", "json_schema": inner}


# What is answered


def _parts(message: Mapping[str, Any]) -> Iterator[Part]:
    thought = reasoning_of(message)
    if thought:
        yield Thinking(thought)
    content = message.get("content")
    if isinstance(content, str) and content:
        yield Text(content)
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, Mapping) and isinstance(part.get("text"), str):
                yield Text(part["text"])
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        yield Refusal(refusal)
    for call in _calls_of(message):
        function = call.get("function")
        if isinstance(function, Mapping):
            yield ToolCall(
                _text(call, "id"), _text(function, "name"), _text(function, "arguments")
            )


def _calls_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    calls = message.get("tool_calls")
    return [each for each in calls if isinstance(each, Mapping)] if isinstance(calls, list) else []


def reasoning_of(message: Mapping[str, Any]) -> str:
    """Return shown reasoning: a field that OpenAI's own API has not, under two usual names."""
    return _text(message, "reasoning_content") or _text(message, "reasoning")
