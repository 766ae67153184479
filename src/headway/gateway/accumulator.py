"""What one gateway process saw since its last flush: sums for everybody, evidence for the judge.

    begin ──> Flight ── sent ── mark … mark ── record          on the loop's thread, no lock
                                                  │
                                                open ── freeze ──> Batch ── the store
                                                  ^                  │
                                                  └── merge_back ────┘ (it did not take it)

A request is evidence when it is old enough, not when its outcome arrives (see `headway.judge`):

- an error by age M counts at age M, one between M and L at age L; what has not ended by L is bad;
- `measured` likewise; a request whose caller left, or that failed by our own or the caller's
  fault, is neither good nor bad;
- an answer is slow when it passed the stable version's threshold, the candidate's divided by
  1 + margin. That is known of both arms at the age of the threshold times 1 + margin;
- of a sticky unit count: the first measured request (and whether it was bad), its first error, and
  how slow the first was of which that is known. The latter is said at once, when it ended or has
  passed the last threshold, and counts at that one age. This gateway sends what is new to it, and
  the store decides which was first;
- a request is slower than a `never` limit, or is not, at the age of the slowest of these limits,
  in both arms: so control can judge them too, on counts that belong together.
"""

import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from headway.gateway.backlog import Backlog
from headway.gateway.tally import add_up
from headway.kernel.clock import MINUTE
from headway.routing.assignment import Assignment, judged_arms
from headway.routing.route import Ages, Arm, Epoch, Guard, Role, Route
from headway.tracking.measurement import (
    ERRORS,
    NANO,
    UNPRICED,
    Batch,
    CostOf,
    Count,
    FirstEvent,
    KeyCount,
    Measurement,
    Outcome,
    Veto,
    WindowKey,
    due_at,
    mask_bit,
)
from headway.tracking.sketch import Sketch
from headway.tracking.stamp import NO_EVIDENCE, SINGLE

MOST_KNOWN: Final = 100_000
"""Units that are remembered per deployment, so that their events are not sent again."""
MOST_ROWS: Final = 200_000
"""Rows that may wait for a store that does not answer: a few hours of an ordinary gateway."""
MOST_SERVED_BY: Final = 32
"""Names that an upstream may give itself in one minute; the others are one."""
OTHERS: Final = "other"
_MOST_LANES: Final = 2_000
_MEASURED: Final = mask_bit("measured")
_ERRORS: Final = mask_bit("errors")
_LATENCY: Final = mask_bit("latency")
_LIMITS: Final = mask_bit("limits")
_ANSWERED: Final = frozenset({Outcome.OK, *ERRORS})
"""What the version is answerable for."""


class Passing(IntEnum):
    """What it means to be older than a line; of lines at one age the lower is passed first."""

    SLOW = 0
    """Slower than a threshold: evidence."""
    KNOWN = 1
    """How slow it is will not change any more: the last threshold lies behind."""
    LIMIT = 2
    """Slower than a limit of this gateway's own watch."""
    LIMITED = 3
    """Which limits it is slower than will not change any more: evidence."""
    END = 4
    """L itself."""


class Line(NamedTuple):
    """An age that a request may pass while it is under way, and what that means."""

    after: float
    """Milliseconds; passed when the request is older."""
    passing: Passing
    metric: str = ""
    """What is counted."""
    known: float = 0.0
    """Evidence: the age at which it counts."""


@dataclass(frozen=True, slots=True)
class GuardCount:
    """What this gateway sent to one arm under one set of shares since the last sweep.

    Of a sticky unit only the first request that this gateway met.
    """

    epoch: int
    arm: str
    sent: int
    bad: Mapping[str, Mapping[int, int]]
    """By limit (see `Guard.event`) and by the minute (ms / 60,000) in which it was sent."""


class _Sent:
    __slots__ = ("bad", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.bad: dict[str, dict[int, int]] = {}


class _Known:
    """Masks of the units that were met: two generations, so that forgetting costs nothing."""

    __slots__ = ("_new", "_old", "_size")

    def __init__(self, most: int) -> None:
        self._new: dict[int, int] = {}
        self._old: dict[int, int] = {}
        self._size = max(1, most // 2)

    def of(self, unit: int) -> int:
        found = self._new.get(unit)
        return self._old.get(unit, 0) if found is None else found

    def add(self, unit: int, mask: int) -> None:
        if len(self._new) >= self._size and unit not in self._new:
            self._old, self._new = self._new, {}
        self._new[unit] = mask

    def forget(self) -> None:
        self._new, self._old = {}, {}


class _Watched:
    """What this gateway keeps of one deployment."""

    __slots__ = ("guarded", "known", "sent")

    def __init__(self, most_known: int) -> None:
        self.known = _Known(most_known)
        self.guarded = _Known(most_known)
        self.sent: dict[tuple[int, str], _Sent] = {}


class Lane:
    """One arm of one route revision, compiled: where a request's figures go."""

    __slots__ = (
        "_end", "_open", "_start", "ages", "arm", "deployment", "environment", "epoch", "guarded",
        "known", "limited", "limits", "lines", "minute_sums", "model", "role", "version",
        "watched",
    )  # fmt: skip

    def __init__(self, route: Route, arm: Arm, watched: _Watched | None) -> None:
        self.model = route.model
        self.environment = route.environment
        self.version = arm.version
        self.arm = arm.key
        self.role = str(arm.role)
        self.epoch = route.id
        self.watched = watched
        """None: nothing of this arm is evidence."""
        self.deployment = ""
        self.ages = Ages(0, 0)
        self.lines: tuple[Line, ...] = ()
        self.known = 0.0
        """The age at which it is known how slow a request is, ms. 0: there are no thresholds."""
        self.limits: tuple[Line, ...] = ()
        """The limits on latency that control judges: those that can be passed before L."""
        self.limited = 0.0
        """The age at which it is known which of them a request is slower than, ms."""
        self.guarded = False
        if watched is not None and route.epoch is not None:
            self.deployment = route.epoch.deployment
            self.ages = route.epoch.ages["errors"]
            self.lines = lines_of(route.epoch, route.guards, arm.role)
            self.known = max((line.known for line in self.lines), default=0.0)
            self.limits = tuple(
                line
                for line in self.lines
                if line.passing is Passing.LIMIT and line.after < self.ages.l
            )
            self.limited = max((line.after for line in self.limits), default=0.0)
            self.guarded = bool(route.guards)
        self._open: _Open | None = None
        self._start = self._end = 0.0
        self.minute_sums: _Sums | None = None

    def sums(self, open_: "_Open", ended: float) -> "_Sums":
        """Return where to add what ended then; the same as the last time but once a minute."""
        if self._open is open_ and self._start <= ended < self._end and self.minute_sums:
            return self.minute_sums
        minute = int(ended // MINUTE) * MINUTE
        key = (self, minute)
        if (found := open_.sums.get(key)) is None:
            found = open_.sums[key] = _Sums()
        self._open, self._start, self._end = open_, minute, minute + MINUTE
        self.minute_sums = found
        return found


class Flight:
    """One request under way. Plain fields, because one is made per request."""

    __slots__ = ("at", "closed", "counts", "flags", "guarded", "lane", "passed", "unit")

    def __init__(self, lane: Lane, unit: int, flags: int, at: int) -> None:
        self.lane = lane
        self.unit = unit
        self.flags = flags
        self.at = at
        """When it was assigned, as in its stamp."""
        self.counts = lane.watched is not None and not flags & NO_EVIDENCE
        """Whether it is evidence."""
        self.guarded = False
        """Whether it stands in the n of this gateway's own limits."""
        self.passed = 0
        """How many of the lane's lines it has passed."""
        self.closed = False
        """It was counted as not ended by L."""


class _Sums:
    """Figures of one lane in one minute."""

    __slots__ = ("bad", "first", "latency", "outcomes", "served_by", "tokens")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        self.latency = Sketch()
        self.bad = Sketch()
        self.first = Sketch()
        self.tokens: dict[str, int] = {}
        self.served_by: dict[str, int] = {}


class _Open:
    """What came in since the last freeze. Written by the loop's thread alone."""

    __slots__ = (
        "busy", "costs", "counts", "firsts", "key_uses", "keys", "sums", "unrouted", "vetoes",
        "windows",
    )  # fmt: skip

    def __init__(self) -> None:
        self.busy = False
        self.sums: dict[tuple[Lane, int], _Sums] = {}
        self.counts: dict[tuple[Lane, str, int, int, bool], int] = {}
        self.firsts: dict[str, list[FirstEvent]] = {}
        self.vetoes: list[Veto] = []
        self.key_uses: dict[str, int] = {}
        self.unrouted: dict[str, int] = {}
        self.windows: dict[WindowKey, int] = {}
        self.keys: dict[str, _KeySums] = {}
        self.costs: dict[CostOf, int] = {}


class _KeySums:
    """What one key did."""

    __slots__ = ("costs", "outcomes", "tokens")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        self.tokens: dict[str, int] = {}
        self.costs: dict[str, int] = {}


class Accumulator:
    """Counts for one gateway process.

    `freeze` and `merge_back` belong to the flush's thread, everything else to the loop's.
    """

    def __init__(self, *, most_known: int = MOST_KNOWN, most_rows: int = MOST_ROWS) -> None:
        self._most_known = most_known
        self._most_rows = most_rows
        self._open = _Open()
        self._lanes: dict[tuple[int, int, str, str], Lane] = {}
        self._watched: dict[str, _Watched] = {}
        self.under_way: dict[str, int] = {}
        """Requests at this moment of keys with limits, by key; kept up by `Spending`."""
        self.spender = ""
        """Set when it starts: the first boot of this process; the store knows its use by it."""
        self._kept: Backlog | None = None
        """What the store could not take so far."""
        self._out: tuple[int, Backlog] | None = None
        """The number and the content of the last batch, until its outcome is known."""

    def lane(self, assignment: Assignment) -> Lane:
        """Return where requests with this assignment are counted."""
        arm = assignment.arm
        key = (assignment.route.id, assignment.arm_index, arm.key, arm.version)
        return self._lanes.get(key) or self._new_lane(key, assignment)

    def begin(self, assignment: Assignment, *, unit: int, flags: int, at: int) -> Flight:
        """Note that a request was assigned.

        `unit`, `flags`, `at`: what its stamp says (`stamp.flags_of`; milliseconds UTC).
        """
        return Flight(self.lane(assignment), unit, flags, at)

    def sent(self, flight: Flight) -> None:
        """Note that a request went out to its arm: from now on its failure is the arm's."""
        if not (flight.counts and flight.lane.guarded):
            return
        lane = flight.lane
        watched = lane.watched
        if watched is None or flight.guarded:
            return
        if not flight.flags & SINGLE:
            if watched.guarded.of(flight.unit):
                return
            watched.guarded.add(flight.unit, 1)
        flight.guarded = True
        _sent(watched, lane).sent += 1

    def mark(self, flight: Flight, age: float) -> None:
        """Note how old a request under way is, milliseconds. Called for each by the sweep.

        Without it a request that hangs would become slow only when it ends.
        """
        lines = flight.lane.lines
        if flight.counts and flight.passed < len(lines) and age > lines[flight.passed].after:
            open_ = self._enter()
            try:
                self._pass_lines(open_, flight, age)
            finally:
                open_.busy = False

    def record(
        self,
        flight: Flight,
        outcome: Outcome,
        *,
        latency_ms: float,
        first_ms: float | None = None,
        tokens: Mapping[str, int] | None = None,
        served_by: str = "",
    ) -> None:
        """Note how a request ended, once.

        `latency_ms`: from the last byte of the request to the last byte of the answer. `first_ms`:
        to the first content of a stream. `served_by`: what the upstream said it was.
        """
        lane = flight.lane
        open_ = self._enter()
        try:
            sums = lane.sums(open_, flight.at + latency_ms)
            outcomes = sums.outcomes
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            sums.latency.add(latency_ms)
            if outcome in ERRORS:
                sums.bad.add(latency_ms)
            if first_ms is not None:
                sums.first.add(first_ms)
            if tokens:
                add_up(sums.tokens, tokens)
            if served_by:
                _served(sums.served_by, served_by)
            if flight.counts:
                self._judge(open_, flight, outcome, latency_ms)
        finally:
            open_.busy = False

    def told_later(
        self, flight: Flight, latency_ms: float, tokens: Mapping[str, int], served_by: str
    ) -> None:
        """Note what was heard of a request's answer after its end was recorded."""
        open_ = self._enter()
        try:
            sums = flight.lane.sums(open_, flight.at + latency_ms)
            add_up(sums.tokens, tokens)
            if served_by:
                _served(sums.served_by, served_by)
        finally:
            open_.busy = False

    def veto(self, veto: Veto) -> None:
        """Hand a veto over with the next flush."""
        open_ = self._enter()
        open_.vetoes.append(veto)
        open_.busy = False

    def key_used(self, key_id: str, at: int) -> None:
        """Note that a key was used; kept to the minute."""
        open_ = self._enter()
        open_.key_uses[key_id] = at - at % MINUTE
        open_.busy = False

    def unrouted(self, outcome: Outcome) -> None:
        """Note a request that ended before it was known which version it is for."""
        open_ = self._enter()
        open_.unrouted[outcome.value] = open_.unrouted.get(outcome.value, 0) + 1
        open_.busy = False

    def key_spent(self, spent: Iterable[tuple[WindowKey, int]]) -> None:
        """Note what a key with limits used."""
        open_ = self._enter()
        windows = open_.windows
        for place, n in spent:
            windows[place] = windows.get(place, 0) + n
        open_.busy = False

    def key_ended(self, key_id: str, outcome: Outcome) -> None:
        """Note how a request of a key ended."""
        open_ = self._enter()
        sums = open_.keys.get(key_id)
        if sums is None:
            sums = open_.keys[key_id] = _KeySums()
        sums.outcomes[outcome] = sums.outcomes.get(outcome, 0) + 1
        open_.busy = False

    def spent(
        self,
        key_id: str,
        version_of: tuple[str, str, str],
        tokens: Mapping[str, int],
        cost: int | None,
    ) -> None:
        """Note what was used of a version.

        `version_of`: its model, the environment, its number. `key_id`: who used it, "" for
        ourselves. `cost`: nano-dollars; None: nobody knows.
        """
        kind, n = (UNPRICED, 1) if cost is None else (NANO, cost)
        open_ = self._enter()
        costs = open_.costs
        place = (*version_of, kind)
        costs[place] = costs.get(place, 0) + n
        if key_id:
            sums = open_.keys.get(key_id)
            if sums is None:
                sums = open_.keys[key_id] = _KeySums()
            sums.costs[kind] = sums.costs.get(kind, 0) + n
            add_up(sums.tokens, tokens)
        open_.busy = False

    def guard_counts(self, deployment: str) -> tuple[GuardCount, ...]:
        """Return what happened since the last call, one per epoch and arm, and start anew."""
        watched = self._watched.get(deployment)
        if watched is None or not watched.sent:
            return ()
        sent, watched.sent = watched.sent, {}
        return tuple(
            GuardCount(epoch, arm, counts.sent, counts.bad)
            for (epoch, arm), counts in sorted(sent.items())
        )

    def retain(self, deployments: AbstractSet[str]) -> None:
        """Forget what is kept of other deployments; for when the routes have changed.

        Their requests under way are still counted. What they forget is with the store.
        """
        for deployment in self._watched.keys() - deployments:
            del self._watched[deployment]
        self._lanes.clear()

    def freeze(self, boot: str, seq: int, applied_generation: int) -> Batch:
        """Take everything that waits, as a batch that does not change any more.

        What a batch before held and was not merged back counts as delivered.
        """
        taken, self._open = self._open, _Open()
        while taken.busy:  # a record is being added there: a microsecond or two
            time.sleep(0)
        pending, self._kept = self._kept or Backlog(), None
        pending.add(
            measurements=_measurements(taken),
            counts=_counts(taken),
            firsts=taken.firsts,
            vetoes=taken.vetoes,
            key_uses=taken.key_uses,
            unrouted=taken.unrouted,
            windows=taken.windows,
            key_counts=_key_counts(taken),
            costs=taken.costs,
        )
        self._out = (seq, pending)
        return pending.batch(
            boot,
            seq,
            applied_generation,
            spender=self.spender,
            under_way=self.under_way.copy(),
        )

    def merge_back(self, batch: Batch) -> None:
        """Take back a batch that the store is known not to have taken; it goes with the next.

        Beyond a bound the oldest is dropped; `Batch.dropped` says how much.
        """
        if self._out and self._out[0] == batch.seq:
            pending = self._out[1]
        else:
            pending = Backlog()
            pending.add(
                measurements=batch.measurements,
                counts=batch.counts,
                firsts=batch.firsts,
                vetoes=batch.vetoes,
                key_uses=batch.key_uses,
                unrouted=batch.unrouted,
                windows=batch.windows,
                key_counts=batch.key_counts,
                costs=batch.costs,
                dropped=batch.dropped,
            )
        self._kept, self._out = pending, None
        if pending.trim(self._most_rows):
            # What was dropped may be sent again: units are no longer known to be with the store.
            for watched in tuple(self._watched.values()):
                watched.known.forget()

    def _enter(self) -> _Open:
        """Return where to add, marked as busy until the caller is done.

        `freeze` takes it away from another thread and then waits while it is busy; so look again
        after marking. One writer, so no lock.
        """
        open_ = self._open
        open_.busy = True
        while open_ is not self._open:
            open_.busy = False
            open_ = self._open
            open_.busy = True
        return open_

    def _new_lane(self, key: tuple[int, int, str, str], assignment: Assignment) -> Lane:
        route = assignment.route
        if len(self._lanes) >= _MOST_LANES:
            self._lanes.clear()  # requests under way keep theirs
        watched = None
        if route.epoch is not None and assignment.arm_index in judged_arms(route):
            watched = self._watch(route.epoch.deployment)
        lane = self._lanes[key] = Lane(route, assignment.arm, watched)
        return lane

    def _watch(self, deployment: str) -> _Watched:
        if (found := self._watched.get(deployment)) is None:
            found = self._watched[deployment] = _Watched(self._most_known)
        return found

    def _judge(self, open_: _Open, flight: Flight, outcome: Outcome, latency: float) -> None:
        lane = flight.lane
        if outcome not in _ANSWERED and outcome is not Outcome.GONE:
            return
        self._pass_lines(open_, flight, latency)
        if outcome is Outcome.GONE:
            if any(line.passing is Passing.SLOW for line in lane.lines[: flight.passed]):
                self._slowness(open_, flight)
            return
        self._slowness(open_, flight)
        if lane.limits and latency <= lane.limited:
            self._limits(open_, flight)
        bad = outcome in ERRORS
        if bad:
            self.sent(flight)  # a version that cannot even be called has failed all the same
            if flight.guarded:
                _bad(lane, flight, "errors")
        if flight.closed:
            return
        ages = lane.ages
        late = latency > ages.m
        due = due_at(flight.at, ages.l if late else ages.m)
        self._ended(open_, flight, due, bad=bad, late=late)

    def _pass_lines(self, open_: _Open, flight: Flight, age: float) -> None:
        """Count every line that the request has passed by this age."""
        lane = flight.lane
        lines = lane.lines
        single = flight.flags & SINGLE
        while flight.passed < len(lines) and age > lines[flight.passed].after:
            line = lines[flight.passed]
            flight.passed += 1
            match line.passing:
                case Passing.SLOW:
                    if single:
                        due = due_at(flight.at, line.known)
                        _count(open_, (lane, line.metric, 1, due, False))
                case Passing.KNOWN:
                    self._slowness(open_, flight)
                case Passing.LIMIT:
                    if flight.guarded:
                        _bad(lane, flight, line.metric)
                case Passing.LIMITED:
                    self._limits(open_, flight)
                case Passing.END:
                    self._never_ended(open_, flight)

    def _slowness(self, open_: _Open, flight: Flight) -> None:
        """Say how slow a sticky unit's request was, if the unit had none of which that is known.

        All lines together, and also if it passed none: else a second request, met by another
        gateway, would add the lines that the first did not pass.
        """
        lane = flight.lane
        if flight.flags & SINGLE or lane.watched is None or not lane.known:
            return
        known = lane.watched.known
        mask = known.of(flight.unit)
        if mask & _LATENCY:
            return
        known.add(flight.unit, mask | _LATENCY)
        due = due_at(flight.at, lane.known)
        slow = [
            (line.metric, 1)
            for line in lane.lines[: flight.passed]
            if line.passing is Passing.SLOW
        ]
        _first(open_, flight, _LATENCY, slow, due, late=False)

    def _limits(self, open_: _Open, flight: Flight) -> None:
        """Say which limits a request is slower than, if it is the first of its unit."""
        lane = flight.lane
        due = due_at(flight.at, lane.limited)
        passed = lane.lines[: flight.passed]
        known = [(line.metric, 0) for line in lane.limits]
        known += [(line.metric, 1) for line in lane.limits if line in passed]
        if flight.flags & SINGLE:
            for metric, bin_ in known:
                _count(open_, (lane, metric, bin_, due, False))
            return
        if lane.watched is None:
            return
        mask = lane.watched.known.of(flight.unit)
        if not mask & _LIMITS:
            lane.watched.known.add(flight.unit, mask | _LIMITS)
            _first(open_, flight, _LIMITS, known, due, late=False)

    def _never_ended(self, open_: _Open, flight: Flight) -> None:
        """Count a request that has not ended by L: bad in both arms, however it ends later."""
        flight.closed = True
        due = due_at(flight.at, flight.lane.ages.l)
        self._ended(open_, flight, due, bad=True, late=True)

    def _ended(self, open_: _Open, flight: Flight, due: int, *, bad: bool, late: bool) -> None:
        lane = flight.lane
        if flight.flags & SINGLE:
            _count(open_, (lane, "measured", 0, due, late))
            if bad:
                _count(open_, (lane, "errors", 1, due, late))
                _count(open_, (lane, "errors.first", 1, due, late))
            return
        if lane.watched is None:
            return
        known = lane.watched.known
        mask = known.of(flight.unit)
        if not mask & _MEASURED:
            counts = [("measured", 0), ("errors.first", 1)] if bad else [("measured", 0)]
            _first(open_, flight, _MEASURED, counts, due, late=late)
            mask |= _MEASURED
        if bad and not mask & _ERRORS:
            _first(open_, flight, _ERRORS, [("errors", 1)], due, late=late)
            mask |= _ERRORS
        known.add(flight.unit, mask)


def lines_of(epoch: Epoch, guards: Iterable[Guard], role: Role) -> tuple[Line, ...]:
    """Return the ages that mean something for requests on an arm of that role, rising.

    `Epoch.thresholds_ms` are by quantile, `p95`. Each is known before L: whoever fixes them leaves
    out the others, so that a line that nobody can pass in time is never taken for one not passed.
    """
    margin = 1 + epoch.margin.get("latency", 0.0)
    lines = {Line(epoch.ages["errors"].l, Passing.END)}
    for quantile, threshold in epoch.thresholds_ms.items():
        known = threshold * margin
        after = known if role is Role.CANDIDATE else threshold
        lines.add(Line(after, Passing.SLOW, f"latency.{quantile}", known))
    if last := max((line.known for line in lines), default=0.0):
        lines.add(Line(last, Passing.KNOWN))
    limits = {
        Line(guard.slower_than_ms, Passing.LIMIT, guard.event)
        for guard in guards
        if guard.slower_than_ms is not None
    }
    lines |= limits
    judged = [line.after for line in limits if line.after < epoch.ages["errors"].l]
    if judged:
        lines.add(Line(max(judged), Passing.LIMITED))
    return tuple(sorted(lines))


def _count(open_: _Open, key: tuple[Lane, str, int, int, bool]) -> None:
    open_.counts[key] = open_.counts.get(key, 0) + 1


def _first(
    open_: _Open,
    flight: Flight,
    bit: int,
    counted: Iterable[tuple[str, int]],
    due: int,
    *,
    late: bool,
) -> None:
    """Send an event of a unit, with the (metric, bin) that count if it is the first."""
    lane = flight.lane
    counts = tuple(
        Count(lane.epoch, lane.role, metric, bin_, due, late, 1) for metric, bin_ in counted
    )
    event = FirstEvent(flight.unit, bit, due, counts)
    open_.firsts.setdefault(lane.deployment, []).append(event)


def _sent(watched: _Watched, lane: Lane) -> _Sent:
    key = (lane.epoch, lane.role)
    if (found := watched.sent.get(key)) is None:
        found = watched.sent[key] = _Sent()
    return found


def _bad(lane: Lane, flight: Flight, limit: str) -> None:
    if lane.watched is not None:
        by_minute = _sent(lane.watched, lane).bad.setdefault(limit, {})
        minute = flight.at // MINUTE
        by_minute[minute] = by_minute.get(minute, 0) + 1


def _served(names: dict[str, int], name: str) -> None:
    if name not in names and len(names) >= MOST_SERVED_BY:
        name = OTHERS
    names[name] = names.get(name, 0) + 1


def _measurements(taken: _Open) -> list[Measurement]:
    return [
        Measurement(
            model=lane.model,
            environment=lane.environment,
            version=lane.version,
            arm=lane.arm,
            minute=minute,
            outcomes={str(outcome): n for outcome, n in sums.outcomes.items()},
            latency=sums.latency,
            bad=sums.bad,
            first=sums.first,
            tokens=sums.tokens,
            served_by=sums.served_by,
        )
        for (lane, minute), sums in taken.sums.items()
    ]


def _key_counts(taken: _Open) -> dict[KeyCount, int]:
    return {
        (key_id, kind, str(name)): n
        for key_id, sums in taken.keys.items()
        for kind, of_kind in (
            ("outcome", sums.outcomes),
            ("token", sums.tokens),
            ("cost", sums.costs),
        )
        for name, n in of_kind.items()
    }


def _counts(taken: _Open) -> dict[str, list[Count]]:
    counts: dict[str, list[Count]] = {}
    for (lane, metric, bin_, due, late), n in taken.counts.items():
        count = Count(lane.epoch, lane.role, metric, bin_, due, late, n)
        counts.setdefault(lane.deployment, []).append(count)
    return counts
