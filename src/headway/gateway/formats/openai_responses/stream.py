"""A stream of OpenAI's responses, looked at as it passes."""

from collections.abc import Mapping
from typing import Any, Final

from headway.gateway.exchange import NO_TOKENS
from headway.gateway.sse import DONE, Broken, Splitter, blocks, event_of, object_of
from headway.gateway.tally import counted, ended_by, highest
from headway.kernel.canonical import Json

_FAILED: Final = ("failed", "cancelled")
_LOST: Final = frozenset({"response.failed", "response.cancelled"})
_COMPLETE: Final = frozenset({"response.completed", "response.incomplete"})


class ResponseStream:
    """Passes whole events on (`exchange.Watch`).

    Complete with `response.completed` or `response.incomplete`; a `response.failed` passes too,
    and is then told as an error, since clients do not raise on it.
    """

    __slots__ = ("_begun", "_splitter", "done", "error", "served_by", "started", "tokens")

    def __init__(self) -> None:
        self._splitter = Splitter()
        self._begun = False
        self.started = False
        self.done = False
        self.error: str | None = None
        self.tokens: Mapping[str, int] = NO_TOKENS
        self.served_by = ""

    def feed(self, data: bytes) -> bytes:
        if self.done or self.error is not None:
            return b""
        ready = self._splitter.feed(data)
        passed = self._look(ready) if ready else b""
        if self._splitter.too_long and self.error is None:
            self.error = "an event of the provider's stream is too long"
        return passed

    def end(self, *, by_close: bool) -> bytes | None:  # noqa: ARG002 - a port
        if self.error is None and not self.done:
            last = self._look(self._splitter.rest())
            return last if self.done else None
        return b"" if self.done else None

    def _look(self, ready: bytes) -> bytes:
        passed: list[bytes] = []
        try:
            for block in blocks(ready):
                if self._event(block):
                    passed.append(block)
                if self.done or self.error is not None:
                    break
        except Broken as broken:
            self.error = str(broken)
        return b"".join(passed)

    def _event(self, block: bytes) -> bool:
        """Take note of one event, and say whether it passes on. Raises `Broken`."""
        name, data = event_of(block)
        if not data:
            return not name and block.lstrip().startswith(b":")
        if data == DONE:
            return True
        event = object_of(data)
        kind = event.get("type")
        if kind == "error" or name == b"error" or event.get("error"):
            raise Broken(ended_by(event.get("error") or event))
        response = event.get("response")
        if type(response) is dict:
            self._response(str(kind), response)
        elif not self._begun:
            raise Broken("the provider's stream does not begin with a response")
        elif isinstance(kind, str) and kind.endswith(".delta"):
            self.started = True
        return True

    def _response(self, kind: str, response: dict[str, Any]) -> None:
        if kind == "response.created" and self._begun:
            raise Broken("the provider's stream begins twice")
        self._begun = True
        self.served_by = self.served_by or served_by(response)
        if type(usage := response.get("usage")) is dict:
            self.tokens = highest(self.tokens, tokens_of(usage))
        said = failure_of(response)
        if said is not None or kind in _LOST:
            self.error = said or ended_by(None)
        elif kind in _COMPLETE:
            self.done = True


def failure_of(response: Mapping[str, Any]) -> str | None:
    """Return that a response failed, in words for the caller; None if it did not."""
    error = response.get("error")
    if error or response.get("status") in _FAILED:
        return ended_by(error)
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
    return counted(found)


def served_by(response: Mapping[str, Any]) -> str:
    """Return what an answer says it was made by."""
    model = response.get("model")
    return model[:200] if isinstance(model, str) else ""
