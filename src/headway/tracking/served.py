"""Notices when a version is served by something else: its provider reports a new model or build.

Whoever pins `gpt-x` at a provider is not told when another build answers under that name. Answers
say so: each measurement counts the names that the provider gave. A name that a version was never
served by in the last day is an event in the history, once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

from headway.kernel.clock import DAY, MINUTE, Clock
from headway.outbox.event import Event
from headway.routing.route import Route
from headway.tracking.measurement import Measurement
from headway.tracking.ports import BeginServed, ServedWork

KIND: Final = "version.served_by_changed"
RECENT: Final = 3 * MINUTE
"""What counts as now; flushes may be late."""
LOOKS_BACK: Final = DAY
MOST_NAMES: Final = 64
"""Of one version: a provider that reports another name with each answer is told of no longer."""
_EVENTS: Final = 100
_NONE: Final[frozenset[str]] = frozenset()
_NOBODY: Final[frozenset[tuple[str, str]]] = frozenset()

Names: TypeAlias = Mapping[str, frozenset[str]]
"""What each version was served by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """New names of one version, and those that it was known by before."""

    version: str
    before: tuple[str, ...]
    new: tuple[str, ...]

    def words(self, model: str) -> str:
        return (
            f"{model} {self.version} is served by {', '.join(self.new)}; "
            f"before it was {', '.join(self.before)}"
        )


def changes(known: Names, now: Names) -> tuple[Change, ...]:
    """Return what is new, by version; a version that nothing is known of has no change."""
    found = []
    for version, reported in sorted(now.items()):
        before = known.get(version, _NONE)
        new = reported - before
        if before and new and len(before) < MOST_NAMES:
            found.append(
                Change(version=version, before=tuple(sorted(before)), new=tuple(sorted(new)))
            )
    return tuple(found)


def names(measurements: Iterable[Measurement]) -> Names:
    found: dict[str, frozenset[str]] = {}
    for one in measurements:
        if one.served_by:
            found[one.version] = found.get(one.version, _NONE) | frozenset(one.served_by)
    return found


@dataclass(slots=True)
class ServedBy:
    """What one control process knows; any number may look, the history says what was told."""

    begin: BeginServed
    clock: Clock
    _known: dict[str, Names] = field(default_factory=dict)
    """By route."""

    def look(self) -> int:
        """Look at every route once; return how many changes were told."""
        now = self.clock()
        known: dict[str, Names] = {}
        told = 0
        with self.begin() as work:
            for route in work.routes.all_current():
                new, known[route.name] = self._look_at(work, route, now)
                for change in new:
                    work.outbox.add(_event(route, change, now))
                told += len(new)
            if told:
                work.commit()
        self._known = known
        return told

    def _look_at(self, work: ServedWork, route: Route, now: int) -> tuple[list[Change], Names]:
        """Return what is to be told of a route, and all that is known of it then."""
        since = now - now % MINUTE - RECENT
        read = partial(work.measurements.read, model=route.model, environment=route.environment)
        known = self._known.get(route.name)
        if known is None:
            known = names(read(since=since - LOOKS_BACK, until=since))
        recent = names(read(since=since, until=now + 1))
        found = changes(known, recent)
        told = _NOBODY
        if found:  # who looks at the same moment has told it, or waits and then sees it told
            work.outbox.line_up()
            told = _told(work, route, since)
        new = [each for each in found if not {(each.version, name) for name in each.new} <= told]
        both = {
            version: known.get(version, _NONE) | recent.get(version, _NONE)
            for version in known.keys() | recent.keys()
        }
        return new, both


def _told(work: ServedWork, route: Route, since: int) -> frozenset[tuple[str, str]]:
    """Return what was told a moment ago, by whichever process, as (version, name)."""
    found: set[tuple[str, str]] = set()
    for event in work.outbox.latest(model=route.model, limit=_EVENTS):
        if event.kind == KIND and event.at >= since and event.environment == route.environment:
            detail: Any = event.detail
            found |= {(detail["version"], name) for name in detail["new"]}
    return frozenset(found)


def _event(route: Route, change: Change, now: int) -> Event:
    return Event(
        kind=KIND,
        subject=f"version:{route.model}@{change.version}",
        at=now,
        actor="headway",
        why=change.words(route.model),
        detail={
            "version": change.version,
            "before": list(change.before),
            "new": list(change.new),
        },
        model=route.model,
        environment=route.environment,
    )
