"""A stream of chat completions, looked at as it passes."""

from collections.abc import Mapping
from typing import Any, Final

from headway.gateway.exchange import NO_TOKENS
from headway.gateway.formats.openai_chat.usage import FAILED, served_by, tokens_of
from headway.gateway.sse import DONE, Broken, event_of, object_of, write_event
from headway.gateway.tally import ended_by, highest
from headway.gateway.watching import EventWatch
from headway.kernel.canonical import Json

_LAST: Final = write_event(b"", DONE)
_ABSENT: Final = object()
_NO_CHOICES: Final[list[Any]] = []


class Course:
    """How far a stream has come: what all who read chunks must know of them.

    A choice that says `finish_reason: null`, or that calls a tool, is complete once it has named
    its reason; `[DONE]` before that is a lie. Servers that never speak of reasons are believed.
    """

    __slots__ = ("_finished", "_open", "begun", "done", "served_by", "tokens")

    def __init__(self) -> None:
        self.begun = self.done = False
        self.tokens: Mapping[str, int] = NO_TOKENS
        self.served_by = ""
        self._open: set[int] = set()
        self._finished: set[int] = set()

    def end(self) -> None:
        """Take note of `[DONE]`. Raises `Broken` where it cannot be believed."""
        if not self.begun or self._open:
            raise Broken("the provider's stream ended before it was complete")
        self.done = True

    @property
    def finished(self) -> bool:
        """Whether all choices have named their reason: then the stream may lack `[DONE]`."""
        return bool(self._finished) and not self._open

    def take(self, chunk: Mapping[str, Any]) -> list[Any]:
        """Take note of one chunk and return its choices. Raises `Broken`."""
        if error := chunk.get("error"):
            raise Broken(ended_by(error))
        if not self.served_by:
            self.served_by = served_by(chunk)
        usage = chunk.get("usage")
        if usage is not None:
            self.tokens = highest(self.tokens, tokens_of(usage))
        choices = chunk.get("choices")
        if type(choices) is not list:
            if choices is None:
                return _NO_CHOICES
            raise Broken("the provider's stream holds a chunk whose `choices` are none")
        if not choices:
            return choices
        self.begun = True
        for choice in choices:
            if type(choice) is not dict:
                raise Broken("the provider's stream holds a choice that is none")
            index = choice.get("index", 0)
            if type(index) is not int:
                raise Broken("the provider's stream holds a choice that is none")
            reason = choice.get("finish_reason", _ABSENT)
            if reason is None:
                if index not in self._finished:
                    self._open.add(index)
            elif reason is not _ABSENT and reason:
                if reason in FAILED:
                    raise Broken(ended_by(reason))
                self._finished.add(index)
                self._open.discard(index)
            elif delta := choice.get("delta"):
                if type(delta) is not dict:
                    raise Broken("the provider's stream holds a chunk that is none")
                if "tool_calls" in delta:
                    self._open.add(index)
        return choices


class ChatStream(EventWatch):
    """A stream is complete with its `[DONE]`, or with all reasons named and its framing ended."""

    __slots__ = ("_wants_usage",)

    _course: Course

    def __init__(self, *, wants_usage: bool) -> None:
        super().__init__(Course())
        self._wants_usage = wants_usage

    def feed(self, data: bytes) -> bytes:
        if (
            data[:7] != b"data: {"
            or data[-2:] != b"\n\n"
            or data.find(b"\n") != len(data) - 2
            or self._splitter.kept
            or self.done
            or self.error is not None
        ):
            return super().feed(data)
        # One whole event on one line, as most reads are: nothing to take apart.
        try:
            return data if self._passes(object_of(data[6:])) else b""
        except Broken as broken:
            self.error = str(broken)
            return b""

    def missing(self) -> bytes | None:
        return _LAST if self._course.finished else None

    def event(self, block: bytes) -> bytes:
        if block[:7] == b"data: {" and block.find(b"\n") == len(block) - 2:
            return block if self._passes(object_of(block[6:])) else b""
        name, data = event_of(block)
        if not data:
            # Comments pass. An event without data does not: clients read it as JSON.
            return block if not name and block.lstrip()[:1] == b":" else b""
        if data.strip() == DONE:
            self._course.end()
            # Clients take one blank from its front, and read JSON if it does not begin so then.
            return block if data.startswith(DONE) else _LAST
        chunk = object_of(data)
        if name == b"error":
            raise Broken(ended_by(chunk.get("error") or chunk))
        return block if self._passes(chunk) else b""

    def _passes(self, chunk: dict[str, Any]) -> bool:
        """Take note of a chunk, and say whether it passes on. Raises `Broken`."""
        choices = self._course.take(chunk)
        if not choices:
            # Only the chunk that carries usage has no choices, and only who asked may see it.
            return self._wants_usage or type(chunk.get("usage")) is not dict
        if not self.started:
            self.started = any(_says(choice.get("delta")) for choice in choices)
        return True


def _says(delta: Json) -> bool:
    return isinstance(delta, dict) and any(v for key, v in delta.items() if key != "role")
