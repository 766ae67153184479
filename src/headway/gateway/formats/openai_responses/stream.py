"""A stream of OpenAI's responses, looked at as it passes."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from headway.gateway.exchange import NO_TOKENS
from headway.gateway.openai_errors import error_words
from headway.gateway.sse import Splitter, TooLong, blocks, event_of
from headway.kernel.canonical import Json

_MOST_TOKENS: Final = 1 << 40
_FAILED: Final = frozenset({"failed", "cancelled"})


class ResponseStream:
    """Passes whole events on (`exchange.Watch`).

    Complete with `response.completed` or `response.incomplete`; a `response.failed` passes too,
    and is then told as an error, since clients do not raise on it.
    """

    __slots__ = ("_splitter", "done", "error", "served_by", "started", "tokens")

    def __init__(self) -> None:
        self._splitter = Splitter()
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
        if not data or data == b"[DONE]":
            return True
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            document = None
        if type(document) is not dict:
            self.error = "the provider's stream holds an event that is not a JSON object"
            return False
        kind = document.get("type")
        if kind == "error" or document.get("error"):
            said = error_words(document.get("error") or document)
            self.error = f"the provider's stream ended with an error: {said}"
            return False
        response = document.get("response")
        if type(response) is dict:
            self._response(str(kind), response)
        elif isinstance(kind, str) and kind.endswith(".delta"):
            self.started = True
        return True

    def _response(self, kind: str, response: dict[str, Any]) -> None:
        self.served_by = self.served_by or served_by(response)
        if type(usage := response.get("usage")) is dict:
            self.tokens = tokens_of(usage)
        if kind in {"response.completed", "response.incomplete"}:
            self.done = True
        elif kind in {"response.failed", "response.cancelled"}:
            said = failure_of(response) or "without a message"
            self.error = f"the provider's stream ended with an error: {said}"


def failure_of(response: Mapping[str, Any]) -> str | None:
    """Return why a response failed, None if it did not."""
    error = response.get("error")
    if error or response.get("status") in _FAILED:
        return error_words(error)
    return None


def tokens_of(usage: Json) -> Mapping[str, int]:
    """Return tokens by class from a `usage` object; classes that it does not tell are left out."""
    if not isinstance(usage, Mapping):
        return NO_TOKENS
    asked, answered = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    asked = asked if isinstance(asked, Mapping) else {}
    answered = answered if isinstance(answered, Mapping) else {}
    found = {
        "input": usage.get("input_tokens"),
        "output": usage.get("output_tokens"),
        "cached": asked.get("cached_tokens"),
        "cache_write": asked.get("cache_write_tokens"),
        "reasoning": answered.get("reasoning_tokens"),
    }
    return {name: n for name, n in found.items() if type(n) is int and 0 < n < _MOST_TOKENS}


def served_by(response: Mapping[str, Any]) -> str:
    """Return what an answer says it was made by."""
    model = response.get("model")
    return model[:200] if isinstance(model, str) else ""
