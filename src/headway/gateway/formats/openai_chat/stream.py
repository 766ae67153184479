"""What chat completions say of themselves: in one piece, and as a stream on its way."""

from collections.abc import Mapping
from typing import Any, Final

from headway.gateway.exchange import NO_TOKENS
from headway.gateway.sse import DONE, Broken, Splitter, blocks, event_of, object_of
from headway.gateway.tally import counted, ended_by, highest
from headway.kernel.canonical import Json

_FAILED: Final = ("abort", "error")
"""Finish reasons by which servers say that they broke off."""
_TOO_EARLY: Final = "the provider's stream ended before it was complete"
_NO_CHUNK: Final = "the provider's stream holds a chunk that is none"
_ABSENT: Final = object()
_NO_CHOICES: Final[list[Any]] = []


class Course:
    """How far a stream has come: what all who read chunks must know of them.

    A choice that says `finish_reason: null`, or that calls a tool, is complete once it has named
    its reason; `[DONE]` before that is a lie. Servers that never speak of reasons are believed.
    """

    __slots__ = ("_finished", "_open", "begun", "served_by", "tokens")

    def __init__(self) -> None:
        self.begun = False
        self.tokens: Mapping[str, int] = NO_TOKENS
        self.served_by = ""
        self._open: set[int] = set()
        self._finished: set[int] = set()

    @property
    def may_end(self) -> bool:
        """Whether `[DONE]` is believed now."""
        return self.begun and not self._open

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
                if reason in _FAILED:
                    raise Broken(ended_by(reason))
                self._finished.add(index)
                self._open.discard(index)
            elif (delta := choice.get("delta")) and "tool_calls" in delta:
                self._open.add(index)
        return choices


class ChatStream:
    """Looks at a stream of chunks as it passes (`exchange.Watch`); whole events only leave it."""

    __slots__ = ("_course", "_splitter", "_wants_usage", "done", "error", "started")

    def __init__(self, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage
        self._splitter = Splitter()
        self._course = Course()
        self.started = False
        self.done = False
        self.error: str | None = None

    @property
    def tokens(self) -> Mapping[str, int]:
        return self._course.tokens

    @property
    def served_by(self) -> str:
        return self._course.served_by

    def feed(self, data: bytes) -> bytes:
        if self.done or self.error is not None:
            return b""
        if (
            data[:7] == b"data: {"
            and data[-2:] == b"\n\n"
            and data.find(b"\n") == len(data) - 2
            and not self._splitter.kept
        ):
            # One whole event on one line, as most reads are: nothing to take apart.
            return self._single(data)
        ready = self._splitter.feed(data)
        passed = self._look(ready) if ready else b""
        if self._splitter.too_long and self.error is None:
            self.error = "an event of the provider's stream is too long"
        return passed

    def end(self, *, by_close: bool) -> bytes | None:
        if self.error is not None:
            return None
        if self.done:
            return b""
        # A last event without its blank line: the end of the body stands for it.
        last = self._look(self._splitter.rest())
        if self.done:
            return last
        if self.error is None and self._course.finished and not by_close:
            return last + b"data: [DONE]\n\n"
        return None

    def _single(self, event: bytes) -> bytes:
        try:
            return event if self._chunk(object_of(event[6:])) else b""
        except Broken as broken:
            self.error = str(broken)
        except TypeError:
            self.error = _NO_CHUNK
        return b""

    def _look(self, ready: bytes) -> bytes:
        """Look at events; return those that pass on."""
        # Without CR, which is nearly always, blocks have no blank line here and get one below.
        bare = b"\r" not in ready
        found = ready.split(b"\n\n") if bare else blocks(ready)
        passed = []
        try:
            for block in found:
                if not block or self._event(block):
                    passed.append(block)
                if self.done:
                    break
        except Broken as broken:
            self.error = str(broken)
        except TypeError:  # an index that is a list, a delta that is a number
            self.error = _NO_CHUNK
        if len(passed) == len(found):
            return ready
        if not bare:
            return b"".join(passed)
        return b"".join([block + b"\n\n" for block in passed if block])

    def _event(self, block: bytes) -> bool:
        """Take note of one event, and say whether it passes on. Raises `Broken`."""
        if block[:7] == b"data: {" and b"\n" not in block:
            # As nearly every one is: one line, and nothing to take apart.
            return self._chunk(object_of(block[6:]))
        name, data = event_of(block)
        if not data:
            # Comments pass. An event without data does not: clients read it as JSON.
            return not name and block.strip(b"\r\n")[:1] in {b"", b":"}
        if data.strip() == DONE:
            if not self._course.may_end:
                raise Broken(_TOO_EARLY)
            if not data.startswith(DONE):
                # Clients take one blank away, and then read JSON.
                raise Broken("the provider's stream ends in a way that clients do not understand")
            self.done = True
            return True
        chunk = object_of(data)
        if name == b"error":
            raise Broken(ended_by(chunk.get("error") or chunk))
        return self._chunk(chunk)

    def _chunk(self, chunk: dict[str, Any]) -> bool:
        choices = self._course.take(chunk)
        if not choices:
            # Only the chunk that carries usage has no choices, and only who asked may see it.
            return self._wants_usage or type(chunk.get("usage")) is not dict
        if not self.started:
            self.started = any(_says(choice.get("delta")) for choice in choices)
        return True


def _says(delta: Json) -> bool:
    return isinstance(delta, dict) and any(v for key, v in delta.items() if key != "role")


def fault_of(document: Mapping[str, Any]) -> str | None:
    """Return why an answer in one piece is none, in words for the caller; None: it is good."""
    if error := document.get("error"):
        return ended_by(error)
    choices = document.get("choices")
    if type(choices) is not list or not choices:
        return "the provider's answer has no `choices`"
    for choice in choices:
        if type(choice) is not dict or type(choice.get("message")) is not dict:
            return "the provider's answer has a choice without a message"
        reason = choice.get("finish_reason", "")
        if reason is None:
            return "the provider's answer is not complete: its `finish_reason` is null"
        if not isinstance(reason, str):
            return "the provider's answer ends for a reason that is none"
        if reason in _FAILED or choice.get("error"):
            return ended_by(choice.get("error") or reason)
    return None


def tokens_of(usage: Json) -> Mapping[str, int]:
    """Return tokens by class from a `usage` object; classes that it does not tell are left out."""
    if not isinstance(usage, dict):
        return NO_TOKENS
    asked, answered = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    asked = asked if type(asked) is dict else {}
    answered = answered if type(answered) is dict else {}
    return counted(
        {
            "input": usage.get("prompt_tokens"),
            "output": usage.get("completion_tokens"),
            "cached": asked.get("cached_tokens"),
            "cache_write": asked.get("cache_write_tokens"),
            "reasoning": answered.get("reasoning_tokens"),
        }
    )


def served_by(document: Mapping[str, Json]) -> str:
    """Return what an answer says it was made by: the model, and a fingerprint if there is one."""
    model, fingerprint = document.get("model"), document.get("system_fingerprint")
    name = model if isinstance(model, str) else ""
    return f"{name} {fingerprint}"[:200] if isinstance(fingerprint, str) and fingerprint else name
