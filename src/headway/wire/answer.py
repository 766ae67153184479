"""Answers of an upstream, read from the bytes of one connection as they come."""

from typing import Final

import httptools

from headway.wire.framing import LOWER, AnswerFraming, Headers, Refusal, check_answer
from headway.wire.known import KnownHead

_INTERIMS: Final = 16
"""More answers like 100 and 103 in front of one are no answer."""
_BODILESS: Final = frozenset({204, 304})


class _Enough(Exception):
    """Raised within the parser: what follows the answer is not looked at."""


class AnswerReader:
    """Reads one answer after the other, each between two calls of `begin`."""

    __slots__ = (
        "_asked", "_bare_bytes", "_head_bytes", "_headers", "_interims", "_known", "_most",
        "_parser", "by_close", "complete", "fields", "framing", "heard", "keep", "parts", "status",
    )  # fmt: skip

    def __init__(self, largest_head: int) -> None:
        self._most = largest_head
        self._parser = httptools.HttpResponseParser(self)
        self._known: KnownHead[int] = KnownHead()
        self._headers = Headers()
        self.status = 0
        self.fields = self._headers
        """Of the head; `status` and these are set once `framing` is."""
        self.parts: list[bytes] = []
        """Of the body; who takes them puts an empty list there."""
        self.keep = False
        """The connection may carry another request; set once the answer is complete."""
        self.begin(b"")

    def begin(self, asked: bytes) -> None:
        """Be ready for the answer to a request with this head."""
        self._asked = asked
        self.heard = False
        """Any byte of the answer has come."""
        self.framing: AnswerFraming | None = None
        """How the body ends; None until the head is complete."""
        self.by_close = False
        """The body ends only when the connection does."""
        self.complete = False
        self._interims = self._head_bytes = 0
        self._bare_bytes = 0
        """What came since the last byte of the body: trailers, extensions of a chunk."""

    def release(self) -> None:
        """Let go of the parser, which holds our methods: the collector need not find the pair."""
        del self._parser

    def feed(self, data: bytes) -> None:
        """Take one read. Raises `Refusal` for what is no answer as we take it."""
        first = not self.heard
        if first:
            if not data.startswith(b"H"):  # the parser takes RTSP/ and ICE/ for HTTP/
                raise Refusal(502, "the answer is malformed")
            self.heard = True
            if self._recall(data):
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise Refusal(502, "the upstream switched protocols") from None
        except httptools.HttpParserError as error:
            self._explain(error)
            return
        if self.framing is None:
            self._head_bytes += len(data)
            if self._head_bytes > self._most:
                raise Refusal(502, "the head of the answer is too large")
        elif first:
            self._learn(data)
        elif not self.complete:
            self._bare_bytes = 0 if self.parts else self._bare_bytes + len(data)
            if self._bare_bytes > self._most:
                raise Refusal(502, "the framing of the answer is too large")

    def _explain(self, error: httptools.HttpParserError) -> None:
        """Raise what stopped the parser, unless the answer was whole before."""
        cause = error.__context__
        if cause is not None and not isinstance(cause, _Enough):
            raise cause from None
        if not self.complete:
            raise Refusal(502, "the answer is malformed") from None
        self.keep = False  # bytes after the answer: it is whole, the connection is spoilt

    def _recall(self, data: bytes) -> bool:
        """Take a whole answer whose head is known; False: it is for the parser."""
        if (found := self._known.read(data)) is None:
            return False
        self.fields, body, self.status = found
        self.framing = AnswerFraming(len(body), chunked=False)
        if body:
            self.parts.append(body)
        self._finish(keep=True)
        return True

    def _learn(self, data: bytes) -> None:
        """Remember the head of an answer that came in this one read, if it may come again."""
        length = self.framing.length if self.framing is not None else None
        if self.complete and self.keep and length is not None and self.status not in _BODILESS:
            self._known.learn(data, length, self.fields, self.status)

    def _finish(self, *, keep: bool) -> None:
        self.complete = True
        self.keep = keep

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.complete:
            raise _Enough
        if self._headers:  # of an interim answer
            self._headers = Headers()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.framing is None:  # else it is a trailer, which nobody wants
            self._headers.append((LOWER[name], value.strip()))

    def on_headers_complete(self) -> None:
        parser = self._parser
        status = parser.get_status_code()
        if 100 <= status < 200:
            self._interims += 1
            if status == 101 or self._interims > _INTERIMS:
                raise Refusal(502, f"the upstream answered with status {status}")
            return
        self.framing = framing = check_answer(status, parser.get_http_version(), self._headers)
        self.status = status
        self.fields, self._headers = self._headers, Headers()
        if status in _BODILESS or self._asked.startswith(b"HEAD "):
            self._finish(keep=parser.should_keep_alive())
            # The parser would wait for the body that the fields speak of.
            self._parser = httptools.HttpResponseParser(self)
        else:
            self.by_close = framing.length is None and not framing.chunked

    def on_body(self, data: bytes) -> None:
        if self.complete:
            raise _Enough
        self.parts.append(data)

    def on_message_complete(self) -> None:
        if self.framing is not None and not self.complete and not self.by_close:
            self._finish(keep=self._parser.should_keep_alive())
