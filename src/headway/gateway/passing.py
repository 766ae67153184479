"""Every path that is not traffic goes on to control, over a unix socket, both ways as it comes.

The request is written anew: what a caller could use to pretend (Headway's own fields, forwarded
addresses) is removed first. Identity is not passed: control verifies the caller's key itself. What
is passed is the caller's address, an id, and the secret by which control knows its gateways.
"""

from typing import Final

import orjson

from headway.wire.call import Call
from headway.wire.framing import (
    LAST_CHUNK,
    FieldLines,
    Headers,
    chunk,
    end_to_end,
    request_head,
    write_fields,
)
from headway.wire.origin import Origin
from headway.wire.sending import Deadlines, Failure, Sending
from headway.wire.upstream import Pool

_REMOVED: Final = frozenset(
    {b"content-length", b"expect", b"forwarded", b"x-real-ip", b"x-request-id"}
)
_REMOVED_PREFIXES: Final = (b"headway-", b"x-forwarded-", b"x-headway-")
_NOT_BACK: Final = frozenset({b"content-length", b"date", b"server"})
_DEADLINES: Final = Deadlines(connect=5.0, first_byte=120.0, idle=300.0, total=float("inf"))
_BODY_IDLE_SECONDS: Final = 60.0


class Passing:
    """The way to control. One per gateway process."""

    def __init__(self, pool: Pool, *, socket_path: str, hop_secret: str) -> None:
        self.pool = pool
        self.origin = Origin("unix", socket_path)
        self._hop = hop_secret.encode("ascii")

    def pass_on(self, call: Call, *, address: str, request_id: bytes) -> None:
        """Pass a request on and bring its answer back, both as they come."""
        fields = [
            (name, value)
            for name, value in end_to_end(call.headers)
            if name not in _REMOVED and not name.startswith(_REMOVED_PREFIXES)
        ]
        fields.append((b"headway-client-addr", address.encode("ascii", "replace")))
        fields.append((b"headway-hop", self._hop))
        fields.append((b"x-request-id", request_id))
        if call.chunked:
            fields.append((b"transfer-encoding", b"chunked"))
        elif call.content_length is not None:
            fields.append((b"content-length", str(call.content_length).encode("ascii")))
        head = request_head(call.method.encode("ascii"), call.target, write_fields(fields))
        hop = _Hop(call, request_id)
        if not call.has_body:
            hop.sending = self.pool.send(self.origin, head + b"\r\n", b"", hop, _DEADLINES)
        else:
            hop.sending = self.pool.open(self.origin, head + b"\r\n", hop, _DEADLINES)
        hop.begin()


class _Hop:
    """One request on its way to control, and its answer on the way back."""

    __slots__ = ("_call", "_request_id", "sending")

    sending: Sending

    def __init__(self, call: Call, request_id: bytes) -> None:
        self._call = call
        self._request_id = request_id

    def begin(self) -> None:
        call = self._call
        call.on_gone = self._gone
        call.on_unwritable = self._unwritable
        call.on_writable = self._writable
        if not call.has_body:
            return
        self.sending.on_unwritable = call.pause_reading
        self.sending.on_writable = call.resume_reading
        if not self.sending.writable:
            call.pause_reading()
        # Control sets its own limits on bodies; here only a pause ends an upload.
        call.stream(self, idle_seconds=_BODY_IDLE_SECONDS)

    # The request's body (`BodySink`)

    def data(self, data: bytes) -> None:
        self.sending.write(chunk(data) if self._call.chunked else data)

    def end(self) -> None:
        if self._call.chunked:
            self.sending.write(LAST_CHUNK)
        self.sending.end()

    # The answer (`Receiver`)

    def on_head(self, status: int, headers: Headers) -> None:
        length = headers.get(b"content-length")
        fields = [(name, value) for name, value in end_to_end(headers) if name not in _NOT_BACK]
        if headers.get(b"x-request-id") is None:
            fields.append((b"x-request-id", self._request_id))
        self._call.start(status, fields, None if length is None else int(length))

    def on_data(self, data: bytes) -> None:
        self._call.write(data)

    def on_complete(self, *, by_close: bool) -> None:
        if by_close:
            # Control frames what it sends; a body without an end was cut.
            self._call.abort()
        else:
            self._call.finish()
        self._release()

    def on_failure(self, failure: Failure) -> None:
        call = self._call
        if failure.answered or call.answered:
            call.abort()
        else:
            call.respond(503, *control_gone(self._request_id))
        self._release()

    # The caller

    def _gone(self, _call: Call) -> None:
        self.sending.cancel()
        self._release()

    def _unwritable(self, _call: Call) -> None:
        self.sending.pause()

    def _writable(self, _call: Call) -> None:
        self.sending.resume()

    def _release(self) -> None:
        """Undo the ring of references, which only the collector would find."""
        self._call.on_gone = self._call.on_unwritable = self._call.on_writable = None
        self.sending.on_unwritable = self.sending.on_writable = None


KINDS: Final = {
    400: ("unreadable", "The request cannot be read"),
    405: ("method-not-allowed", "Not this method"),
    408: ("too-slow", "It came too slowly"),
    413: ("too-large", "Too many bytes"),
    414: ("target-too-long", "The target is too long"),
    417: ("expectation", "That is not waited for"),
    431: ("head-too-large", "The head is too large"),
    501: ("not-spoken", "A part of HTTP that is not spoken"),
    503: ("unavailable", "Something needed does not answer"),
    505: ("http-version", "Another version of HTTP"),
}
"""By status: the page of the docs on errors, and its title; all that the engine itself answers."""
_OURS: Final = ("our-fault", "Our fault")


def problem_body(status: int, detail: str, request_id: str = "") -> bytes:
    """Write an error in the words of the REST API (RFC 9457), as control does."""
    slug, title = KINDS.get(status, _OURS)
    return orjson.dumps(
        {
            "type": f"/docs/errors/{slug}",
            "title": title,
            "status": status,
            "detail": detail,
            "errors": [],
            "stands_in_the_way": None,
            "request_id": request_id,
        }
    )


def control_gone(request_id: bytes) -> tuple[FieldLines, bytes]:
    """Return fields and body of the answer while control does not answer."""
    fields = write_fields(
        [
            (b"content-type", b"application/problem+json"),
            (b"retry-after", b"1"),
            (b"x-request-id", request_id),
        ]
    )
    detail = "the control process does not answer; traffic to models goes on"
    return fields, problem_body(503, detail, request_id.decode("ascii"))
