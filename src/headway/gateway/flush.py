"""The one thread that speaks to the scribe: it reads the routes and hands over what was seen.

    every 200 ms   has the generation changed? then read, compile, keep in the file, deliver
    every second   freeze a batch and hand it over; also the sign of life, and the acknowledgement;
                   then hear what the other gateways used of the limits of keys

No request ever waits for it. A batch that is known not to have been taken is merged into the next;
one whose outcome is unknown goes again as it is, with the same number, until the store has said
what became of it.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from headway.auth.limits import Starts
from headway.gateway.accumulator import Accumulator
from headway.gateway.store import Scribe
from headway.gateway.view import Compiler, View, ViewFile
from headway.kernel.clock import SECOND, Clock
from headway.kernel.errors import NotFound, OutcomeUnknown
from headway.tracking.measurement import Batch, Others

POLL_SECONDS: Final = 0.2
FLUSH_SECONDS: Final = 1.0
_SOON: Final = 0.05
PATIENCE: Final = 5 * SECOND
"""How long the database may be away before the log says so, ms."""
LIVING: Final = 5 * SECOND
"""A gateway that was not seen for so long answers nobody."""
AWAY: Final = 1_000
"""What a gateway adds to the last number it knows, when it starts without the database."""

FRESH: Final = 5 * SECOND
"""How old the last good read and the last good flush may be for the database to be called well."""

Log = Callable[[str, Mapping[str, Any]], None]
"""Takes what happened and its circumstances, for the log."""


@dataclass(slots=True)
class _Side:
    """How it went with one of the two things that a database must do: be read, and be written."""

    last_good: int = 0
    failing_since: int | None = None

    def age(self, now: int) -> int | None:
        """Return how long ago it went well; None: never."""
        return now - self.last_good if self.last_good else None


@dataclass(kw_only=True)
class Reporter:
    """What the thread does, as a plain object: `step` is one look at what is due.

    `deliver` hands a view over to the loop's thread; `applied` says which generation is answered
    by there, and that is what is acknowledged.
    """

    scribe: Scribe
    accumulator: Accumulator
    compiler: Compiler
    deliver: Callable[[View], None]
    applied: Callable[[], int]
    hear: Callable[[Others], None]
    """Takes what the other gateways used, on the loop's thread."""
    boot: str
    """The id of this start."""
    host: str
    pid: int
    clock: Clock
    log: Log
    file: ViewFile | None = None
    starts: int = 0
    """Tells this gateway from its sisters, when all of them start without the database."""
    new_boot: Callable[[], str] | None = None
    """Makes the id of another start, for when the store has forgotten this one."""
    number: int = 0
    """This gateway's own, rising with each start of any; 0 before it is known."""
    _registered: bool = False
    _seq: int = 0
    _generation: int = -1
    """Of the last view that was delivered."""
    _limited: bool = False
    """A key of that view has limits."""
    _unknown: Batch | None = field(default=None, repr=False)
    """A batch whose outcome is not known."""
    _next_poll: float = 0.0
    _next_flush: float = 0.0
    _acknowledged: int = -1
    _reads: _Side = field(default_factory=_Side)
    _writes: _Side = field(default_factory=_Side)
    _told: bool = False

    def start(self) -> None:
        """Read the first view: from the database, else from the file. Called before serving.

        Sets `number`, which the limits of the first view need.
        """
        self.accumulator.spender = self.boot
        kept = self.file.load() if self.file is not None else None
        known = kept[1] if kept is not None else 0
        if self._attempt("register", lambda: self._register(at_least=known), self._writes):
            self._attempt("read the routes", self._poll)
            self._attempt("hear the others", self._listen)
        if not self._registered:
            self.number = known + AWAY + self.starts
            if kept is not None:
                # So that the next start while the database is gone takes a higher one.
                self._keep(kept[0])
        if self._generation < 0 and kept is not None:
            try:
                view = self.compiler.compile(kept[0])
            except (KeyError, TypeError, ValueError) as error:
                self.log("the kept routes cannot be read", {"error": repr(error)})
            else:
                # Its generation is delivered, but whatever the store says is newer to us.
                self._hand_over(view)

    def step(self, now: float) -> None:
        """Do what is due; `now` in monotonic seconds. Never raises for what the store does."""
        if now >= self._next_poll:
            self._next_poll = now + POLL_SECONDS
            self._attempt("read the routes", self._poll)
        # A change of the routes is acknowledged at once, unless nobody is there to hear it.
        changed = self.applied() != self._acknowledged and self._well()
        if now >= self._next_flush or changed:
            self._next_flush = now + FLUSH_SECONDS
            self.flush()
            if self._well():
                self._attempt("hear the others", self._listen)

    def run(self, stop: threading.Event, monotonic: Callable[[], float]) -> None:
        """Step until `stop` is set, then flush a last time and sign off."""
        while not stop.is_set():
            self.step(monotonic())
            stop.wait(self._rest(monotonic()))
        self.flush()
        if self._registered:
            self._attempt("sign off", self._sign_off, self._writes)

    def _rest(self, now: float) -> float:
        """Return how long nothing is due; each waking costs the requests a warm cache."""
        if self._generation != self._acknowledged and self._well():
            return _SOON  # the loop is about to answer by what it was given
        return max(0.0, min(self._next_poll, self._next_flush) - now)

    def state(self) -> dict[str, Any]:
        """Return what `/readyz` says of the database."""
        now = self.clock()
        read, flush = self._reads.age(now), self._writes.age(now)
        ages = [age for age in (read, flush) if age is not None]
        # By their age: a thread that waits for an answer knows of no failure yet.
        fresh = len(ages) == 2 and max(ages) < FRESH
        return {
            "ok": self._registered and self._well() and fresh,
            "last_answer_ms_ago": min(ages, default=None),
            "last_read_ms_ago": read,
            "last_flush_ms_ago": flush,
        }

    def _well(self) -> bool:
        return self._reads.failing_since is None and self._writes.failing_since is None

    def _attempt(self, what: str, work: Callable[[], None], side: _Side | None = None) -> bool:
        side = side or self._reads
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a store may fail in any way; traffic goes on
            self._failed(what, error, side)
            return False
        self._worked(side)
        return True

    def _failed(self, what: str, error: Exception, side: _Side) -> None:
        now = self.clock()
        if side.failing_since is None:
            side.failing_since = now
        # A first start waits for the schema, a fail-over takes a moment: no word of either.
        if not self._told and now - side.failing_since >= PATIENCE:
            self._told = True
            self.log("the database does not answer", {"what": what, "error": type(error).__name__})

    def _worked(self, side: _Side) -> None:
        side.failing_since = None
        side.last_good = self.clock()
        if self._told and self._well():
            self._told = False
            self.log("the database answers again", {})

    def _register(self, *, at_least: int) -> None:
        try:
            row = self.scribe.enter(
                boot=self.boot, host=self.host, pid=self.pid, at_least=at_least
            )
        except OutcomeUnknown:
            # A start can be entered once: if it was, it is not seen again and counts as gone.
            self._forgotten()
            raise
        self._registered = True
        self._seq = row.seq
        self.number = row.number
        # What is answered by was made for the number before, if there is anything yet.
        self._generation = -1

    def _poll(self) -> None:
        document = self.scribe.document(known=self._generation)
        if document is None:
            return
        view = self.compiler.compile(document)
        for problem in view.problems:
            self.log("a part of the routes cannot be used", {"problem": problem})
        self._hand_over(view)
        self._generation = view.generation
        self._keep(document)

    def _hand_over(self, view: View) -> None:
        self._limited = any(entry.caller.limits is not None for entry in view.keys.values())
        self.deliver(view)

    def _listen(self) -> None:
        """Hear what the others used. Without the database what was heard last goes on counting."""
        if not self._limited:
            return
        starts = Starts.at(self.clock())
        self.hear(self.scribe.others(self.accumulator.spender, starts))

    def _keep(self, document: Mapping[str, Any]) -> None:
        if self.file is None:
            return
        kept = self.file.load()
        try:
            # Gateways of one machine share the file; the highest number must survive.
            self.file.save(document, number=max(self.number, kept[1] if kept else 0))
        except OSError as error:
            self.log("the routes cannot be kept in a file", {"error": repr(error)})

    def flush(self) -> None:
        """Hand over what was seen since the last time."""
        if not self._registered and not self._attempt(
            "register", lambda: self._register(at_least=self.number), self._writes
        ):
            return
        applied = self.applied()
        batch = self._unknown
        again = batch is not None
        if batch is None:
            batch = self.accumulator.freeze(self.boot, self._seq + 1, applied)
        try:
            taken = self.scribe.flush(batch)
        except NotFound:
            # The store has forgotten us (a backup was put back): enter anew, as another start.
            self.accumulator.merge_back(batch)
            self._forgotten()
            return
        except Exception as error:  # noqa: BLE001 - see `_attempt`
            self._failed("flush", error, self._writes)
            if again or isinstance(error, OutcomeUnknown):
                self._unknown = batch
            else:
                self.accumulator.merge_back(batch)
            return
        self._worked(self._writes)
        self._unknown = None
        if taken or again:
            # A repeat that was not taken was taken the first time.
            self._seq = batch.seq
            self._acknowledged = batch.applied_generation
            return
        # Nobody took it before, and yet its number is not the next: it is not our row any more.
        self.accumulator.merge_back(batch)
        self._forgotten()

    def _forgotten(self) -> None:
        self._registered = False
        self._unknown = None
        if self.new_boot is not None:
            self.boot = self.new_boot()

    def _sign_off(self) -> None:
        self.scribe.leave(self.boot)
