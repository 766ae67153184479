"""A provider's other paths, as callers use them: files, batches, images, audio.

    take ── which model ── undrawn: the stable version ── allowed? ── both bodies as they come
      │          │                                            │             │
    401 415     400                                        404 503    502, 504, a broken connection

Which paths a version passes is said in its target (`passes`). Of a request the model is named by
the header Headway-Model, by `model` in the query, or in a body that is JSON or a form. JSON is
held, since the name in it changes: all that begins like an object, as there are providers that
read it so whatever its Content-Type says. Of a form is held what comes before that field or, if
the model is named elsewhere, before the first file; everything else passes in bounded memory.
"""

import re
from dataclasses import replace
from math import inf
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote_plus

import orjson

from headway.auth.role import Permission
from headway.gateway import exact, truth
from headway.gateway.body import PACKED, check_size, malformed
from headway.gateway.exchange import (
    NO_TOKENS,
    Ask,
    Fields,
    Format,
    NotAnswered,
    Passed,
    Problem,
    prefixes,
    split_pin,
)
from headway.gateway.form import boundary_of
from headway.gateway.heads import JSON_TYPE, said_with, upward, waiting
from headway.gateway.pipeline import CONTROL, Access, Pipeline, Way
from headway.gateway.splice import splice_model
from headway.gateway.ticket import Ticket
from headway.gateway.truth import Refused
from headway.gateway.upload import Upload
from headway.registry.target import passed_by
from headway.routing.assignment import NO_HINTS
from headway.tracking.measurement import Outcome
from headway.wire.call import Call
from headway.wire.framing import LAST_CHUNK, FieldLines, Headers, chunk, request_head
from headway.wire.origin import Origin
from headway.wire.sending import Deadlines, Failure, Sending

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_JSON: Final = b"application/json"
_PAIRS: Final = b"application/x-www-form-urlencoded"
_OBJECT: Final = re.compile(rb"[\xef\xbb\xbf\xfe\xff]{0,3}\0{0,3}(?:[ \t\r\n]\0{0,3})*(\{|\Z)")
"""How what may be a JSON object begins, also with a byte order mark, in UTF-16 or UTF-32 (readers
that guess take these, ours refuses them), or has not begun yet."""
_MOST_BLANK: Final = 1_024
"""Bytes that may stand before it."""
_LARGEST: Final = 10 << 30
"""Bytes that pass up in one request."""
_LARGEST_REFUSAL: Final = 256 * 1024
_IDLE_SECONDS: Final = 60.0
"""How long a caller may pause within an upload."""
_SAFE: Final = "/-._~!$&'()*+,;=:@"
_DOWN: Final = (b"content-type", b"content-disposition")
_NO_ANSWER: Final[Fields] = MappingProxyType({})


class Through:
    """One request on its way through, and its answer (`Receiver`, `BodySink`, `UnderWay`)."""

    __slots__ = (
        "_call", "_format", "_head_up", "_headers", "_over", "_passed", "_pipeline", "_refusal",
        "_refusal_size", "_sending", "_status", "_ticket", "_unread", "_upload",
    )  # fmt: skip

    def __init__(self, pipeline: Pipeline, call: Call, format_: Format) -> None:
        """`format_`: in whose words the caller reads what goes wrong."""
        self._pipeline = pipeline
        self._call = call
        self._format = format_
        self._head_up: Fields = call.headers.first()
        self._ticket = Ticket(pipeline, call)
        self._passed: Passed | None = None
        self._upload: Upload | None = None
        """The body, if it is a form."""
        self._unread: bytearray | None = None
        """What has come of a body that may be JSON though its head does not say so."""
        self._sending: Sending | None = None
        self._status = 0
        self._headers = _NO_ANSWER
        self._refusal: list[bytes] | None = None
        """What has come of an answer that says no; None: it says yes, and passes as it comes."""
        self._refusal_size = 0
        self._over = False

    def take(self) -> None:
        """Look at the head, and begin as soon as it is known whom to ask."""
        call = self._call
        call.on_gone = self._gone
        try:
            self._admit()
            if not call.has_body:
                self._send(self._route(self._named()), None)
            elif _kind_of(self._head_up) == _JSON:
                call.collect(self._pipeline.body_limit, self._arrived)
            elif boundary := boundary_of(self._head_up.get(b"content-type", b"")):
                self._take_form(boundary)
            else:
                self._take_any()
        except NotAnswered as refused:
            self._fail(refused.problem)

    def _admit(self) -> None:
        call, pipeline = self._call, self._pipeline
        caller = pipeline.identify(call, self._head_up, Permission.TRAFFIC_CALL)
        if call.method not in METHODS:
            detail = f"{call.method} is not passed on, but {', '.join(sorted(METHODS))}"
            raise NotAnswered(Problem(405, detail, Outcome.CALLER, "method_not_allowed"))
        if self._head_up.get(b"content-encoding", b"identity") != b"identity":
            raise NotAnswered(PACKED)
        self._ticket.caller = caller
        self._ticket.admit()

    def _named_by_head(self) -> str:
        return (
            self._head_up.get(b"headway-model", b"").decode("latin-1")
            or dict(parse_qsl(self._call.query.decode("latin-1"))).get("model")
            or ""
        )

    def _named(self, said: object = None) -> str:
        """Return the model that a request names; `said`: by its body. Raises `NotAnswered`."""
        found = self._named_by_head() or said
        if not isinstance(found, str) or not found:
            raise malformed(
                "say which model this goes to: in the header Headway-Model, in the query as "
                "`model`, or as `model` in a body that is JSON or a form",
                param="model",
                code="model_missing",
            )
        return found

    def _arrived(self, _call: Call, body: bytes) -> None:
        try:
            document = _read(body)
            passed = self._passed or self._route(self._named((document or {}).get("model")))
            self._send(passed, _renamed(document, body, passed.model))
        except NotAnswered as refused:
            self._fail(refused.problem)

    def _route(self, named: str) -> Passed:
        """Find out where the request goes, and count it there. Raises `NotAnswered`."""
        pipeline, call, ticket = self._pipeline, self._call, self._ticket
        name, ref = split_pin(named)
        if ticket.caller is CONTROL:
            raise NotAnswered(_not_passed(name, "", call.path))
        way = pipeline.undrawn(ticket.caller, name, ref, self._head_up)
        at = pipeline.clock()
        flight = ticket.assign(way, at)
        passed = self._passed = self._passed_by(way)
        ticket.flight = flight
        pipeline.under_way.add(self)
        pipeline.accumulator.key_used(ticket.caller.id, at)
        known = pipeline.resiliences.of(way.destination.release.digest)
        ticket.leave = pipeline.leave(way, known)
        return passed

    def _passed_by(self, way: Way) -> Passed:
        """Return how the version is called, or raise `NotAnswered`."""
        release, prepared = way.destination.release, way.destination.prepared
        if prepared.fault:
            raise NotAnswered(
                Problem(502, prepared.fault, Outcome.VERSION, "version_misconfigured")
            )
        path = self._call.path[4:]
        if prepared.passed is None or not prepared.passed.allows(path):
            raise NotAnswered(_not_passed(release.model, release.version, self._call.path))
        return prepared.passed

    def _send(self, passed: Passed, body: bytes | None) -> None:
        """Send the request; `body` is one that was held, None if there is none."""
        call = self._call
        length = b"" if call.method in {"GET", "HEAD"} else b"content-length: 0\r\n"
        if body is not None:
            length = b"content-length: %d\r\n" % len(body)
        origin, deadlines = self._where_to()
        head = self._head(passed) + length + b"\r\n"
        self._sending = self._pipeline.pool.send(origin, head, body or b"", self, deadlines)
        self._ticket.sent()

    def _open(self, passed: Passed, length: int | None) -> None:
        """Begin a request whose body passes; `length`: of the body, None if it comes in chunks."""
        call = self._call
        framing = b"transfer-encoding: chunked\r\n\r\n"
        if length is not None:
            framing = b"content-length: %d\r\n\r\n" % length
        origin, deadlines = self._where_to()
        head = self._head(passed) + framing
        sending = self._sending = self._pipeline.pool.open(origin, head, self, deadlines)
        sending.on_unwritable = call.pause_reading
        sending.on_writable = call.resume_reading
        if not sending.writable:
            call.pause_reading()
        self._ticket.sent()

    def _where_to(self) -> tuple[Origin, Deadlines]:
        way = self._ticket.way
        if way is None:
            raise AssertionError("a request is routed before it is sent")
        prepared = way.destination.prepared
        # How long a file takes is not known beforehand: pauses end it, not its length.
        return prepared.origin, replace(prepared.deadlines, total=inf)

    def _head(self, passed: Passed) -> bytes:
        call = self._call
        target = passed.base + quote(call.path[4:], safe=_SAFE).encode("ascii")
        if query := _query(call.query, passed):
            target += b"?" + query
        head = request_head(call.method.encode("ascii"), target, passed.lines)
        return head + upward(call.headers, passed)

    # The request's body (`BodySink`)

    def data(self, data: bytes) -> None:
        if self._over:
            return
        upload = self._upload
        try:
            if self._unread is not None:
                self._look(self._unread, data)
                return
            if upload is None:
                self._write(data)
                return
            self._write(upload.take(data))
            if self._sending is None:
                self._try_form(upload)
        except NotAnswered as refused:
            self._break_off(refused.problem)

    def end(self) -> None:
        if self._over:
            return
        if self._unread is not None:
            self._arrived(self._call, bytes(self._unread))
            return
        try:
            if self._upload is not None:
                self._end_form(self._upload)
        except NotAnswered as refused:
            self._break_off(refused.problem)
            return
        if self._sending is not None:
            if self._call.chunked:
                self._sending.write(LAST_CHUNK)
            self._sending.end()

    def _write(self, data: bytes) -> None:
        if self._sending is not None:
            self._sending.write(chunk(data) if self._call.chunked else data)

    def _break_off(self, problem: Problem) -> None:
        self._cancel()
        self._fail(problem)

    # A body of any other kind

    def _take_any(self) -> None:
        if named := self._named_by_head():
            self._route(named)
        self._unread = bytearray()
        self._call.stream(self, limit=_LARGEST, idle_seconds=_IDLE_SECONDS)

    def _look(self, unread: bytearray, data: bytes) -> None:
        """Hold what may be a JSON object; begin with all else. Raises `NotAnswered`."""
        before, limit = len(unread), self._pipeline.body_limit
        unread += data
        begun = None
        if before > _MOST_BLANK or (begun := _OBJECT.match(unread)) is not None:
            if begun is not None and not begun[1] and len(unread) > _MOST_BLANK:
                raise malformed(f"the body begins with more than {_MOST_BLANK:,} blanks")
            if len(unread) > limit:
                detail = f"a body that begins like a JSON object may have {limit:,} bytes"
                raise NotAnswered(Problem(413, detail, Outcome.CALLER, "request_too_large"))
            return
        if _kind_of(self._head_up) == _PAIRS:
            raise malformed(
                f"a body of the type {_PAIRS.decode()} is not passed: send JSON or a form "
                "(multipart/form-data)",
                code="invalid_value",
            )
        self._unread = None
        self._open(self._passed or self._route(self._named()), self._call.content_length)
        self._write(bytes(unread))

    # A form

    def _take_form(self, boundary: bytes) -> None:
        self._upload = Upload(boundary, self._call.content_length)
        if named := self._named_by_head():
            self._route(named)
        self._call.stream(self, limit=_LARGEST, idle_seconds=_IDLE_SECONDS)

    def _try_form(self, upload: Upload) -> None:
        """Begin as soon as it is known where a form goes, and how long it will be."""
        if upload.model is not None:
            self._begin_form(upload, self._passed or self._route(self._named(upload.model)))
        elif self._passed is not None:
            if upload.seen_enough:
                self._begin_form(upload, self._passed)
        elif upload.size > self._pipeline.body_limit:
            raise malformed(
                "the form names no `model` before its files, and is too large to be held: name it "
                "there, or in the header Headway-Model",
                param="model",
                code="model_missing",
            )

    def _end_form(self, upload: Upload) -> None:
        self._write(upload.end())
        if self._sending is None:
            self._begin_form(upload, self._passed or self._route(self._named(upload.model)))

    def _begin_form(self, upload: Upload, passed: Passed) -> None:
        length, held = upload.begin(passed.model)
        self._open(passed, length)
        self._write(held)

    # The answer (`Receiver`)

    def on_head(self, status: int, headers: Headers) -> None:
        try:
            self._take_head(status, headers)
        except Exception as error:  # noqa: BLE001 - else the caller would wait for ever
            self._crash(error)

    def _take_head(self, status: int, headers: Headers) -> None:
        fields = headers.first()
        self._status, self._headers = status, fields
        if fields.get(b"content-encoding", b"identity").lower() != b"identity":
            self._cancel()
            self._fail(truth.unreadable("is compressed, which was not asked for"))
        elif 300 <= status < 400:
            self._cancel()
            self._fail(truth.unreadable("leads elsewhere, where nobody follows"))
        elif status >= 400:
            self._refusal = []
        else:
            call = self._call
            length = fields.get(b"content-length")
            call.start(
                status, self._fields(_kind(fields)), None if length is None else int(length)
            )
            call.on_unwritable = self._unwritable
            call.on_writable = self._writable

    def on_data(self, data: bytes) -> None:
        if self._refusal is None:
            self._call.write(data)
            return
        self._refusal_size += len(data)
        if self._refusal_size <= _LARGEST_REFUSAL:
            self._refusal.append(data)

    def on_complete(self, *, by_close: bool) -> None:
        refusal = self._refusal
        if refusal is not None:
            whole = self._refusal_size <= _LARGEST_REFUSAL
            try:
                self._refused(b"".join(refusal) if whole else b"")
            except Exception as error:  # noqa: BLE001 - else the caller would wait for ever
                self._crash(error)
        elif by_close:
            # Nothing but its framing could tell that it is whole.
            self._call.abort()
            self._end(Outcome.PROVIDER)
        else:
            self._ticket.leave_key()  # before the caller can know that it is over
            self._call.finish()
            self._end(Outcome.OK)

    def on_failure(self, failure: Failure) -> None:
        self._fail(truth.of_failure(failure, local=False))

    def _refused(self, body: bytes) -> None:
        """Pass on what says no: its words where they are about the request, as everywhere."""
        way = self._ticket.way
        refusal = truth.of_refusal(
            Refused(self._status, self._headers, body),
            self._format.complaint,
            now=self._pipeline.clock(),
            local=False,
            hidden=() if way is None else way.destination.prepared.hidden,
        )
        problem = refusal.problem
        if refusal.body is None:
            self._fail(problem)
            return
        lines = JSON_TYPE + waiting(problem.retry_after)
        self._respond(problem.status, lines, refusal.body)
        self._end(problem.outcome)

    # The caller

    def _gone(self, call: Call) -> None:
        self._cancel()
        self._end(truth.of_call(call.refused))

    def _unwritable(self, _call: Call) -> None:
        if self._sending is not None:
            self._sending.pause()

    def _writable(self, _call: Call) -> None:
        if self._sending is not None:
            self._sending.resume()

    def mark(self, now: float) -> None:
        """Be looked at by the sweep; the engine's own time-outs are enough."""

    def give_up(self) -> None:
        """Go on: whoever is under way here is waited for."""

    # The end

    def _fail(self, problem: Problem) -> None:
        """End with a problem: as an answer, or by breaking off one that has begun."""
        if self._over:
            return
        if self._call.answered:
            self._call.abort()
        else:
            lines = JSON_TYPE + said_with(problem)
            if problem.status == 405:
                lines += b"allow: %b\r\n" % ", ".join(sorted(METHODS)).encode("ascii")
            self._respond(problem.status, lines, self._format.fault(problem))
        self._end(problem.outcome)

    def _crash(self, error: Exception) -> None:
        """End a request that met a fault of ours."""
        self._pipeline.report(error)
        self._cancel()
        self._fail(Problem(500, "this gateway failed", Outcome.GATEWAY, "internal_error"))

    def _respond(self, status: int, lines: bytes, body: bytes) -> None:
        self._ticket.leave_key()
        self._call.respond(status, self._fields(lines), body)

    def _cancel(self) -> None:
        if self._sending is not None:
            self._sending.cancel()

    def _end(self, outcome: Outcome) -> None:
        """Record how it ended, once, and undo the ring of references."""
        if self._over:
            return
        self._over = True
        pipeline, ticket = self._pipeline, self._ticket
        ticket.record(outcome, pipeline.monotonic(), status=self._status)
        ticket.key_ended(outcome)
        if outcome is Outcome.OK and _makes(self._call):
            ticket.spend(NO_TOKENS)  # what it cost nobody here knows
        ticket.leave_key()
        if pipeline.access is not None:
            self._tell(pipeline.access, outcome)
        pipeline.under_way.discard(self)
        if (sending := self._sending) is not None:
            sending.on_unwritable = sending.on_writable = None
            self._sending = None

    def _tell(self, access: Access, outcome: Outcome) -> None:
        passed = self._pipeline.view.passed
        allowed = (each for each in prefixes(self._call.path[4:]) if each in passed)
        self._ticket.tell(access, outcome, f"/v1/{next(allowed, '{path}')}")

    def _fields(self, lines: bytes) -> FieldLines:
        return self._ticket.fields(lines, self._headers)


def _makes(call: Call) -> bool:
    """Say whether something is made that may cost: a POST may also end or alter what is kept."""
    return (
        call.method == "POST"
        and not call.path.endswith("/cancel")
        and not call.path.startswith("/v1/chat/completions/")
    )


def _kind_of(headers: Fields) -> bytes:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _read(body: bytes) -> dict[str, Any] | None:
    """Return the object that a body holds, None if it is some other JSON or empty."""
    if not body:
        return None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise malformed(f"the body is not JSON: {error.msg[:128]}") from None
    if type(document) is not dict:
        return None
    check_size(document)
    return document


def _renamed(document: dict[str, Any] | None, body: bytes, model: str) -> bytes:
    """Return the body with the name by which the provider knows the model."""
    if document is None or "model" not in document:
        return body
    spliced = splice_model(Ask(body, document, "", None, NO_HINTS), model)
    return spliced or orjson.dumps({**exact.loads(body), "model": model})


def _query(query: bytes, passed: Passed) -> bytes:
    """Return the caller's query with the version's own words in it."""
    ours = [part for part in passed.query.split(b"&") if part]
    own = {_key(part) for part in ours}
    for part in query.split(b"&"):
        key = _key(part)
        if key == "model":
            ours.append(b"model=" + quote(passed.model, safe="").encode("ascii"))
        elif part and key not in own:
            ours.append(part)
    return b"&".join(ours)


def _key(part: bytes) -> str:
    return unquote_plus(part.partition(b"=")[0].decode("latin-1"))


def _kind(headers: Fields) -> bytes:
    """Return what an answer's head says of its body."""
    return b"".join(b"%b: %b\r\n" % (name, headers[name]) for name in _DOWN if name in headers)


def passing_words(path: str) -> str:
    """Say what would let a path below /v1 through."""
    word = (passed_by(path[4:]) or path[4:])[:128]
    return f"a version passes it through whose target has {word!r} in `passes`"


def _not_passed(model: str, version: str, path: str) -> Problem:
    return Problem(
        404,
        f"{model} {version} does not pass {path[:128]} through; {passing_words(path)}",
        Outcome.CALLER,
        "path_not_passed",
    )
