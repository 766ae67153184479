"""Answers that another dialect gave, as Anthropic's messages tell them."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from headway.gateway import exact
from headway.gateway.chat import (
    Answer,
    Began,
    Ended,
    Event,
    More,
    Part,
    PartBegan,
    PartEnded,
    Refusal,
    Signed,
    Stop,
    Text,
    Thinking,
    ToolCall,
    Untellable,
)
from headway.gateway.formats.anthropic_messages.usage import usage_of
from headway.gateway.sse import write_event

_REASONS: Final = {
    Stop.END: "end_turn",
    Stop.LENGTH: "max_tokens",
    Stop.TOOLS: "tool_use",
    Stop.SEQUENCE: "stop_sequence",
    Stop.REFUSED: "refusal",
    Stop.PAUSED: "pause_turn",
}


def answer_body(answer: Answer) -> bytes:
    """Write a complete answer. Raises `Untellable`."""
    return orjson.dumps(
        {
            **answer.extra,
            "id": answer.id,
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": list(_blocks(answer.parts)),
            "stop_reason": _REASONS[answer.stop],
            "stop_sequence": answer.stopped_by,
            "usage": usage_of(answer.tokens),
        }
    )


def _blocks(parts: tuple[Part, ...]) -> Iterator[dict[str, Any]]:
    for part in parts:
        match part:
            case ToolCall():
                yield _beginning(part) | {"input": _input(part.arguments)}
            case _:
                yield _beginning(part)


def _input(arguments: str) -> dict[str, Any]:
    try:
        found = exact.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        found = None
    if type(found) is not dict:
        raise Untellable("the model's call of a tool has arguments that are no JSON object")
    return found


def _beginning(part: Part) -> dict[str, Any]:
    match part:
        case ToolCall():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
        case Thinking(sealed=sealed) if sealed:
            return {"type": "redacted_thinking", "data": sealed}
        case Thinking():
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        case Text(text=text) | Refusal(text=text):
            return {"type": "text", "text": text}
        case _:
            raise Untellable("the model's answer holds a part that cannot be told")


class MessageTelling:
    """Writes a stream of Anthropic's events, event by event."""

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: dict[int, type[Part]] = {}

    def tell(self, event: Event) -> bytes:
        match event:
            case Began():
                message: dict[str, Any] = {
                    "id": event.id,
                    "type": "message",
                    "role": "assistant",
                    "model": event.model,
                    "content": [],
                    "stop_reason": None,
                    "stop_sequence": None,
                    "usage": usage_of(event.tokens),
                }
                return _said("message_start", message=message)
            case PartBegan():
                self._kinds[event.number] = type(event.part)
                begun = _beginning(event.part)
                return _said("content_block_start", index=event.number, content_block=begun)
            case More():
                delta = self._delta(event)
                return _said("content_block_delta", index=event.number, delta=delta)
            case Signed():
                delta = {"type": "signature_delta", "signature": event.signature}
                return _said("content_block_delta", index=event.number, delta=delta)
            case PartEnded():
                return _said("content_block_stop", index=event.number)
            case Ended():
                delta = {"stop_reason": _REASONS[event.stop], "stop_sequence": event.stopped_by}
                usage = usage_of(event.tokens)
                return _said("message_delta", delta=delta, usage=usage) + _said("message_stop")

    def _delta(self, event: More) -> dict[str, Any]:
        kind = self._kinds.get(event.number)
        if kind is ToolCall:
            return {"type": "input_json_delta", "partial_json": event.text}
        if kind is Thinking:
            return {"type": "thinking_delta", "thinking": event.text}
        return {"type": "text_delta", "text": event.text}


def _said(kind: str, **fields: Mapping[str, Any] | int) -> bytes:
    return write_event(kind.encode("ascii"), orjson.dumps({"type": kind, **fields}))
