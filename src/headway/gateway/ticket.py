"""What goes with one request, whichever way it takes: whose it is, where it goes, its stamp.

    admit ── assign ── sent ────────── record, spend ─────────── key_ended, leave_key
    for its  a stamp,  from now on a   for its version and the   for its key
    key      a version failure is      version's provider
                       the version's

`fields` writes what an answer says of it, `tell` hands over what the log may say.
"""

from collections.abc import Mapping
from typing import Final

from headway.gateway import truth
from headway.gateway.accumulator import Flight
from headway.gateway.exchange import NO_TOKENS, Fields, NotAnswered
from headway.gateway.pipeline import CONTROL, Access, Pipeline, Way
from headway.gateway.resilience import Leave
from headway.gateway.spending import Admission
from headway.tracking.measurement import Outcome
from headway.tracking.stamp import SINGLE, flags_of
from headway.wire.call import Call
from headway.wire.framing import FieldLines

_NOTHING: Final = b""
_GIVE_UP: Final = b"x-should-retry: false\r\n"


class Ticket:
    """Of one request. Plain fields: one is made per request."""

    __slots__ = ("_admission", "_call", "_pipeline", "caller", "flight", "leave", "stamp", "way")

    def __init__(self, pipeline: Pipeline, call: Call) -> None:
        self._pipeline = pipeline
        self._call = call
        self._admission: Admission | None = None
        self.caller = CONTROL
        self.way: Way | None = None
        self.flight: Flight | None = None
        """What counts it for the version that it goes to, if it has come so far."""
        self.leave: Leave | None = None
        """With what its provider's breaker let it through, if one had a say."""
        self.stamp = ""

    # On its way

    def admit(self) -> None:
        """Count it for its key from here on. Raises `NotAnswered`."""
        if (limits := self.caller.limits) is not None:
            admission = self._admission = self._pipeline.spending.admit(self.caller, limits)
            if admission.problem is not None:
                raise NotAnswered(admission.problem)

    def assign(self, way: Way, at: int) -> Flight:
        """Stamp it, if it is not yet; return what counts it for the version that it goes to.

        `at`: milliseconds UTC.
        """
        pipeline = self._pipeline
        self.way = way
        assignment = way.assignment
        flags = flags_of(assignment, way.flags)
        unit = 0 if flags & SINGLE else pipeline.stamper.unit_hash(assignment.unit)
        if not self.stamp:
            self.stamp = pipeline.stamper.stamp(way.destination.prefix, at, unit, flags)
        return pipeline.accumulator.begin(assignment, unit=unit, flags=flags, at=at)

    def sent(self) -> None:
        """Take note that it went out."""
        if self.flight is not None:
            self._pipeline.accumulator.sent(self.flight)

    # At its end

    def record(
        self,
        outcome: Outcome,
        now: float,
        status: int,
        first_ms: float | None = None,
        tokens: Mapping[str, int] = NO_TOKENS,
        served_by: str = "",
    ) -> None:
        """Count how it ended for its version and the version's provider, or for none.

        `now`: monotonic seconds; `status`: the provider's, 0 if it gave none.
        """
        if (leave := self.leave) is not None:
            self.leave = None
            leave.ended(now, good=truth.fared_well(outcome, status))
        flight = self.flight
        if flight is None:
            self._pipeline.accumulator.unrouted(outcome)
            return
        came = self._call.last_byte_at or now
        self._pipeline.accumulator.record(
            flight,
            outcome,
            latency_ms=max(0.0, (now - came) * 1000),
            first_ms=first_ms,
            tokens=tokens,
            served_by=served_by,
        )

    def key_ended(self, outcome: Outcome) -> None:
        """Count how it ended for its key."""
        if self.caller is not CONTROL:
            self._pipeline.accumulator.key_ended(self.caller.id, outcome)

    def spend(self, tokens: Mapping[str, int]) -> None:
        """Count what it used, for its version and its key; no tokens: nobody knows its cost."""
        way = self.way
        if way is None:
            return
        release = way.destination.release
        cost = release.cost(tokens, self._pipeline.clock()) if tokens else None
        self._pipeline.accumulator.spent(
            "" if self.caller is CONTROL else self.caller.id,
            (release.model, way.served.route.environment, release.version),
            tokens,
            cost,
        )
        if self._admission is not None:
            self._admission.spent(tokens, cost)

    def leave_key(self) -> None:
        """Let the key have another request in its place."""
        if self._admission is not None:
            self._admission.ended()

    def tell(
        self,
        access: Access,
        outcome: Outcome,
        path: str,
        *,
        tokens: Mapping[str, int] = NO_TOKENS,
        first_ms: float | None = None,
    ) -> None:
        """Hand over what the log may say of it: nothing that its caller wrote."""
        call, way = self._call, self.way
        release = way.destination.release if way is not None else None
        came = call.last_byte_at or call.received_at
        access(
            {
                "request_id": self.stamp,
                "method": call.method,
                "path": path,
                "status": call.status,
                "outcome": outcome.value,
                "key": "" if self.caller is CONTROL else self.caller.id,
                "model": release.model if release is not None else "",
                "version": release.version if release is not None else "",
                "environment": way.served.route.environment if way is not None else "",
                "latency_ms": round((self._pipeline.monotonic() - came) * 1000, 1),
                "first_ms": None if first_ms is None else round(first_ms, 1),
                "input_tokens": tokens.get("input", 0),
                "output_tokens": tokens.get("output", 0),
            }
        )

    # For its caller

    def fields(self, lines: bytes, upstream: Fields, *, final: bool = False) -> FieldLines:
        """Return the head of an answer: `lines`, which version, which route, which request.

        `upstream`: the head of the provider's answer. `final`: another try would be no better.
        """
        pipeline, way, admission = self._pipeline, self.way, self._admission
        if not self.stamp:
            self.stamp = pipeline.stamp_of_no_route()
        stamp = self.stamp.encode("ascii")
        where = _NOTHING
        if way is not None:
            there = way.destination
            where = there.lines_with(way.pin) if way.pin else there.lines(pipeline.minute)
        return FieldLines(
            b"%b%b%b%bx-request-id: %b\r\nrequest-id: %b\r\n%b"
            % (
                lines,
                where,
                _NOTHING if admission is None else admission.lines,
                pipeline.downward(upstream, limited=admission is not None)
                if upstream
                else _NOTHING,
                stamp,
                stamp,
                _GIVE_UP if final else _NOTHING,
            )
        )
