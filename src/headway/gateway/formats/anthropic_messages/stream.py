"""A stream of Anthropic's events, looked at as it passes."""

from collections.abc import Mapping
from typing import Any

import orjson

from headway.gateway.exchange import NO_TOKENS
from headway.gateway.formats.anthropic_messages.usage import error_words, tokens_of
from headway.gateway.sse import Splitter, TooLong, blocks, event_of


class MessageStream:
    """Passes whole events on (`exchange.Watch`); a stream is complete with its `message_stop`."""

    __slots__ = ("_splitter", "_usage", "done", "error", "served_by", "started", "tokens")

    def __init__(self) -> None:
        self._splitter = Splitter()
        self._usage: dict[str, Any] = {}
        self.started = False
        self.done = False
        self.error: str | None = None
        self.tokens: Mapping[str, int] = NO_TOKENS
        self.served_by = ""

    def feed(self, data: bytes) -> bytes:
        if self.done or self.error is not None:
            return b""
        try:
            ready = self._splitter.feed(data)
        except TooLong:
            self.error = "an event of the provider's stream is too long"
            return b""
        return self._look(ready)

    def end(self, *, by_close: bool) -> bytes | None:  # noqa: ARG002 - a port
        if self.error is None and not self.done:
            last = self._look(self._splitter.rest())
            return last if self.done else None
        return b"" if self.done else None

    def _look(self, ready: bytes) -> bytes:
        passed: list[bytes] = []
        for block in blocks(ready):
            if self.done or self.error is not None:
                break
            if self._event(event_of(block).data):
                passed.append(block)
        return b"".join(passed)

    def _event(self, data: bytes) -> bool:
        """Take note of one event, and say whether it passes on."""
        if not data:
            return True
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            document = None
        if type(document) is not dict:
            self.error = "the provider's stream holds an event that is not a JSON object"
            return False
        match document.get("type"):
            case "error":
                said = error_words(document.get("error"))
                self.error = f"the provider's stream ended with an error: {said}"
                return False
            case "message_start":
                message = document.get("message")
                if type(message) is dict:
                    self._count(message.get("usage"))
                    self.served_by = str(message.get("model") or "")[:200]
            case "content_block_delta":
                self.started = True
            case "message_delta":
                self._count(document.get("usage"))
            case "message_stop":
                self.done = True
            case _:
                pass
        return True

    def _count(self, usage: object) -> None:
        """Take over what is said of tokens: later numbers stand for the whole message."""
        if type(usage) is dict:
            self._usage |= {name: n for name, n in usage.items() if n is not None}
            self.tokens = tokens_of(self._usage)
