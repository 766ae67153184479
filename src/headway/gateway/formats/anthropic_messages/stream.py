"""A stream of Anthropic's events, looked at as it passes."""

from collections.abc import Mapping
from typing import Any

from headway.gateway.exchange import NO_TOKENS
from headway.gateway.formats.anthropic_messages.usage import tokens_of
from headway.gateway.sse import Broken, event_of, object_of, write_event
from headway.gateway.tally import ended_by, highest
from headway.gateway.watching import EventWatch


class Course:
    """How far a stream has come: what all who read these events must know of them.

    One `message_start` opens it; blocks are opened before they grow and closed before it ends;
    `message_stop` is believed once a `stop_reason` was told.
    """

    __slots__ = ("_begun", "_open", "_reason", "_usage", "done", "served_by", "tokens")

    def __init__(self) -> None:
        self.done = False
        self.tokens: Mapping[str, int] = NO_TOKENS
        self.served_by = ""
        self._begun = False
        self._open: set[int] = set()
        self._reason = False
        self._usage: dict[str, Any] = {}

    def take(self, event: Mapping[str, Any], name: bytes) -> None:
        """Take note of one event, under the name that it has. Raises `Broken`."""
        match "error" if name == b"error" else event.get("type"):
            case "error":
                raise Broken(ended_by(event.get("error")))
            case "message_start":
                self._begin(event.get("message"))
            case "content_block_start":
                self._open.add(self._index(event))
            case "content_block_delta":
                if self._index(event) not in self._open:
                    raise Broken("the provider's stream goes on with a block that is not open")
            case "content_block_stop":
                self._open.discard(self._index(event))
            case "message_delta":
                self._count(event.get("usage"))
                delta = event.get("delta")
                self._reason |= type(delta) is dict and bool(delta.get("stop_reason"))
            case "message_stop":
                if not self._begun or self._open or not self._reason:
                    raise Broken("the provider's stream ended before it was complete")
                self.done = True
            case _:
                pass  # `ping`, and what is new: clients of this API pass over it

    def _begin(self, message: object) -> None:
        if self._begun or type(message) is not dict:
            raise Broken("the provider's stream begins twice, or with no message")
        self._begun = True
        self._count(message.get("usage"))
        self.served_by = str(message.get("model") or "")[:200]

    def _index(self, event: Mapping[str, Any]) -> int:
        index = event.get("index")
        if not self._begun or type(index) is not int:
            raise Broken("the provider's stream holds a block that belongs to no message")
        return index

    def _count(self, usage: object) -> None:
        """Take over what is said of tokens: later numbers stand for the whole message."""
        if type(usage) is dict:
            self._usage |= {name: n for name, n in usage.items() if n is not None}
            self.tokens = highest(self.tokens, tokens_of(self._usage))


class MessageStream(EventWatch):
    """A stream is complete with its `message_stop`."""

    __slots__ = ()

    _course: Course

    def __init__(self) -> None:
        super().__init__(Course())

    def event(self, block: bytes) -> bytes:
        name, data = event_of(block)
        if not data:
            return block if not name else b""
        event = object_of(data)
        self._course.take(event, name)
        kind = event.get("type")
        if kind == "content_block_delta":
            self.started = True
        if isinstance(kind, str) and name != kind.encode():
            # Clients pass over what has no name; then a part of the answer would be missing.
            return write_event(kind.encode(), data.replace(b"\n", b" "))
        return block
