"""What somebody says later of an answer: taken once per request and name, and never from a forger.

The request id says where the request went, so no row per request is needed: a score lands in the
epoch that assigned its request, whenever it comes. It is evidence when its request is old enough
(see `headway.judge`), at the same age in both arms: M of that score if it came by then, else L.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from typing import Final

from headway.auth.policy import Caller
from headway.kernel.clock import DAY, MINUTE
from headway.kernel.errors import HeadwayError, Invalid, NotFound
from headway.kernel.names import check_name, check_text
from headway.kernel.quantity import format_duration
from headway.kernel.repeats import repeated
from headway.routing.assignment import flat_arms, judged_arms
from headway.routing.route import Ages, Epoch, Route
from headway.tracking.measurement import Count, FirstEvent, Score, due_at, mask_bit
from headway.tracking.ports import Begin, Work
from headway.tracking.stamp import Stamp, Stamper

MOST_ITEMS: Final = 1_000
MOST_SCORES: Final = 16
"""Names in one item."""
WINDOW: Final = 7 * DAY
"""How long after its request a score is taken."""
_TRIES: Final = 5
_CLOCKS_DIFFER: Final = MINUTE
"""A gateway's clock may be ahead of ours by so much."""


@dataclass(frozen=True, slots=True)
class Item:
    """What one call says of one answer. Scores are named numbers, 0 (worst) to 1 (best)."""

    request_id: str
    scores: Mapping[str, float]
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one item: `accepted` if at least one of its scores was stored."""

    request_id: str
    accepted: bool
    scores: tuple[str, ...] = ()
    """The names that were stored."""
    why_not: str = ""
    """Why not all of them were; empty if they were."""


@dataclass(frozen=True, slots=True)
class _Read:
    """An item that may be stored, and where its request went."""

    item: Item
    stamp: Stamp
    route: Route
    scores: tuple[Score, ...]


@dataclass(slots=True)
class _Gathered:
    """Evidence of one deployment while a call is read."""

    counts: dict[Count, int] = field(default_factory=dict)
    firsts: list[FirstEvent] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FeedbackService:
    begin: Begin
    stamper: Stamper
    window: int = WINDOW
    """Milliseconds."""

    def take(self, items: Sequence[Item], *, caller: Caller, now: int) -> Sequence[Taken]:
        """Store what may be stored, in one transaction; say of each item what became of it.

        Raises `Invalid` for more than 1,000 items; one wrong item does not spoil the others.
        """
        if len(items) > MOST_ITEMS:
            raise Invalid.at("/items", f"{len(items):,} items; at most {MOST_ITEMS:,} are taken")
        # Somebody may score, or count, at the same moment.
        return repeated(partial(self._take, items, caller, now), tries=_TRIES)

    def _take(self, items: Sequence[Item], caller: Caller, now: int) -> Sequence[Taken]:
        with self.begin() as work:
            reader = _Reader(work, self.stamper, caller, now, self.window)
            read = [reader.read(item) for item in items]
            fresh = _store(work, [one for one in read if isinstance(one, _Read)])
            evidence: dict[str, _Gathered] = {}
            answers = [
                one if isinstance(one, Taken) else _settle(one, fresh, evidence) for one in read
            ]
            for deployment, gathered in sorted(evidence.items()):
                counts = [replace(count, n=n) for count, n in gathered.counts.items()]
                work.evidence.add(deployment, counts, gathered.firsts)
            work.commit()
        return answers


class _Reader:
    """Reads the items of one call; looks each route revision up once."""

    def __init__(
        self, work: Work, stamper: Stamper, caller: Caller, now: int, window: int
    ) -> None:
        self._work = work
        self._stamper = stamper
        self._caller = caller
        self._now = now
        self._window = window
        self._routes: dict[int, Route | None] = {}

    def read(self, item: Item) -> _Read | Taken:
        try:
            stamp = self._stamp(item.request_id)
            route = self._route(stamp)
            scores = self._scores(item, stamp, route)
        except HeadwayError as error:
            return Taken(item.request_id, accepted=False, why_not=_words(error))
        return _Read(item, stamp, route, scores)

    def _stamp(self, request_id: str) -> Stamp:
        stamp = self._stamper.read(request_id)
        if stamp is None:
            raise NotFound(
                "no request of this installation has that id: send the x-request-id of its answer"
            )
        age = self._now - stamp.at
        if age > self._window:
            raise Invalid.at(
                "/request_id",
                f"the request is older than {format_duration(self._window)}: scores come too late",
            )
        if age < -_CLOCKS_DIFFER:
            raise Invalid.at("/request_id", "the request lies in the future: check the clocks")
        return stamp

    def _route(self, stamp: Stamp) -> Route:
        if stamp.revision_id not in self._routes:
            self._routes[stamp.revision_id] = self._find(stamp.revision_id)
        route = self._routes[stamp.revision_id]
        if route is None or not self._sees(route):
            # The same words for both: what lies outside a key is not there for it.
            raise NotFound("no route that this key may see has answered that request")
        return route

    def _find(self, revision_id: int) -> Route | None:
        try:
            return self._work.routes.by_id(revision_id)
        except NotFound:
            return None

    def _sees(self, route: Route) -> bool:
        caller = self._caller
        return caller.sees_model(route.model) and caller.sees_environment(route.environment)

    def _scores(self, item: Item, stamp: Stamp, route: Route) -> tuple[Score, ...]:
        arms = flat_arms(route)
        if stamp.arm >= len(arms):
            raise NotFound(
                "the request was pinned to a version that its route does not hold: "
                "scores are kept for versions on a route"
            )
        if not 1 <= len(item.scores) <= MOST_SCORES:
            raise Invalid.at("/scores", f"1 to {MOST_SCORES} named numbers: {{'correct': 1}}")
        check_text(item.comment, pointer="/comment")
        return tuple(
            Score(
                request_id=item.request_id,
                name=_name(name),
                value=_value(name, value),
                at=self._now,
                age=max(0, self._now - stamp.at),
                model=route.model,
                environment=route.environment,
                version=arms[stamp.arm].version,
                comment=item.comment,
            )
            for name, value in item.scores.items()
        )


def _name(name: str) -> str:
    return check_name(name, what="score", pointer="/scores")


def _value(name: str, value: float) -> float:
    if isinstance(value, bool) or not isfinite(value) or not 0 <= value <= 1:
        raise Invalid.at(f"/scores/{name}", f"{value!r} is no number from 0 (worst) to 1 (best)")
    return float(value)


def _store(work: Work, read: Sequence[_Read]) -> set[tuple[str, str]]:
    """Store the scores; return which (request id, name) were new. The first of two wins."""
    scores: dict[tuple[str, str], Score] = {}
    for one in read:
        for score in one.scores:
            scores.setdefault((score.request_id, score.name), score)
    if not scores:
        return set()
    firsts = work.scores.add(tuple(scores.values()))
    return {key for key, first in zip(scores, firsts, strict=True) if first}


def _settle(read: _Read, fresh: set[tuple[str, str]], evidence: dict[str, _Gathered]) -> Taken:
    """Say what became of an item, and gather what its new scores are evidence of.

    Takes what it settles out of `fresh`: the same score further down is a repetition.
    """
    stored: list[Score] = []
    repeated: list[Score] = []
    for score in read.scores:
        key = (score.request_id, score.name)
        (stored if key in fresh else repeated).append(score)
        fresh.discard(key)
    _gather(read, stored, evidence)
    words = ", ".join(score.name for score in repeated)
    return Taken(
        read.item.request_id,
        accepted=bool(stored),
        scores=tuple(score.name for score in stored),
        why_not=f"scored before: {words}" if words else "",
    )


def _gather(read: _Read, scores: Sequence[Score], evidence: dict[str, _Gathered]) -> None:
    stamp, epoch = read.stamp, read.route.epoch
    arm = judged_arms(read.route).get(stamp.arm)
    if epoch is None or arm is None or not stamp.is_evidence:
        return
    for score in scores:
        count = count_of(score, stamp, epoch, route_id=read.route.id, arm=arm.role)
        if count is None:
            continue
        gathered = evidence.setdefault(epoch.deployment, _Gathered())
        if stamp.single:
            gathered.counts[count] = gathered.counts.get(count, 0) + 1
        else:
            bit = mask_bit(count.metric)
            gathered.firsts.append(FirstEvent(stamp.unit, bit, count.due, (count,)))


def count_of(score: Score, stamp: Stamp, epoch: Epoch, *, route_id: int, arm: str) -> Count | None:
    """Return what a score adds to the evidence; None: it came too late to count, or never does.

    Its badness is 1 - score, in hundredths.
    """
    metric = f"score.{score.name}"
    ages: Ages | None = epoch.ages.get(metric) or epoch.ages.get("score.*")
    if ages is None or score.age > ages.l:
        return None
    late = score.age > ages.m
    due = due_at(stamp.at, ages.l if late else ages.m)
    return Count(route_id, str(arm), metric, round((1 - score.value) * 100), due, late, 1)


def _words(error: HeadwayError) -> str:
    if isinstance(error, Invalid):
        return "; ".join(fault.detail for fault in error.faults)
    return str(error)
