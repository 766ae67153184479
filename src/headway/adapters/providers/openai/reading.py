"""A stream of OpenAI's chat completions, understood as it comes."""

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
    Refusal,
    Stop,
    Text,
    Thinking,
    ToolCall,
)
from headway.gateway.exchange import NO_TOKENS
from headway.gateway.formats.openai_chat import served_by, tokens_of
from headway.gateway.openai_errors import error_words
from headway.gateway.sse import Splitter, TooLong, blocks, event_of

_STOPS: Final = {
    "stop": Stop.END,
    "length": Stop.LENGTH,
    "tool_calls": Stop.TOOLS,
    "function_call": Stop.TOOLS,
    "content_filter": Stop.REFUSED,
}
_MALFORMED: Final = "the provider's stream holds an event that is not a JSON object"


class ChatReading:
    """Reads chunks (`exchange.Reading`): parts are numbered in the order in which they begin."""

    def __init__(self) -> None:
        self.done = False
        self.error: str | None = None
        self.tokens: Mapping[str, int] = NO_TOKENS
        self.served_by = ""
        self._splitter = Splitter()
        self._begun = False
        self._finish: str | None = None
        self._parts = 0
        self._open: int | None = None
        """The number of the part that is being told."""
        self._kind: type | None = None
        self._calls: dict[int, int] = {}
        """By the index of a call, the number of the part that it is."""

    def feed(self, data: bytes) -> list[Event]:
        try:
            ready = self._splitter.feed(data)
        except TooLong:
            self.error = "an event of the provider's stream is too long"
            return []
        return list(self._read(ready))

    def end(self, *, by_close: bool) -> list[Event]:
        events = list(self._read(self._splitter.rest()))
        if not self.done and self.error is None and self._finish is not None and not by_close:
            events += self._close()
        return events

    def _read(self, ready: bytes) -> Iterator[Event]:
        for block in blocks(ready):
            if self.done or self.error is not None:
                return
            data = event_of(block).data
            if not data:
                continue
            if data.strip() == b"[DONE]":
                yield from self._close()
                return
            try:
                chunk = orjson.loads(data)
            except orjson.JSONDecodeError:
                chunk = None
            if type(chunk) is not dict:
                self.error = _MALFORMED
            elif error := chunk.get("error"):
                self.error = f"the provider's stream ended with an error: {error_words(error)}"
            else:
                yield from self._chunk(chunk)

    def _chunk(self, chunk: dict[str, Any]) -> Iterator[Event]:
        self.served_by = self.served_by or served_by(chunk)
        if type(usage := chunk.get("usage")) is dict:
            self.tokens = tokens_of(usage)
        if not self._begun:
            self._begun = True
            created = chunk.get("created")
            yield Began(
                str(chunk.get("id") or ""),
                str(chunk.get("model") or ""),
                created if type(created) is int else 0,
                self.tokens,
            )
        choices = chunk.get("choices")
        for choice in choices if type(choices) is list else ():
            if type(choice) is not dict:
                continue
            if type(delta := choice.get("delta")) is dict:
                yield from self._delta(delta)
            if type(finish := choice.get("finish_reason")) is str:
                self._finish = finish

    def _delta(self, delta: dict[str, Any]) -> Iterator[Event]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        for kind, text in (
            (Thinking, thought),
            (Text, delta.get("content")),
            (Refusal, delta.get("refusal")),
        ):
            if type(text) is str and text:
                if self._kind is not kind:
                    yield from self._begin(kind(text=""))
                yield More(self._number, text)
        calls = delta.get("tool_calls")
        for call in calls if type(calls) is list else ():
            if type(call) is dict:
                yield from self._call(call)

    def _call(self, call: dict[str, Any]) -> Iterator[Event]:
        index = call.get("index")
        index = index if type(index) is int else len(self._calls)
        function = call.get("function")
        function = function if type(function) is dict else {}
        if index not in self._calls:
            name = str(function.get("name") or "")
            yield from self._begin(ToolCall(str(call.get("id") or f"call_{index}"), name, ""))
            self._calls[index] = self._number
        arguments = function.get("arguments")
        if type(arguments) is str and arguments:
            yield More(self._calls[index], arguments)

    @property
    def _number(self) -> int:
        return self._parts - 1

    def _begin(self, part: Text | Thinking | Refusal | ToolCall) -> Iterator[Event]:
        yield from self._end_part()
        self._open, self._kind = self._parts, type(part)
        self._parts += 1
        yield PartBegan(self._open, part)

    def _end_part(self) -> Iterator[Event]:
        if self._open is not None:
            yield PartEnded(self._open)
            self._open = None

    def _close(self) -> Iterator[Event]:
        if not self._begun:
            self.error = "the provider's stream ended before it began"
            return
        yield from self._end_part()
        self.done = True
        yield Ended(stop_of(self._finish, calls=bool(self._calls)), None, self.tokens)


def stop_of(finish: object, *, calls: bool) -> Stop:
    """Return why an answer ends; some servers say `stop` after calls."""
    stop = _STOPS.get(finish, Stop.END) if isinstance(finish, str) else Stop.END
    return Stop.TOOLS if calls and stop is Stop.END else stop
