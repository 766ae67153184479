"""The life of one request on a traffic path, from its head to the one record of how it ended.

    take ── body ── read ── way ── stamp ── write ── send ── answer ── record
      │       │       │      │                │        │
    401 429  413     400   404 503           422    502 504: all in the caller's own dialect

A `Passage` is also what takes the upstream's answer. An answer in one piece is held until it is
complete; a stream passes event by event. Until something of the answer is written, a failure may
be tried again or handed to the route's fallback (`recourse.py` says which); after that it is told
as what it is: an error event, and a connection that breaks.
"""

import random
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from headway.auth.role import Permission
from headway.gateway import truth
from headway.gateway.body import PACKED
from headway.gateway.dialects import ANTHROPIC_COUNTING, path_of
from headway.gateway.exchange import (
    NO_TOKENS,
    Ask,
    Fields,
    Format,
    NotAnswered,
    Prepared,
    Problem,
    Speaker,
    Watch,
    Whole,
)
from headway.gateway.heads import JSON_TYPE, patience, said_with, upward, waiting
from headway.gateway.pipeline import CONTROL, Access, Pipeline, Way
from headway.gateway.recourse import Again, Course, FallBack, Setback, Tell, next_step
from headway.gateway.resilience import Resilience
from headway.gateway.tally import together
from headway.gateway.ticket import Ticket
from headway.gateway.truth import Refused
from headway.gateway.view import Destination
from headway.registry.target import HostedTarget
from headway.tracking.measurement import Outcome
from headway.wire.call import Call
from headway.wire.framing import Headers
from headway.wire.sending import Deadlines, Failure, Sending

_EVENTS_TYPE: Final = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
)
_STREAM: Final = b"text/event-stream"
_AFTER_DONE_SECONDS: Final = 1.0
"""How long an upstream may take to end a body whose last event has come."""
_TICK: Final = 0.25
_HELD_SECONDS: Final = 5.0
"""How long events before the first content wait; then the caller shall see that something is."""
_MOST_HELD: Final = 64 * 1024
_CHECK_WAITS_SECONDS: Final = 3.0
_CHECK_LOOKS_SECONDS: Final = 0.1
_USED: Final = frozenset({Outcome.OK, Outcome.GONE})
_NO_FIELDS: Final = b""
_NO_REQUEST: Final = (b"", b"")
_NO_ANSWER: Final[Fields] = MappingProxyType({})


class Passage:
    """One request on its way through."""

    __slots__ = (
        "_answer_size", "_ask", "_by", "_call", "_calls", "_destination", "_fallen_back",
        "_fields_up", "_first_ms", "_format", "_headers", "_held", "_left_at", "_lost", "_model",
        "_over", "_over_at", "_parts", "_pipeline", "_request", "_resilience", "_retried",
        "_sending", "_since", "_speaker", "_status", "_ticket", "_watch",
    )  # fmt: skip

    def __init__(self, pipeline: Pipeline, call: Call, format_: Format, model: str | None) -> None:
        """`model` is the name that stood in the path, if one did."""
        self._pipeline = pipeline
        self._call = call
        self._format = format_
        self._model = model
        self._fields_up: Fields = call.headers.first()
        self._ticket = Ticket(pipeline, call)
        self._ask: Ask | None = None
        self._destination: Destination | None = None
        self._speaker: Speaker | None = None
        self._request = _NO_REQUEST
        """Head and body for the upstream, kept until they are surely not sent again."""
        self._by = 0.0
        """Monotonic seconds at which the caller stops waiting; 0.0: it does not say."""
        self._since = 0.0
        """Monotonic seconds since which the upstream that is asked now is waited for."""
        self._sending: Sending | None = None
        self._retried = 0
        """How often the version that is asked now was asked again."""
        self._calls = 0
        """Requests to upstreams, whichever."""
        self._resilience: Resilience | None = None
        self._fallen_back = False
        self._status = 0
        self._headers = _NO_ANSWER
        self._parts: list[bytes] = []
        self._answer_size = 0
        self._watch: Watch | None = None
        self._held = b""
        """Events before the first content, which are kept so that another may answer yet."""
        self._first_ms: float | None = None
        self._lost: Mapping[str, int] = NO_TOKENS
        """What answers cost that were given up before anybody saw them."""
        self._left_at = 0.0
        """Monotonic seconds at which the caller left what is read on; 0.0: nobody did.

        From then on it is recorded, but for the tokens."""
        self._over = False
        self._over_at = 0.0

    def take(self) -> None:
        """Look at the head: who asks. What they may call is decided when the body is there."""
        call = self._call
        try:
            self._admit()
        except NotAnswered as refused:
            self._refuse(refused.problem)
            return
        call.on_gone = self._gone
        call.collect(self._pipeline.body_limit, self._arrived)

    def _admit(self) -> None:
        head, ticket = self._fields_up, self._ticket
        ticket.caller = self._pipeline.identify(self._call, head, Permission.TRAFFIC_CALL)
        if head.get(b"content-encoding", b"identity") != b"identity":
            raise NotAnswered(PACKED)
        ticket.admit()

    def _refuse(self, problem: Problem) -> None:
        """End before the body is read."""
        self._respond(problem)
        self._pipeline.accumulator.unrouted(problem.outcome)
        self._ticket.key_ended(problem.outcome)
        if self._pipeline.access is not None:
            self._tell(self._pipeline.access, problem.outcome, NO_TOKENS)

    # From the caller

    def _arrived(self, _call: Call, body: bytes) -> None:
        try:
            self._start(body)
        except NotAnswered as refused:
            if not self._await_version(refused.problem, body):
                self._fail(refused.problem)

    def _await_version(self, problem: Problem, body: bytes) -> bool:
        """Let a check wait for its version: control may be faster than our look at the routes."""
        pipeline = self._pipeline
        waited = pipeline.monotonic() - self._call.last_byte_at
        if (
            self._ticket.caller is not CONTROL
            or problem.status != 404
            or waited > _CHECK_WAITS_SECONDS
        ):
            return False
        pipeline.later(
            _CHECK_LOOKS_SECONDS, lambda: None if self._over else self._arrived(self._call, body)
        )
        return True

    def _gone(self, call: Call) -> None:
        """Learn that the caller left: neither a success nor a failure of anybody."""
        outcome = truth.of_call(call.refused)
        if outcome is Outcome.GONE and not self._over and self._read_on():
            return
        if self._sending is not None:
            self._sending.cancel()
        if not self._over:
            self._end_with(outcome, self._watch)

    def _read_on(self) -> bool:
        """Read the answer to its end for its tokens, which are paid for; say whether that is done.

        Nothing is written, so nothing holds the provider back; the version's time-outs end it.
        """
        pipeline, sending, destination = self._pipeline, self._sending, self._destination
        if sending is None or destination is None or not destination.prepared.reads_on:
            return False
        if pipeline.reading_on >= pipeline.most_reading_on:
            return False
        pipeline.reading_on += 1
        self._left_at = pipeline.monotonic()
        self._ticket.leave_key()  # what is read on is our wish, not the caller's
        # At once: how slow it was until then is due when it is due, however long the rest takes.
        self._count(Outcome.GONE, self._left_at)
        sending.resume()
        return True

    def give_up(self) -> None:
        """Wait for nothing that only counts: the gateway stops."""
        if self._left_at and not self._over:
            self._cancel()
            self._end_with(Outcome.GONE, self._watch)

    def _wait_no_longer(self) -> None:
        """Let a caller go whose patience is at an end: nobody failed, and others may wait longer.

        Most clients have left by themselves; it is counted alike, whoever is first.
        """
        self._respond(_OUT_OF_PATIENCE)
        if not self._read_on():
            self._cancel()
            self._end(_OUT_OF_PATIENCE.outcome)

    def _unwritable(self, _call: Call) -> None:
        if self._sending is not None:
            self._sending.pause()

    def _writable(self, _call: Call) -> None:
        if self._sending is not None:
            self._sending.resume()

    def mark(self, now: float) -> None:
        """Be looked at by the sweep."""
        if not self._over:
            age = now - self._call.last_byte_at
            if (flight := self._ticket.flight) is not None and not self._left_at:
                self._pipeline.accumulator.mark(flight, age * 1000)
            if 0 < self._by <= now and not self._left_at:
                self._wait_no_longer()
            elif self._watch is not None and not self._watch.started:
                self._await_content(now - self._since, age)
        elif now - self._over_at > _AFTER_DONE_SECONDS:
            # The upstream's last event came and its end did not: nobody waits for that.
            if self._sending is not None:
                self._sending.cancel()
            self._pipeline.under_way.discard(self)

    def _await_content(self, waited: float, age: float) -> None:
        """Look at a stream that has begun and says nothing yet.

        `waited`: seconds since its upstream was asked, `age`: since the caller asked.
        """
        destination = self._destination
        if destination is not None and waited > destination.prepared.deadlines.first_byte + _TICK:
            self._cancel()
            self._fail(_NO_CONTENT)
        elif self._held and age > _HELD_SECONDS:
            held, self._held = self._held, b""
            self._pass(held)

    # The way there

    def _start(self, body: bytes) -> None:
        pipeline, ticket = self._pipeline, self._ticket
        headers = self._fields_up
        ask = self._ask = self._format.read(body, headers, self._model)
        way = pipeline.way(ticket.caller, ask, self._format, headers)
        if b"x-stainless-read-timeout" in headers and not ask.stream:
            # Of a stream clients count it from event to event, and leave by themselves.
            self._by = self._call.last_byte_at + patience(headers[b"x-stainless-read-timeout"])
        at = pipeline.clock()
        self._begin(way, at)
        if ticket.caller is not CONTROL:
            pipeline.accumulator.key_used(ticket.caller.id, at)
        self._go(way)

    def _begin(self, way: Way, at: int) -> None:
        """Count the request for the version that it goes to."""
        self._ticket.flight = self._ticket.assign(way, at)
        self._pipeline.under_way.add(self)

    def _go(self, way: Way) -> None:
        """Write the request for a version, and send it. Raises `NotAnswered`."""
        destination = self._destination = way.destination
        prepared = destination.prepared
        if prepared.fault:
            raise NotAnswered(
                Problem(502, prepared.fault, Outcome.VERSION, "version_misconfigured")
            )
        speaker = prepared.speakers.get(self._format.name)
        if speaker is None:
            raise NotAnswered(_wrong_path(destination))
        self._speaker = speaker
        headers = self._fields_up
        body = speaker.write(self._asked, headers)
        ticket = self._ticket
        if not prepared.local and ticket.caller is not CONTROL:
            known = self._pipeline.resiliences.of(destination.release.digest)
            ticket.leave = self._pipeline.leave(way, known)
            self._resilience = known
            known.sent()
        native = speaker.native
        fields = _NO_FIELDS
        if native.defaults or not native.up.isdisjoint(headers):
            fields = upward(self._call.headers, native)
        head = b"%b%bcontent-length: %d\r\n\r\n" % (native.head, fields, len(body))
        self._request = (head, body)
        self._send(prepared)
        ticket.sent()

    def _send(self, prepared: Prepared) -> None:
        self._calls += 1
        head, body = self._request
        called_before = self._calls > 1
        self._since = self._pipeline.monotonic() if called_before else self._call.last_byte_at
        if prepared.retries <= self._retried:
            self._request = _NO_REQUEST
        self._sending = self._pipeline.pool.send(
            prepared.origin, head, body, self, self._deadlines(prepared)
        )

    def _deadlines(self, prepared: Prepared) -> Deadlines:
        """Return the version's time-outs; who is asked later has what is left of the whole."""
        deadlines = prepared.deadlines
        if self._calls == 1:
            return deadlines
        left = deadlines.total - (self._pipeline.monotonic() - self._call.last_byte_at)
        return replace(deadlines, total=max(left, 0.001))

    @property
    def _said(self) -> Speaker:
        if self._speaker is None:
            raise AssertionError("an answer comes from where a request went")
        return self._speaker

    @property
    def _asked(self) -> Ask:
        if self._ask is None:
            raise AssertionError("a request is read before it goes anywhere")
        return self._ask

    # From the upstream

    def on_head(self, status: int, headers: Headers) -> None:
        """Take the head of the answer (`Receiver`)."""
        try:
            self._take_head(status, headers)
        except Exception as error:  # noqa: BLE001 - else the caller would wait for ever
            self._crash(error)

    def _take_head(self, status: int, headers: Headers) -> None:
        self._status = status
        fields = self._headers = headers.first()
        coding = fields.get(b"content-encoding")
        if coding is not None and coding.lower() != b"identity" and status == 200:
            self._cancel()
            self._fail(truth.unreadable("is compressed, which was not asked for"))
        elif status == 200 and self._asked.stream:
            kind = fields.get(b"content-type") or b""
            if kind[: len(_STREAM)].lower() == _STREAM:
                self._watch = self._said.watch(self._asked)

    def on_data(self, data: bytes) -> None:
        """Take bytes of the answer (`Receiver`)."""
        if self._over:
            return
        watch = self._watch
        if watch is None:
            self._parts.append(data)
            self._answer_size += len(data)
            if self._answer_size > self._pipeline.answer_limit:
                self._cancel()
                self._fail(truth.unreadable("is too large"))
            return
        try:
            self._look(watch, data)
        except Exception as error:  # noqa: BLE001 - else the caller would wait for ever
            self._crash(error)

    def _look(self, watch: Watch, data: bytes) -> None:
        events = watch.feed(data)
        if watch.started and self._first_ms is None and not self._left_at:
            self._first_ms = self._age_ms()
        if self._held:
            events = self._held + events
            self._held = b""
        if watch.started or watch.done or self._call.answered or len(events) > _MOST_HELD:
            if events:
                self._pass(events)
        else:
            self._held = events
        if watch.error is not None:
            self._cancel()
            problem = Problem(502, watch.error, Outcome.PROVIDER, "upstream_error")
            self._failed(Setback(problem, passing=True), watch)
        elif watch.done:
            self._finish_stream(watch)

    def on_complete(self, *, by_close: bool) -> None:
        """Learn that the answer's framing is complete (`Receiver`)."""
        self._sending = None
        if self._over:
            self._pipeline.under_way.discard(self)
            return
        watch = self._watch
        try:
            if watch is None:
                self._whole(b"".join(self._parts), by_close=by_close)
            else:
                self._last(watch, by_close=by_close)
        except Exception as error:  # noqa: BLE001 - else the caller would wait for ever
            self._crash(error)

    def _last(self, watch: Watch, *, by_close: bool) -> None:
        last = watch.end(by_close=by_close)
        if last is None:
            words = watch.error or "the provider's stream ended before it was complete"
            problem = Problem(502, words, Outcome.PROVIDER, "stream_cut")
            self._failed(Setback(problem, passing=True), watch)
            return
        last = self._held + last
        if last:
            self._pass(last)
        self._finish_stream(watch)
        self._pipeline.under_way.discard(self)

    def on_failure(self, failure: Failure) -> None:
        """Learn that there is no complete answer (`Receiver`)."""
        self._sending = None
        if self._over:
            self._pipeline.under_way.discard(self)
            return
        try:
            local = self._destination is not None and self._destination.prepared.local
            problem = truth.of_failure(failure, local=local)
            passing = truth.may_be_sent_again(failure)
            self._failed(Setback(problem, passing=passing), self._watch)
        except Exception as error:  # noqa: BLE001 - else the caller would wait for ever
            self._crash(error)

    def _pass(self, events: bytes) -> None:
        """Write events to the caller, the head of the answer before the first."""
        call = self._call
        if self._left_at:
            return
        if not call.answered:
            call.start(200, self._ticket.fields(_EVENTS_TYPE, self._headers))
            call.on_unwritable = self._unwritable
            call.on_writable = self._writable
        call.write(events)

    def _finish_stream(self, watch: Watch) -> None:
        if self._left_at:
            self._end_with(Outcome.GONE, watch)
            return
        # At once, not when the upstream ends: a client waits 0.1 s for it and then disconnects.
        if not self._call.answered:
            self._pass(b"")
        self._ticket.leave_key()  # before the caller can know that it is over
        self._call.finish()
        self._end(
            Outcome.OK,
            tokens=watch.tokens,
            served_by=watch.served_by,
            wait=self._sending is not None,
        )

    def _whole(self, body: bytes, *, by_close: bool) -> None:
        """Judge an answer in one piece, and pass it on."""
        status = self._status
        if status != 200:
            self._refused(status, body)
            return
        whole = self._said.whole(self._asked, body, self._headers)
        if self._left_at:
            self._end_with(Outcome.GONE, whole)
            return
        local = self._destination is not None and self._destination.prepared.local
        error = whole.error
        if error is None and by_close and self._format.ends_by_framing:
            error = "the model's answer broke off"
        if error is None and self._asked.stream:
            error = "the provider answered without a stream, which was asked for"
        if error is not None:
            outcome = Outcome.VERSION if local else Outcome.PROVIDER
            self._fail(Problem(502, error, outcome, "upstream_error"), whole)
            return
        said = body if whole.body is None else whole.body
        kind = JSON_TYPE if whole.fields is None else whole.fields
        self._ticket.leave_key()
        self._call.respond(200, self._ticket.fields(kind, self._headers), said)
        self._end(Outcome.OK, tokens=whole.tokens, served_by=whole.served_by)

    def _refused(self, status: int, body: bytes) -> None:
        """Pass on an answer that says no."""
        prepared = self._destination.prepared if self._destination is not None else None
        refusal = truth.of_refusal(
            Refused(status, self._headers, body),
            self._said.complaint,
            now=self._pipeline.clock(),
            local=prepared is not None and prepared.local,
            hidden=() if prepared is None else prepared.hidden,
        )
        if refusal.body is not None:
            self._pass_refusal(refusal.problem, refusal.body)
        else:
            passing = truth.may_be_tried_again(status)
            self._failed(Setback(refusal.problem, passing, refusal.wait))

    def _pass_refusal(self, problem: Problem, body: bytes) -> None:
        """Let the caller read what the provider says of the request, in the bytes it said it."""
        if not self._left_at:
            lines = JSON_TYPE + waiting(problem.retry_after)
            fields = self._ticket.fields(lines, self._headers, final=self._calls > 1)
            self._ticket.leave_key()
            self._call.respond(problem.status, fields, body)
        self._end(problem.outcome)

    # Failures

    def _fail(self, problem: Problem, said: Whole | None = None) -> None:
        """Be failed in a way that will be no better the next time; `said` as in `_failed`."""
        self._failed(Setback(problem), said or self._watch)

    def _failed(self, setback: Setback, said: Watch | Whole | None = None) -> None:
        """Do what can be done for the caller.

        `said`: the answer that is none, for what it says of its tokens.
        """
        if self._over:
            return
        other = self._other()
        match next_step(self._course(other), setback, random.random()):  # noqa: S311 - no secret
            case Again(pause):
                self._send_again(pause)
            case FallBack() if other is not None:
                self._fall_back(other, setback.problem, said)
            case FallBack() | Tell():
                self._tell_caller(setback.problem, said)

    def _course(self, other: Way | None) -> Course:
        destination = self._destination
        retries, total = 0, 0.0
        if destination is not None and self._request[0]:
            prepared = destination.prepared
            retries, total = prepared.retries, prepared.deadlines.total
        return Course(
            open=not self._call.answered and not self._left_at,
            calls=self._calls,
            retried=self._retried,
            retries=retries,
            budget=self._resilience is None or self._resilience.may_retry,
            client_retries=self._fields_up.get(b"x-stainless-retry-count", b"0") != b"0",
            age=self._age_ms() / 1000,
            total=total,
            fallback_total=other.destination.prepared.deadlines.total if other else None,
        )

    def _other(self) -> Way | None:
        """Return where the request may go instead: whoever names a version wants no other."""
        way = self._ticket.way
        if way is None or self._fallen_back or way.assignment.pinned:
            return None
        try:
            return self._pipeline.fallback(way.served)
        except NotAnswered:
            return None

    def _send_again(self, pause: float) -> None:
        if self._resilience is not None:
            self._resilience.retried()
        self._retried += 1
        self._forget_answer()
        self._pipeline.later(pause, self._resend)

    def _resend(self) -> None:
        if self._over or self._destination is None:
            return
        try:
            self._send(self._destination.prepared)
        except Exception as error:  # noqa: BLE001 - else the caller would wait for ever
            self._crash(error)

    def _forget_answer(self) -> None:
        """Drop what has come of an answer that nobody has seen; what it cost is kept."""
        if self._watch is not None and self._watch.tokens:
            self._lost = together(self._lost, self._watch.tokens)
        self._parts, self._answer_size, self._watch, self._held = [], 0, None, b""
        self._status, self._headers = 0, _NO_ANSWER

    def _fall_back(self, other: Way, problem: Problem, said: Watch | Whole | None) -> None:
        """Hand the request to the route's fallback.

        The failure still counts, and so does what the answer cost that is given up.
        """
        spent, served_by = (NO_TOKENS, "") if said is None else (said.tokens, said.served_by)
        if self._lost:
            spent = together(self._lost, spent)
        ticket, now = self._ticket, self._pipeline.monotonic()
        ticket.record(
            problem.outcome, now, self._status, self._first_ms, tokens=spent, served_by=served_by
        )
        if spent:
            ticket.spend(spent)
        self._resilience = None
        self._fallen_back = True
        self._retried = 0
        self._forget_answer()
        self._lost = NO_TOKENS
        self._begin(other, self._pipeline.clock())
        try:
            self._go(other)
        except NotAnswered as refused:
            self._fail(refused.problem)

    def _tell_caller(self, problem: Problem, said: Watch | Whole | None) -> None:
        """End with a problem: as an answer, or within one that has begun."""
        call = self._call
        if self._left_at:
            pass  # nobody is there to be told
        elif call.answered:
            self._ticket.leave_key()
            call.write(self._format.fault_event(problem))
            call.abort()
        else:
            self._respond(problem)
        self._end_with(problem.outcome, said)

    def _respond(self, problem: Problem) -> None:
        lines = JSON_TYPE + said_with(problem)
        fields = self._ticket.fields(lines, self._headers, final=self._calls > 1)
        self._ticket.leave_key()
        self._call.respond(problem.status, fields, self._format.fault(problem))

    def _crash(self, error: Exception) -> None:
        """End a request that met a fault of ours."""
        self._pipeline.report(error)
        self._cancel()
        self._fallen_back = True
        self._fail(Problem(500, "this gateway failed", Outcome.GATEWAY, "internal_error"))

    def _cancel(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    # The end

    def _end_with(self, outcome: Outcome, said: Watch | Whole | None) -> None:
        """End with what an answer said until then, be it whole or not."""
        if said is None:
            self._end(outcome)
        else:
            self._end(outcome, tokens=said.tokens, served_by=said.served_by)

    def _end(
        self,
        outcome: Outcome,
        *,
        tokens: Mapping[str, int] = NO_TOKENS,
        served_by: str = "",
        wait: bool = False,
    ) -> None:
        """Record how it ended, once. `wait`: the upstream has not ended its body yet."""
        self._over = True
        ticket = self._ticket
        now = self._over_at = self._pipeline.monotonic()
        if self._lost:
            tokens = together(self._lost, tokens)
        if self._left_at:
            outcome = Outcome.GONE  # and counted as that when its caller left
            self._pipeline.reading_on -= 1
            if ticket.flight is not None:
                latency = (self._left_at - self._call.last_byte_at) * 1000
                self._pipeline.accumulator.told_later(ticket.flight, latency, tokens, served_by)
        else:
            self._count(outcome, now, tokens, served_by)
        if tokens or self._untold(outcome):
            ticket.spend(tokens)
        ticket.leave_key()
        if self._pipeline.access is not None:
            self._tell(self._pipeline.access, outcome, tokens)
        if not wait:
            self._pipeline.under_way.discard(self)

    def _tell(self, access: Access, outcome: Outcome, tokens: Mapping[str, int]) -> None:
        path = path_of(self._format.name, "{model}")
        self._ticket.tell(access, outcome, path, tokens=tokens, first_ms=self._first_ms)

    def _untold(self, outcome: Outcome) -> bool:
        """Say whether tokens were used of which nobody told: that is unknown, and not nothing."""
        destination = self._destination
        return (
            destination is not None
            and self._calls > 0
            and outcome in _USED
            and isinstance(destination.release.target, HostedTarget)
            and self._format is not ANTHROPIC_COUNTING
        )

    def _count(
        self,
        outcome: Outcome,
        now: float,
        tokens: Mapping[str, int] = NO_TOKENS,
        served_by: str = "",
    ) -> None:
        """Record how it ended, for its version and for the key."""
        self._resilience = None
        ticket = self._ticket
        ticket.record(outcome, now, self._status, self._first_ms, tokens, served_by)
        ticket.key_ended(outcome)

    def _age_ms(self) -> float:
        """Milliseconds since the last byte of the request."""
        return max(0.0, (self._pipeline.monotonic() - self._call.last_byte_at) * 1000)


_OUT_OF_PATIENCE: Final = Problem(
    504, "there is no answer yet, and your client waits no longer", Outcome.GONE, "caller_timeout"
)
_NO_CONTENT: Final = Problem(
    504, "the provider did not answer in time", Outcome.PROVIDER, "upstream_timeout"
)


def _wrong_path(destination: Destination) -> Problem:
    release = destination.release
    right = " or ".join(
        f"POST {path_of(format_, release.model)}" for format_ in destination.prepared.speakers
    )
    return Problem(
        400,
        f"{release.model} {release.version} is not called like this, but by {right}",
        Outcome.CALLER,
        "wrong_path",
    )
