"""A chat, said in the words of Anthropic's messages, and the answer understood."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from headway.adapters.providers.anthropic.reading import MessageReading, stop_of
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
    ToolResult,
    Untranslatable,
)
from headway.gateway.exchange import Complaint, Settings
from headway.gateway.formats.anthropic_messages import NAME, complaint
from headway.gateway.formats.anthropic_messages.merge import merge
from headway.gateway.formats.anthropic_messages.usage import fault_of, served_by, tokens_of

MOST_TOKENS: Final = 4_096
"""Of an answer, where neither the caller nor the version says: this API wants to be told."""
_EFFORTS: Final = {"none": None, "minimal": "low", "xhigh": "max"}
_KNOWN: Final = frozenset(
    {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"}
)


class AnthropicUpstream:
    """The provider's side of a translated chat (`exchange.Upstream`)."""

    name = NAME

    def write(self, chat: Chat, settings: Settings, values: Mapping[str, str]) -> bytes:
        document: dict[str, Any] = {
            **chat.extra,
            "messages": list(_messages(chat.messages)),
        }
        config = _output_config(chat)
        optional: dict[str, Any] = {
            "system": _system(chat.system),
            "tools": [_tool(tool) for tool in chat.tools],
            "tool_choice": _choice(chat),
            "max_tokens": chat.most_tokens
            or (None if "max_tokens" in settings.parameters else MOST_TOKENS),
            # The other dialect's scale ends at 2, this one's at 1.
            "temperature": None if chat.temperature is None else min(chat.temperature, 1),
            "top_p": chat.top_p,
            "stop_sequences": list(chat.stop),
            "output_config": config or None,
            "metadata": {"user_id": chat.user} if chat.user else None,
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
        content, reason = document["content"], document["stop_reason"]
        model, stopped_by = served_by(document), document.get("stop_sequence")
        return Answer(
            parts=tuple(_parts(content)),
            stop=stop_of(reason),
            stopped_by=stopped_by if isinstance(stopped_by, str) else None,
            tokens=tokens_of(document.get("usage")),
            id=str(document.get("id") or ""),
            model=model,
            served_by=model,
            extra={k: v for k, v in document.items() if k not in _KNOWN},
        )

    def reading(self) -> MessageReading:
        return MessageReading()

    def complaint(self, body: bytes) -> Complaint:
        return complaint(body)._replace(body=None)


# What is asked


def _messages(messages: Iterable[Message]) -> Iterator[dict[str, Any]]:
    """Write turns; this API refuses one in which nothing is said."""
    for message in messages:
        if blocks := list(_blocks(message.parts)):
            yield {"role": message.role, "content": blocks}
        elif message.role == "user":
            raise Untranslatable(
                "messages",
                "hold one of the user's without content, which this version's provider refuses",
            )


def _system(texts: tuple[Text, ...]) -> str | list[dict[str, Any]] | None:
    if not texts:
        return None
    if any(text.extra for text in texts):
        return [{**text.extra, "type": "text", "text": text.text} for text in texts]
    return "\n\n".join(text.text for text in texts)


def _blocks(parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
    """Write parts; an empty text is no block that this API takes."""
    for part in parts:
        match part:
            case Text(text=text):
                if text:
                    yield {**part.extra, "type": "text", "text": text}
            case Refusal(text=text):
                yield {"type": "text", "text": text}
            case Thinking(sealed=sealed) if sealed:
                yield {"type": "redacted_thinking", "data": sealed}
            case Thinking(signature=signature):
                # Without its signature this API refuses a thought, and does without.
                if signature:
                    yield {"type": "thinking", "thinking": part.text, "signature": signature}
            case ToolCall():
                yield {
                    "type": "tool_use",
                    "id": part.id,
                    "name": part.name,
                    "input": _input(part.arguments),
                }
            case ToolResult():
                yield _result(part)
            case Media():
                yield {**_hints(part.extra), "type": part.kind, "source": _source(part)}


def _hints(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in extra.items() if name == "cache_control"}


def _result(result: ToolResult) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": result.call_id}
    if content := list(_blocks(result.parts)):
        block["content"] = content
    return block | ({"is_error": True} if result.failed else {})


def _input(arguments: str) -> dict[str, Any]:
    try:
        found = exact.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        found = None
    if type(found) is not dict:
        raise Untranslatable("messages", "hold a tool call whose arguments are no JSON object")
    return found


def _source(media: Media) -> dict[str, Any]:
    if media.data:
        return {"type": "base64", "media_type": media.media_type, "data": media.data}
    if media.url:
        return {"type": "url", "url": media.url}
    raise Untranslatable("messages", "hold a file that only another provider knows")


def _tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {
        **tool.extra,
        "name": tool.name,
        "input_schema": tool.schema or {"type": "object", "properties": {}},
    }
    if tool.description:
        written["description"] = tool.description
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written


def _choice(chat: Chat) -> dict[str, Any] | None:
    choice = chat.tool_choice
    if choice is None and (chat.parallel_tools is not False or not chat.tools):
        return None
    written: dict[str, Any] = {"type": "auto" if choice is None else choice.kind}
    if choice is not None and choice.kind == "tool":
        written["name"] = choice.name
    if chat.parallel_tools is not None and written["type"] != "none":
        written["disable_parallel_tool_use"] = not chat.parallel_tools
    return written


def _output_config(chat: Chat) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if chat.schema is not None:
        config["format"] = {"type": "json_schema", "schema": chat.schema.schema}
    if chat.effort is not None:
        effort = _EFFORTS.get(chat.effort, chat.effort)
        if effort is not None:
            config["effort"] = effort
    return config


# What is answered


def _parts(content: list[Any]) -> Iterator[Part]:
    """Read blocks; those of tools that the provider ran itself have no place elsewhere."""
    for block in content:
        match block:
            case {"type": "text", "text": str(text)}:
                yield Text(text)
            case {"type": "thinking", "thinking": str(text)}:
                yield Thinking(text, str(block.get("signature") or ""))
            case {"type": "redacted_thinking", "data": str(data)}:
                yield Thinking(sealed=data)
            case {"type": "tool_use", "id": str(id_), "name": str(name)}:
                yield ToolCall(id_, name, orjson.dumps(block.get("input") or {}).decode())
            case _:
                pass
