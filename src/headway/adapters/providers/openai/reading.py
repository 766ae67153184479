"""A stream of OpenAI's chat completions, understood as it comes."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

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
from headway.gateway.formats.openai_chat.stream import Course
from headway.gateway.reading import EventReading
from headway.gateway.sse import DONE, Broken, object_of
from headway.gateway.tally import ended_by

_STOPS: Final = {
    "stop": Stop.END,
    "length": Stop.LENGTH,
    "tool_calls": Stop.TOOLS,
    "function_call": Stop.TOOLS,
    "content_filter": Stop.REFUSED,
}


class ChatReading(EventReading):
    """Reads chunks: parts are numbered in the order in which they begin."""

    _course: Course

    def __init__(self) -> None:
        super().__init__(Course())
        self._begun = False
        self._finish: str | None = None
        self._parts = 0
        self._open: int | None = None
        """The number of the part that is being told."""
        self._kind: type | None = None
        self._calls: dict[int, tuple[str, int]] = {}
        """By the index of a call, its id and the number of the part that it is."""

    def event(self, name: bytes, data: bytes) -> Iterator[Event]:
        if data.strip() == DONE:
            self._course.end()
            yield from self._close()
            return
        chunk = object_of(data)
        if name == b"error":
            raise Broken(ended_by(chunk.get("error") or chunk))
        self._course.take(chunk)
        yield from self._chunk(chunk)

    def missing(self) -> Iterator[Event]:
        if self._course.finished:
            self._course.end()
            yield from self._close()

    def _chunk(self, chunk: dict[str, Any]) -> Iterator[Event]:
        if not self._begun:
            self._begun = True
            created = chunk.get("created")
            yield Began(
                str(chunk.get("id") or ""),
                str(chunk.get("model") or ""),
                created if type(created) is int else 0,
                self.tokens,
            )
        for choice in chunk.get("choices") or ():
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
        if not is_function(call):
            raise Broken(NO_FUNCTION)
        known, named = self._calls.get(index), call.get("id")
        # Some servers give all calls of an answer the same index; their ids tell them apart.
        if known is None or (named and named != known[0]):
            name = str(function.get("name") or "")
            id_ = str(named or f"call_{index}")
            yield from self._begin(ToolCall(id_, name, ""))
            known = self._calls[index] = (id_, self._number)
        arguments = function.get("arguments")
        if type(arguments) is str and arguments:
            if known[1] != self._open:
                raise Broken("the provider's stream tells two calls of tools at the same time")
            yield More(known[1], arguments)

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
        yield from self._end_part()
        yield Ended(stop_of(self._finish, calls=bool(self._calls)), None, self.tokens)


NO_FUNCTION: Final = "the model calls a tool that is no function, which cannot be told here"


def is_function(call: Mapping[str, Any]) -> bool:
    """Say whether a call, or a piece of one, is that of a function; some servers name no type."""
    return call.get("type") in (None, "", "function")  # it may be a list: no hash


def stop_of(finish: object, *, calls: bool) -> Stop:
    """Return why an answer ends; some servers say `stop` after calls."""
    stop = _STOPS.get(finish, Stop.END) if isinstance(finish, str) else Stop.END
    return Stop.TOOLS if calls and stop is Stop.END else stop
