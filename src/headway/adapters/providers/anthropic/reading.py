"""A stream of Anthropic's events, understood as it comes."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

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
from headway.gateway.exchange import NO_TOKENS
from headway.gateway.formats.anthropic_messages.usage import error_words, tokens_of
from headway.gateway.sse import Splitter, TooLong, blocks, event_of

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


class MessageReading:
    """Reads events (`exchange.Reading`); their index is the number of the part."""

    def __init__(self) -> None:
        self.done = False
        self.error: str | None = None
        self.tokens: Mapping[str, int] = NO_TOKENS
        self.served_by = ""
        self._splitter = Splitter()
        self._begun = False
        self._usage: dict[str, Any] = {}
        self._reason: str | None = None
        self._stopped_by: str | None = None
        self._numbers: dict[int, int] = {}
        """By the provider's index, the number of the part; what cannot be told has none."""
        self._silent: set[int] = set()
        """Numbers of calls that have no arguments yet."""

    def feed(self, data: bytes) -> list[Event]:
        try:
            ready = self._splitter.feed(data)
        except TooLong:
            self.error = "an event of the provider's stream is too long"
            return []
        return list(self._read(ready))

    def end(self, *, by_close: bool) -> list[Event]:  # noqa: ARG002 - a port
        return list(self._read(self._splitter.rest()))

    def _read(self, ready: bytes) -> Iterator[Event]:
        for block in blocks(ready):
            if self.done or self.error is not None:
                return
            data = event_of(block).data
            if not data:
                continue
            try:
                document = orjson.loads(data)
            except orjson.JSONDecodeError:
                document = None
            if type(document) is dict:
                yield from self._event(document)
            else:
                self.error = "the provider's stream holds an event that is not a JSON object"

    def _event(self, event: dict[str, Any]) -> Iterator[Event]:
        match event:
            case {"type": "error"}:
                said = error_words(event.get("error"))
                self.error = f"the provider's stream ended with an error: {said}"
            case {"type": "message_start", "message": dict(message)} if not self._begun:
                yield self._began(message)
            case {"type": "content_block_start", "index": int(i), "content_block": dict(block)}:
                yield from self._part(i, block)
            case {"type": "content_block_delta", "index": int(i), "delta": dict(delta)}:
                yield from self._delta(i, delta)
            case {"type": "content_block_stop", "index": int(i)}:
                yield from self._end_part(i)
            case {"type": "message_delta"}:
                self._count(event.get("usage"))
                end = event.get("delta")
                if type(end) is dict:
                    self._reason = end.get("stop_reason") or self._reason
                    self._stopped_by = end.get("stop_sequence") or self._stopped_by
            case {"type": "message_stop"}:
                if not self._begun:
                    self.error = "the provider's stream ended before it began"
                    return
                self.done = True
                yield Ended(stop_of(self._reason), self._stopped_by, self.tokens)
            case _:
                pass  # `ping`, and what is new: clients of this API pass over it

    def _began(self, message: dict[str, Any]) -> Began:
        self._begun = True
        self._count(message.get("usage"))
        model = str(message.get("model") or "")
        self.served_by = model[:200]
        return Began(str(message.get("id") or ""), model, 0, self.tokens)

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

    def _count(self, usage: object) -> None:
        """Take over what is said of tokens: later numbers stand for the whole message."""
        if type(usage) is dict:
            self._usage |= {name: n for name, n in usage.items() if n is not None}
            self.tokens = tokens_of(self._usage)
