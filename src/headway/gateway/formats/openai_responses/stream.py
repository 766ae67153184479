"""A stream of OpenAI's responses, looked at as it passes."""

from collections.abc import Mapping
from typing import Any, Final

from headway.gateway.exchange import NO_TOKENS
from headway.gateway.formats.openai_responses.usage import fault_of, served_by, tokens_of
from headway.gateway.sse import DONE, Broken, event_of, object_of
from headway.gateway.tally import ended_by, highest
from headway.gateway.watching import EventWatch

_LOST: Final = frozenset({"response.failed", "response.cancelled"})
_COMPLETE: Final = frozenset({"response.completed", "response.incomplete"})


class Course:
    """How far a stream has come: a response opens it, and one that is complete ends it."""

    __slots__ = ("begun", "done", "served_by", "tokens")

    def __init__(self) -> None:
        self.begun = self.done = False
        self.tokens: Mapping[str, int] = NO_TOKENS
        self.served_by = ""

    def take(self, kind: str, response: dict[str, Any]) -> str | None:
        """Take note of the response in an event; return why it failed, if it did.

        Raises `Broken`.
        """
        if kind == "response.created" and self.begun:
            raise Broken("the provider's stream begins twice")
        self.begun = True
        self.served_by = self.served_by or served_by(response)
        if type(usage := response.get("usage")) is dict:
            self.tokens = highest(self.tokens, tokens_of(usage))
        if (said := fault_of(response)) is not None:
            return said
        if kind in _LOST:
            return ended_by(None)
        self.done = kind in _COMPLETE
        return None


class ResponseStream(EventWatch):
    """A stream is complete with `response.completed` or `response.incomplete`.

    A `response.failed` passes too, and is then told as an error, since clients do not raise on it.
    """

    __slots__ = ()

    _course: Course

    def __init__(self) -> None:
        super().__init__(Course())

    def event(self, block: bytes) -> bytes:
        name, data = event_of(block)
        if not data:
            return block if not name and block.lstrip()[:1] == b":" else b""
        if data.strip() == DONE:
            return b""  # some servers add it; it is no event of this API
        event = object_of(data)
        kind = event.get("type")
        if kind == "error" or name == b"error" or event.get("error"):
            raise Broken(ended_by(event.get("error") or event))
        response = event.get("response")
        if type(response) is dict:
            self.error = self._course.take(str(kind), response)
        elif not self._course.begun:
            raise Broken("the provider's stream does not begin with a response")
        elif isinstance(kind, str) and kind.endswith(".delta"):
            self.started = True
        return block
