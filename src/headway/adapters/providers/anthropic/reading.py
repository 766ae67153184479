"""A stream of Anthropic's events, understood as it comes."""

from collections.abc import Iterator
from typing import Any, Final

import orjson

from headway.gateway import exact
from headway.gateway.chat import (
    Began,
    Ended,
    Event,
    More,
    PartBegan,
    PartEnded,
    Signed,
    Stop,
    Text,
    Thinking,
    ToolCall,
)
from headway.gateway.formats.anthropic_messages.stream import Course
from headway.gateway.reading import EventReading
from headway.gateway.sse import object_of

_STOPS: Final = {
    "end_turn": Stop.END,
    "max_tokens": Stop.LENGTH,
    "model_context_window_exceeded": Stop.LENGTH,
    "tool_use": Stop.TOOLS,
    "stop_sequence": Stop.SEQUENCE,
    "refusal": Stop.REFUSED,
    "pause_turn": Stop.PAUSED,
}


def stop_of(reason: object) -> Stop:
    """Return why an answer ends; a reason that is new ends it as any other does."""
    return _STOPS.get(reason, Stop.END) if isinstance(reason, str) else Stop.END


class MessageReading(EventReading):
    """Reads events; their index is the number of the part."""

    _course: Course

    def __init__(self) -> None:
        super().__init__(Course())
        self._reason: str | None = None
        self._stopped_by: str | None = None
        self._numbers: dict[int, int] = {}
        """By the provider's index, the number of the part; what cannot be told has none."""
        self._silent: set[int] = set()
        """Numbers of calls that have no arguments yet."""

    def event(self, name: bytes, data: bytes) -> Iterator[Event]:
        event = object_of(data)
        self._course.take(event, name)
        if event.get("type") == "content_block_start":
            event = exact.loads(data)  # it may hold what a tool is called with
        yield from self._event(event)

    def _event(self, event: dict[str, Any]) -> Iterator[Event]:
        match event:
            case {"type": "message_start", "message": dict(message)}:
                model = str(message.get("model") or "")
                yield Began(str(message.get("id") or ""), model, 0, self.tokens)
            case {"type": "content_block_start", "index": int(i), "content_block": dict(block)}:
                yield from self._part(i, block)
            case {"type": "content_block_delta", "index": int(i), "delta": dict(delta)}:
                yield from self._delta(i, delta)
            case {"type": "content_block_stop", "index": int(i)}:
                yield from self._end_part(i)
            case {"type": "message_delta", "delta": dict(end)}:
                self._reason = end.get("stop_reason") or self._reason
                self._stopped_by = end.get("stop_sequence") or self._stopped_by
            case {"type": "message_stop"}:
                yield Ended(stop_of(self._reason), self._stopped_by, self.tokens)
            case _:
                pass  # `ping`, and what is new: clients of this API pass over it

    def _part(self, index: int, block: dict[str, Any]) -> Iterator[Event]:
        part: Text | Thinking | ToolCall
        match block:
            case {"type": "text"}:
                part = Text(str(block.get("text") or ""))
            case {"type": "thinking"}:
                part = Thinking(str(block.get("thinking") or ""))
            case {"type": "redacted_thinking", "data": str(data)}:
                part = Thinking(sealed=data)
            case {"type": "tool_use", "id": str(id_), "name": str(name)}:
                part = ToolCall(id_, name, "")
            case _:
                return
        number = self._numbers[index] = len(self._numbers)
        yield PartBegan(number, part)
        if isinstance(part, ToolCall):
            if given := block.get("input"):
                yield More(number, orjson.dumps(given).decode())
            else:
                self._silent.add(number)

    def _delta(self, index: int, delta: dict[str, Any]) -> Iterator[Event]:
        number = self._numbers.get(index)
        if number is None:
            return
        match delta:
            case {"type": "text_delta", "text": str(text)} if text:
                yield More(number, text)
            case {"type": "thinking_delta", "thinking": str(text)} if text:
                yield More(number, text)
            case {"type": "input_json_delta", "partial_json": str(text)} if text:
                self._silent.discard(number)
                yield More(number, text)
            case {"type": "signature_delta", "signature": str(signature)}:
                yield Signed(number, signature)
            case _:
                pass

    def _end_part(self, index: int) -> Iterator[Event]:
        number = self._numbers.get(index)
        if number is None:
            return
        if number in self._silent:
            # A call without arguments says nothing here; in other dialects it says {}.
            yield More(number, "{}")
        yield PartEnded(number)
