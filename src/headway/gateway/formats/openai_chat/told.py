"""Answers that another dialect gave, as OpenAI's chat completions tell them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

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
)
from headway.gateway.formats.openai_chat.usage import usage_of

_FINISH: Final = {
    Stop.END: "stop",
    Stop.SEQUENCE: "stop",
    Stop.PAUSED: "stop",
    Stop.LENGTH: "length",
    Stop.TOOLS: "tool_calls",
    Stop.REFUSED: "content_filter",
}


def answer_body(answer: Answer) -> bytes:
    """Write a complete answer."""
    return orjson.dumps(
        {
            **answer.extra,
            "id": answer.id,
            "object": "chat.completion",
            "created": answer.created or int(time.time()),
            "model": answer.model,
            "choices": [
                {
                    "index": 0,
                    "message": _message(answer.parts),
                    "logprobs": None,
                    "finish_reason": _FINISH[answer.stop],
                }
            ],
            "usage": usage_of(answer.tokens),
        }
    )


def _message(parts: Sequence[Part]) -> dict[str, Any]:
    text = "".join(part.text for part in parts if isinstance(part, Text))
    refusal = "".join(part.text for part in parts if isinstance(part, Refusal))
    calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
    thoughts = [part for part in parts if isinstance(part, Thinking)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text or (None if calls or refusal else ""),
        "refusal": refusal or None,
    }
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        message["reasoning_content"] = "".join(thought.text for thought in thoughts)
        message["thinking_blocks"] = [_block(thought) for thought in thoughts]
    return message


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _block(thought: Thinking) -> dict[str, Any]:
    if thought.sealed:
        return {"type": "redacted_thinking", "data": thought.sealed}
    return {"type": "thinking", "thinking": thought.text, "signature": thought.signature}


class ChatTelling:
    """Writes a stream of chunks, event by event."""

    __slots__ = ("_blocks", "_calls", "_head", "_kinds", "_thoughts", "_wants_usage")

    def __init__(self, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage
        self._head: dict[str, Any] = {}
        self._kinds: dict[int, type[Part]] = {}
        self._calls: dict[int, int] = {}
        """By a part's number, the index of the call that it is."""
        self._blocks = 0
        """How many `thinking_blocks` were told."""
        self._thoughts: dict[int, list[str]] = {}
        """By a part's number, its reasoning so far: a block is told whole, with its signature."""

    def tell(self, event: Event) -> bytes:
        match event:
            case Began():
                self._head = {
                    "id": event.id,
                    "object": "chat.completion.chunk",
                    "created": event.created or int(time.time()),
                    "model": event.model,
                }
                return self._chunk({"role": "assistant", "content": ""})
            case PartBegan():
                return self._part(event.number, event.part)
            case More():
                return self._more(event.number, event.text)
            case Signed():
                text = "".join(self._thoughts.pop(event.number, ()))
                return self._thought(Thinking(text, event.signature))
            case PartEnded():
                return b""
            case Ended():
                return self._ended(event)

    def _part(self, number: int, part: Part) -> bytes:
        self._kinds[number] = type(part)
        match part:
            case ToolCall():
                index = self._calls[number] = len(self._calls)
                return self._chunk({"tool_calls": [{"index": index, **_call(part)}]})
            case Thinking(sealed=sealed) if sealed:
                return self._thought(part)
            case Text(text=text) | Thinking(text=text) | Refusal(text=text) if text:
                return self._more(number, text)
            case _:
                return b""

    def _more(self, number: int, text: str) -> bytes:
        kind = self._kinds.get(number)
        if kind is ToolCall:
            call = {"index": self._calls[number], "function": {"arguments": text}}
            return self._chunk({"tool_calls": [call]})
        if kind is Thinking:
            self._thoughts.setdefault(number, []).append(text)
            return self._chunk({"reasoning_content": text})
        if kind is Refusal:
            return self._chunk({"refusal": text})
        return self._chunk({"content": text})

    def _thought(self, thought: Thinking) -> bytes:
        # OpenAI's client puts together what has an index, and refuses what has none.
        block = {"index": self._blocks, **_block(thought)}
        self._blocks += 1
        return self._chunk({"thinking_blocks": [block]})

    def _ended(self, event: Ended) -> bytes:
        said = self._chunk({}, _FINISH[event.stop])
        if self._wants_usage:
            last = {**self._head, "choices": [], "usage": usage_of(event.tokens)}
            said += b"data: %b\n\n" % orjson.dumps(last)
        return said + b"data: [DONE]\n\n"

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        chunk: dict[str, Any] = {
            **self._head,
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        }
        if self._wants_usage:
            chunk["usage"] = None
        return b"data: %b\n\n" % orjson.dumps(chunk)
