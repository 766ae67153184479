"""How callers of each format are answered by a version: in their own words, or translated.

Decided when a view is compiled, not per request.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from headway.gateway.chat import More, PartBegan, ToolCall, Untellable, Untranslatable
from headway.gateway.exchange import (
    NO_TOKENS,
    Ask,
    Complaint,
    Dialect,
    Fields,
    Format,
    Native,
    NotAnswered,
    Prepared,
    Problem,
    Reading,
    Speaker,
    Telling,
    Upstream,
    Watch,
    Whole,
)
from headway.gateway.variables import values_of
from headway.tracking.measurement import Outcome


def speakers(
    prepared: Prepared, formats: Iterable[Format], dialects: Iterable[Dialect]
) -> Mapping[str, Speaker]:
    """Return by format's name how its callers are answered; a format that is missing is not."""
    found: dict[str, Speaker] = {}
    upstream = prepared.upstream
    if upstream is not None:
        native = prepared.native[upstream.name]
        found = {each.name: Translated(each, upstream, native) for each in dialects}
    for format_ in (*formats, *dialects):
        native_ = prepared.native.get(format_.name)
        if native_ is not None:
            found[format_.name] = Same(format_, native_)
    return found


class Same:
    """The provider speaks the caller's format: bytes pass, the version's settings are put in."""

    __slots__ = ("complaint", "native", "watch", "whole", "write")

    def __init__(self, format_: Format, native: Native) -> None:
        self.native: Final = native
        self.write: Final = format_.writer(native.settings)
        answers = native.answers or format_
        self.whole: Final = answers.whole
        self.watch: Final = format_.watch
        self.complaint: Final = answers.complaint


class Translated:
    """The provider speaks another dialect: a chat is said in it, and its answer said back."""

    __slots__ = ("_dialect", "_upstream", "native")

    def __init__(self, dialect: Dialect, upstream: Upstream, native: Native) -> None:
        self._dialect = dialect
        self._upstream = upstream
        self.native = native

    def write(self, ask: Ask, headers: Fields) -> bytes:
        """Return the body for the provider. Raises `NotAnswered` for what it cannot be asked."""
        settings = self.native.settings
        try:
            chat = self._dialect.chat(ask)
            values = values_of(chat.metadata, settings, headers)
            return self._upstream.write(chat, settings, values)
        except Untranslatable as error:
            problem = Problem(
                400, str(error), Outcome.REFUSED, "unsupported_parameter", error.param
            )
            raise NotAnswered(problem) from None

    def whole(self, ask: Ask, body: bytes, headers: Fields) -> Whole:  # noqa: ARG002 - a port
        answer = self._upstream.answer(body)
        if isinstance(answer, str):
            return Whole(answer)
        try:
            said = self._dialect.answer(ask, answer)
        except Untellable as error:
            return Whole(str(error), answer.tokens, answer.served_by)
        return Whole(None, answer.tokens, answer.served_by, said)

    def watch(self, ask: Ask) -> Watch:
        return Interpreter(self._upstream.reading(), self._dialect.telling(ask))

    def complaint(self, body: bytes) -> Complaint:
        return self._upstream.complaint(body)


class Interpreter:
    """Says a provider's stream in the caller's dialect as it comes (`Watch`)."""

    __slots__ = ("_reading", "_telling", "started")

    def __init__(self, reading: Reading, telling: Telling) -> None:
        self._reading = reading
        self._telling = telling
        self.started = False

    @property
    def done(self) -> bool:
        return self._reading.done

    @property
    def error(self) -> str | None:
        return self._reading.error

    @property
    def tokens(self) -> Mapping[str, int]:
        return self._reading.tokens or NO_TOKENS

    @property
    def served_by(self) -> str:
        return self._reading.served_by

    def feed(self, data: bytes) -> bytes:
        events = self._reading.feed(data)
        if events and not self.started:
            self.started = any(type(event) is More and event.text for event in events) or any(
                type(event) is PartBegan and type(event.part) is ToolCall for event in events
            )
        return b"".join(map(self._telling.tell, events))

    def end(self, *, by_close: bool) -> bytes | None:
        events = self._reading.end(by_close=by_close)
        said = b"".join(map(self._telling.tell, events))
        return said if self._reading.done else None
