"""The work on dictionaries: the same promises as the database's, kept without one.

Rows are immutable: a change is another row under the same key. A work sees what is committed and
what it wrote itself; at commit every row that it wrote must still be the one that it found, else
`Conflict`, and nothing of it is stored.
"""

import base64
import binascii
import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from threading import Lock
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

from headway.artifacts.artifact import Artifact
from headway.auth.key import Key
from headway.auth.limits import LONGEST, SHORT, Starts, Use, Window
from headway.auth.policy import ANY
from headway.auth.role import Role
from headway.auth.session import Session
from headway.deployments.deployment import ACTIVE, FINISHED, Deployment
from headway.deployments.intent import Intent
from headway.deployments.plan import GoingBack
from headway.deployments.rollback import Rollback
from headway.kernel.canonical import Json
from headway.kernel.clock import Clock
from headway.kernel.errors import Conflict, Invalid, NotFound
from headway.outbox.answer import KEPT, Answer, Scope
from headway.outbox.event import Event
from headway.outbox.message import Message
from headway.registry.model import Alias, AliasChange, Model, Version
from headway.registry.model import State as VersionState
from headway.registry.ports import ModelQuery, Page, VersionQuery
from headway.registry.requirement import Requirement
from headway.registry.target import LocalTarget
from headway.registry.version import SemVer
from headway.routing.route import LONGEST_PIN, Route
from headway.snapshots.snapshot import Snapshot
from headway.tracking.measurement import (
    MOST_UNITS,
    Batch,
    CostOf,
    Count,
    FirstEvent,
    GatewayRow,
    KeyCount,
    Measurement,
    Others,
    Score,
    ScoreMean,
    Veto,
    WindowKey,
)
from headway.tracking.price import (
    ANY_HOST,
    Dated,
    Price,
    Timeline,
    laid_over,
    timeline_document,
)
from headway.tracking.price_service import Upstream
from headway.tracking.sketch import Sketch

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")

_NEVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class _Leased:
    deployment: Deployment
    lease_until: int
    wake_at: int


@dataclass(frozen=True, slots=True)
class _Queued:
    message: Message
    due_at: int
    lease_until: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class _Start:
    row: GatewayRow
    dropped: int = 0
    stopped: bool = False
    under_way: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Units:
    units: int = 0
    frozen: bool = False
    forgotten: bool = False


@dataclass(slots=True)
class Store:
    """What is committed."""

    unit_cap: int = MOST_UNITS
    tables: dict[str, dict[Any, Any]] = field(default_factory=dict)
    numbers: dict[str, "count[int]"] = field(default_factory=dict)
    generation: int = 0
    lock: Lock = field(default_factory=Lock)

    def number(self, of: str) -> int:
        """Return the next number, as a sequence of a database gives it: never given back."""
        with self.lock:
            return next(self.numbers.setdefault(of, count(1)))


class Rows(Generic[K, V]):
    """One table as one work sees it: what is committed, under what it wrote itself."""

    def __init__(self, name: str, committed: dict[K, V]) -> None:
        self._name = name
        self._committed = committed
        self._found: dict[K, V | None] = {}
        self._written: dict[K, V | None] = {}

    def get(self, key: K) -> V | None:
        return self._written[key] if key in self._written else self._committed.get(key)

    def items(self) -> list[tuple[K, V]]:
        """Return every row, oldest first."""
        merged: dict[K, V | None] = {**self._committed, **self._written}
        return [(key, row) for key, row in merged.items() if row is not None]

    def all(self) -> list[V]:
        return [row for _, row in self.items()]

    def put(self, key: K, row: V | None) -> None:
        """Write a row; None deletes it."""
        self._found.setdefault(key, self._committed.get(key))
        self._written[key] = row

    def check(self) -> None:
        for key, found in self._found.items():
            if self._committed.get(key) is not found:
                raise Conflict(f"somebody else wrote {self._name} {key!r} first; look again")

    def publish(self) -> None:
        for key, row in self._written.items():
            if row is None:
                self._committed.pop(key, None)
            else:
                self._committed[key] = row
        self._found.clear()
        self._written.clear()


class Tables:
    """Everything that one work sees."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self._rows: dict[str, Rows[Any, Any]] = {}
        self._changes_view = False
        self._generation: int | None = None
        self.line: Rows[str, int] = self._table("line")
        self.settings: Rows[str, str] = self._table("settings")
        self.models: Rows[str, Model] = self._table("models")
        self.names: Rows[str, str] = self._table("names")
        self.versions: Rows[tuple[str, str], Version] = self._table("versions")
        self.aliases: Rows[tuple[str, str], Alias] = self._table("aliases")
        self.alias_changes: Rows[tuple[str, str, int], AliasChange] = self._table("alias changes")
        self.artifacts: Rows[str, Artifact] = self._table("artifacts")
        self.keys: Rows[str, Key] = self._table("keys")
        self.key_digests: Rows[str, str] = self._table("key digests")
        self.key_uses: Rows[str, int] = self._table("key uses")
        self.key_windows: Rows[tuple[str, int, str, str], int] = self._table("key windows")
        self.key_totals: Rows[KeyCount, int] = self._table("key totals")
        self.prices: Rows[tuple[str, str, int], Price] = self._table("prices")
        self.published: Rows[Upstream, tuple[str, Timeline]] = self._table("published prices")
        self.costs: Rows[CostOf, int] = self._table("costs")
        self.sessions: Rows[str, Session] = self._table("sessions")
        self.answers: Rows[Scope, Answer] = self._table("answers")
        self.routes: Rows[tuple[str, int], Route] = self._table("routes")
        self.current: Rows[str, Route] = self._table("current routes")
        self.snapshots: Rows[str, Snapshot] = self._table("snapshots")
        self.deployments: Rows[str, _Leased] = self._table("deployments")
        self.active: Rows[str, str] = self._table("active deployments")
        self.intents: Rows[int, tuple[Intent, bool]] = self._table("intents")
        self.rollbacks: Rows[str, Rollback] = self._table("rollbacks")
        self.rollbacks_due: Rows[str, int] = self._table("rollbacks_due")
        self.vetoes: Rows[int, Veto] = self._table("vetoes")
        self.events: Rows[int, Event] = self._table("events")
        self.messages: Rows[str, _Queued] = self._table("messages")
        self.gateways: Rows[str, _Start] = self._table("gateways")
        self.gateway_number: Rows[str, int] = self._table("gateway numbers")
        self.measurements: Rows[int, tuple[Measurement, bool]] = self._table("measurements")
        self.totals: Rows[tuple[str, str, str, str, str], int] = self._table("totals")
        self.unrouted: Rows[str, int] = self._table("unrouted")
        self.evidence: Rows[tuple[str, Count], int] = self._table("evidence")
        self.units: Rows[str, _Units] = self._table("units")
        self.first_events: Rows[tuple[str, int], int] = self._table("first events")
        self.scores: Rows[tuple[str, str], Score] = self._table("scores")

    def _table(self, name: str) -> Rows[Any, Any]:
        rows: Rows[Any, Any] = Rows(name, self.store.tables.setdefault(name, {}))
        self._rows[name] = rows
        return rows

    def changes_view(self) -> None:
        self._changes_view = True

    def generation(self) -> int:
        if self._changes_view and self._generation is None:
            self._generation = self.store.generation + 1
        return self.store.generation if self._generation is None else self._generation

    def commit(self) -> None:
        with self.store.lock:
            for rows in self._rows.values():
                rows.check()
            if self._generation not in {None, self.store.generation + 1}:
                raise Conflict("somebody else changed what gateways read first; look again")
            for rows in self._rows.values():
                rows.publish()
            self.store.generation += self._changes_view
            self._changes_view, self._generation = False, None


class _Repository:
    def __init__(self, tables: Tables) -> None:
        self._t = tables


def _fold(name: str) -> str:
    return name.casefold()


def _route(model: str, environment: str) -> str:
    return _fold(f"{model}/{environment}")


def _there(row: V | None, what: str) -> V:
    if row is None:
        raise NotFound(f"there is no {what}")
    return row


def _stored(value: Json) -> Json:
    """Return a JSON value as it comes back from a database: tuples are lists, all is new."""
    found: Json = json.loads(json.dumps(value, default=dict))
    return found


def _same(name: str | None, other: str | None) -> bool:
    """Say whether a filter lets a name through; None lets every name through."""
    return name is None or (other is not None and _fold(name) == _fold(other))


class MemorySettings(_Repository):
    def get(self, name: str) -> str | None:
        return self._t.settings.get(name)

    def keep(self, name: str, value: str) -> str:
        """Store a value unless there is one; return the one that is stored."""
        if (found := self._t.settings.get(name)) is not None:
            return found
        self._t.settings.put(name, value)
        return value


class MemoryModels(_Repository):
    def add(self, model: Model) -> Model:
        if self._t.models.get(_fold(model.name)) is not None:
            raise Conflict(f"there is a model {model.name!r} already")
        added = replace(model, revision=1)
        self._write(added)
        return added

    def get(self, name: str) -> Model:
        return _there(self._t.models.get(_fold(name)), f"model {name!r}")

    def save(self, model: Model) -> Model:
        stored = self.get(model.name)
        if stored.revision != model.revision:
            raise Conflict(f"somebody else changed the model {model.name!r}; look again")
        saved = replace(
            stored,
            description=model.description,
            tags=model.tags,
            alternative_ids=model.alternative_ids,
            archived=model.archived,
            updated_at=model.updated_at,
            revision=model.revision + 1,
        )
        self._write(saved)
        return saved

    def page(self, query: ModelQuery) -> Page[Model]:
        def fits(model: Model) -> bool:
            text = "\n".join((model.name, model.description, *model.alternative_ids))
            return (
                query.archived in {None, model.archived}
                and _tagged(model.tags, query.tag)
                and _holds(text, query.q)
            )

        key: Callable[[Model], tuple[Any, ...]] = (
            (lambda model: (_fold(model.name),))
            if query.order.endswith("name")
            else (lambda model: (model.created_at, _fold(model.name)))
        )
        found = [model for model in self._t.models.all() if fits(model)]
        return _page(found, key, query.order, query.limit, query.after)

    def _write(self, model: Model) -> None:
        me = _fold(model.name)
        names = {me, *map(_fold, model.alternative_ids)}
        for name in names:
            if self._t.names.get(name) not in {None, me}:
                raise Conflict(f"{name!r} is a name of another model", stands_in_the_way=name)
        for name, owner in self._t.names.items():
            if owner == me and name not in names:
                self._t.names.put(name, None)
        for name in names:
            if self._t.names.get(name) is None:
                self._t.names.put(name, me)
        self._t.models.put(me, model)
        self._t.changes_view()


class MemoryVersions(_Repository):
    def add(self, version: Version) -> Version:
        model = _there(self._t.models.get(_fold(version.model)), f"model {version.model!r}")
        key = (_fold(version.model), version.number.precedence_key())
        if (stored := self._t.versions.get(key)) is not None:
            raise Conflict(f"there is a version {model.name}@{stored.number} already")
        target = version.target
        if isinstance(target, LocalTarget):
            artifact = self._t.artifacts.get(target.artifact)
            if artifact is None:
                raise Conflict(f"the artifact {target.artifact} is not stored")
            # Written anew, so that nobody can remove it meanwhile.
            self._t.artifacts.put(artifact.digest, replace(artifact))
        added = replace(version, model=model.name, id=self._t.store.number("versions"), revision=1)
        self._t.versions.put(key, added)
        self._t.changes_view()
        return added

    def get(self, model: str, number: SemVer) -> Version:
        return _there(self.find(model, number), f"version {model}@{number}")

    def find(self, model: str, number: SemVer) -> Version | None:
        found = self._t.versions.get((_fold(model), number.precedence_key()))
        return None if found is None else self._marked(found)

    def save(self, version: Version) -> Version:
        stored = self.get(version.model, version.number)
        if stored.revision != version.revision:
            raise Conflict(f"somebody else changed {version.model}@{version.number}; look again")
        saved = replace(
            stored,
            description=version.description,
            tags=version.tags,
            state=version.state,
            sunset=version.sunset,
            successor=version.successor,
            reason=version.reason,
            updated_at=version.updated_at,
            revision=version.revision + 1,
        )
        self._t.versions.put((_fold(version.model), version.number.precedence_key()), saved)
        self._t.changes_view()
        return saved

    def latest(self, model: str) -> Version | None:
        active = [one for one in self._of(model) if one.state is VersionState.ACTIVE]
        return max(active, key=lambda one: (one.number.is_release, one.number), default=None)

    def highest(self, model: str) -> SemVer | None:
        return max((one.number for one in self._of(model)), default=None)

    def best(self, model: str, requirement: Requirement, state: VersionState) -> Version | None:
        there = {one.number: one for one in self._of(model) if one.state is state}
        best = requirement.best(there)
        return None if best is None else there[best]

    def page(self, query: VersionQuery) -> Page[Version]:
        def fits(one: Version) -> bool:
            tags = (f"{key}={value}" for key, value in one.tags.items())
            return (
                query.state in {None, one.state}
                and _tagged(one.tags, query.tag)
                and (query.requirement is None or query.requirement.allows(one.number))
                and _holds("\n".join((str(one.number), one.description, *tags)), query.q)
            )

        key: Callable[[Version], tuple[Any, ...]] = (
            (lambda one: (one.number.precedence_key(),))
            if query.order.endswith("precedence")
            else (lambda one: (one.created_at, one.id))
        )
        found = [one for one in self._of(query.model) if fits(one)]
        return _page(found, key, query.order, query.limit, query.after)

    def _of(self, model: str) -> list[Version]:
        return [
            self._marked(one) for key, one in self._t.versions.items() if key[0] == _fold(model)
        ]

    def _marked(self, version: Version) -> Version:
        if not isinstance(version.target, LocalTarget):
            return version
        artifact = self._t.artifacts.get(version.target.artifact)
        return replace(version, corrupt_at=artifact.corrupt_at if artifact else None)


class MemoryAliases(_Repository):
    def find(self, model: str, name: str) -> Alias | None:
        return self._t.aliases.get((_fold(model), _fold(name)))

    def of(self, model: str) -> Sequence[Alias]:
        found = [
            alias
            for key, alias in self._t.aliases.items()
            if key[0] == _fold(model) and alias.version is not None
        ]
        return sorted(found, key=lambda alias: _fold(alias.name))

    def save(self, alias: Alias) -> Alias:
        model = _there(self._t.models.get(_fold(alias.model)), f"model {alias.model!r}")
        stored = self.find(alias.model, alias.name)
        if (stored.revision if stored else 0) != alias.revision:
            raise Conflict(f"somebody else moved {alias.model}@{alias.name}; look again")
        saved = replace(
            alias,
            model=model.name,
            name=stored.name if stored else alias.name,
            revision=alias.revision + 1,
        )
        key = (_fold(alias.model), _fold(alias.name))
        self._t.aliases.put(key, saved)
        change = AliasChange(
            saved.model,
            saved.name,
            saved.revision,
            saved.version,
            saved.changed_at,
            saved.changed_by,
            saved.why,
        )
        self._t.alias_changes.put((*key, saved.revision), change)
        self._t.changes_view()
        return saved

    def history(self, model: str, name: str) -> Sequence[AliasChange]:
        found = [
            change
            for key, change in self._t.alias_changes.items()
            if key[:2] == (_fold(model), _fold(name))
        ]
        return sorted(found, key=lambda change: -change.revision)

    def at(self, model: str, name: str, time: int) -> AliasChange | None:
        return next((one for one in self.history(model, name) if one.at <= time), None)


class MemoryArtifacts(_Repository):
    def add(self, artifact: Artifact) -> bool:
        if self._t.artifacts.get(artifact.digest) is not None:
            return False
        self._t.artifacts.put(artifact.digest, artifact)
        return True

    def get(self, digest: str) -> Artifact:
        return _there(self.find(digest), f"artifact {digest}")

    def find(self, digest: str) -> Artifact | None:
        return self._t.artifacts.get(digest)

    def pins(self, digest: str) -> Sequence[str]:
        return [
            f"{one.model}@{one.number}"
            for one in sorted(self._t.versions.all(), key=lambda one: one.id)
            if isinstance(one.target, LocalTarget) and one.target.artifact == digest
        ]

    def mark(self, digest: str, corrupt_at: int | None) -> bool:
        artifact = self.find(digest)
        if artifact is None or (artifact.corrupt_at is None) is (corrupt_at is None):
            return False
        self._t.artifacts.put(digest, replace(artifact, corrupt_at=corrupt_at))
        return True

    def corrupt(self) -> Sequence[str]:
        return sorted(one.digest for one in self._t.artifacts.all() if one.corrupt_at is not None)

    def remove(self, digest: str) -> None:
        self.get(digest)
        if pins := self.pins(digest):
            raise Conflict(f"{pins[0]} needs the artifact {digest}", stands_in_the_way=pins[0])
        self._t.artifacts.put(digest, None)


class MemoryKeys(_Repository):
    def add(self, key: Key) -> Key:
        if self._t.keys.get(key.id) or self._t.key_digests.get(key.digest):
            raise Conflict(f"there is a key {key.id} already")
        added = replace(key, revision=1)
        self._t.keys.put(key.id, added)
        self._t.key_digests.put(key.digest, key.id)
        self._t.changes_view()
        return added

    def get(self, key_id: str) -> Key:
        return self._used(_there(self._t.keys.get(key_id), f"key {key_id!r}"))

    def by_digest(self, digest: str) -> Key | None:
        key_id = self._t.key_digests.get(digest)
        return None if key_id is None else self.get(key_id)

    def save(self, key: Key) -> Key:
        stored = self.get(key.id)
        if stored.revision != key.revision:
            raise Conflict(f"somebody else changed the key {key.id}; look again")
        saved = replace(
            stored,
            name=key.name,
            paths=key.paths,
            limits=key.limits,
            revoked_at=key.revoked_at,
            revision=key.revision + 1,
        )
        self._t.keys.put(key.id, saved)
        self._t.changes_view()
        return saved

    def list(self, *, limit: int, after: str | None = None) -> Sequence[Key]:
        newest = sorted(self._t.keys.all(), key=lambda key: (key.created_at, key.id), reverse=True)
        if after is not None:
            last = self.get(after)
            newest = [
                key for key in newest if (key.created_at, key.id) < (last.created_at, last.id)
            ]
        return [self._used(key) for key in newest[:limit]]

    def all(self) -> Sequence[Key]:
        found = [self._used(key) for key in self._t.keys.all() if key.revoked_at is None]
        return sorted(found, key=lambda key: key.id)

    def has_admin(self, now: int) -> bool:
        return any(
            key.role is Role.ADMIN and key.models == ANY and key.works_at(now)
            for key in self._t.keys.all()
        )

    def used(self, key_id: str, minute: int) -> None:
        if self._t.keys.get(key_id) and minute > (self._t.key_uses.get(key_id) or 0):
            self._t.key_uses.put(key_id, minute)

    def use(self, key_id: str, starts: Starts, *, within: int) -> Use:
        windows: dict[Window, int] = {}
        present = starts.windows()
        for (kind, at, of, _), n in self._t.key_windows.items():
            if of == key_id and (Window(kind), at) in present:
                windows[Window(kind)] = windows.get(Window(kind), 0) + n
        alive = MemorySpending(self._t).alive(within)
        return Use(starts, windows, sum(start.under_way.get(key_id, 0) for start in alive))

    def in_force(self, *, within: int) -> bool:
        alive = MemorySpending(self._t).alive(within)
        return all(start.row.applied_generation >= self._t.generation() for start in alive)

    def _used(self, key: Key) -> Key:
        return replace(key, last_used=self._t.key_uses.get(key.id) or key.last_used)


class MemorySpending(_Repository):
    def add(self, spender: str, windows: Mapping[WindowKey, int]) -> None:
        _add_up(
            self._t.key_windows,
            {(kind, at, key_id, spender): n for (kind, at, key_id), n in windows.items()},
        )

    def others(self, spender: str, boot: str, starts: Starts, *, within: int) -> Others:
        windows: dict[WindowKey, int] = {}
        present = starts.windows()
        for (kind, at, key_id, who), n in self._t.key_windows.items():
            if who != spender and (Window(kind), at) in present:
                place = (kind, at, key_id)
                windows[place] = windows.get(place, 0) + n
        under_way: dict[str, int] = {}
        for start in self.alive(within):
            if start.row.boot != boot:
                for key_id, n in start.under_way.items():
                    under_way[key_id] = under_way.get(key_id, 0) + n
        return Others(windows, under_way)

    def prune(self, *, before: int, limit: int) -> int:
        old = [
            place
            for place, _ in self._t.key_windows.items()
            if place[1] < (before if Window(place[0]) in SHORT else before - LONGEST)
        ][:limit]
        for place in old:
            self._t.key_windows.put(place, None)
        return len(old)

    def alive(self, within: int) -> "list[_Start]":
        since = self._t.clock() - within
        return [
            start
            for start in self._t.gateways.all()
            if not start.stopped and start.row.seen_at >= since
        ]


class MemoryPrices(_Repository):
    def put(self, price: Price) -> None:
        self._t.prices.put((price.host, price.model, price.since), price)
        self._t.changes_view()

    def remove(self, host: str, model: str, since: int) -> bool:
        if self._t.prices.get((host, model, since)) is None:
            return False
        self._t.prices.put((host, model, since), None)
        self._t.changes_view()
        return True

    def list(self) -> Sequence[Price]:
        return [price for _, price in sorted(self._t.prices.items())]

    def upstreams(self, *, after: int, limit: int) -> tuple[Sequence[Upstream], int]:
        newer = sorted(
            (one for one in self._t.versions.all() if one.id > after), key=lambda one: one.id
        )[:limit]
        found = [each for one in newer if (each := _upstream(one)) is not None]
        return found, newer[-1].id if newer else after

    def unpublished(self, upstreams: Sequence[Upstream], edition: str) -> Sequence[Upstream]:
        known = self._t.published
        return [
            each for each in upstreams if (row := known.get(each)) is None or row[0] != edition
        ]

    def publish(self, found: Mapping[Upstream, Timeline], edition: str) -> None:
        for upstream, timeline in found.items():
            self._t.published.put(upstream, (edition, timeline))
        if any(found.values()):
            self._t.changes_view()

    def of(self, model: str, versions: Sequence[str]) -> Mapping[str, Timeline]:
        return {
            str(one.number): self.timeline(one)
            for one in self._t.versions.all()
            if _same(one.model, model)
            and str(one.number) in versions
            and _upstream(one) is not None
        }

    def layers(self, model: str, version: str) -> tuple[Upstream | None, Timeline, Timeline]:
        found = MemoryVersions(self._t).find(model, SemVer.parse(version))
        upstream = None if found is None else _upstream(found)
        if upstream is None:
            return None, (), ()
        return upstream, laid_over(*self._own(upstream)), self._published(upstream)

    def timeline(self, version: Version) -> Timeline:
        upstream = _upstream(version)
        if upstream is None:
            return ()
        return laid_over(*self._own(upstream), self._published(upstream))

    def _own(self, upstream: Upstream) -> tuple[Timeline, Timeline]:
        host = (urlsplit(upstream.base_url).hostname or "").lower()
        there, anywhere = (
            tuple(
                Dated(price.since, price.rates)
                for price in self.list()
                if (price.host, price.model) == (named, upstream.model)
            )
            for named in (host, ANY_HOST)
        )
        return there, anywhere

    def _published(self, upstream: Upstream) -> Timeline:
        row = self._t.published.get(upstream)
        return () if row is None else row[1]


def _upstream(version: Version) -> Upstream | None:
    target = version.target
    if isinstance(target, LocalTarget):
        return None
    return Upstream(target.base_url, getattr(target, "model", ""))


class MemorySessions(_Repository):
    def add(self, session: Session) -> None:
        if self._t.keys.get(session.key_id) is None:
            raise Conflict(f"there is no key {session.key_id!r}")
        self._t.sessions.put(session.digest, session)

    def find(self, digest: str) -> Session | None:
        return self._t.sessions.get(digest)

    def seen(self, digest: str, at: int) -> None:
        if (found := self.find(digest)) and found.seen_at < at:
            self._t.sessions.put(digest, replace(found, seen_at=at))

    def revoke(self, digest: str, at: int) -> None:
        if (found := self.find(digest)) and found.revoked_at is None:
            self._t.sessions.put(digest, replace(found, revoked_at=at))

    def prune(self, *, before: int, limit: int) -> int:
        old = [one for one in self._t.sessions.all() if one.created_at < before][:limit]
        for session in old:
            self._t.sessions.put(session.digest, None)
        return len(old)


class MemoryAnswers(_Repository):
    def find(self, scope: Scope) -> Answer | None:
        return self._t.answers.get(scope)

    def put(self, answer: Answer) -> None:
        kept = self.find(answer.scope)
        if kept is not None and kept.created_at > answer.created_at - KEPT:
            raise Conflict("the same request was answered meanwhile; ask again")
        self._t.answers.put(answer.scope, answer)

    def prune(self, *, before: int, limit: int) -> int:
        old = [one.scope for one in self._t.answers.all() if one.created_at < before][:limit]
        for scope in old:
            self._t.answers.put(scope, None)
        return len(old)


class MemoryRoutes(_Repository):
    def current(self, model: str, environment: str) -> Route:
        found = self._t.current.get(_route(model, environment))
        return _there(found, f"route {model}/{environment}")

    def get(self, model: str, environment: str, revision: int) -> Route:
        found = self._t.routes.get((_route(model, environment), revision))
        return _there(found, f"revision {revision} of the route {model}/{environment}")

    def by_id(self, revision_id: int) -> Route:
        found = next((one for one in self._t.routes.all() if one.id == revision_id), None)
        return _there(found, f"revision of a route with the id {revision_id}")

    def at(self, model: str, environment: str, when: int) -> Route:
        known = self._of(_route(model, environment))
        found = next((one for one in known if one.created_at <= when), None)
        return _there(found, f"route {model}/{environment} at that time")

    def revisions(
        self, model: str, environment: str, *, before: int, limit: int
    ) -> Sequence[Route]:
        known = self._of(_route(model, environment))
        return [one for one in known if one.revision < before][:limit]

    def all_current(self) -> Sequence[Route]:
        return [route for _, route in sorted(self._t.current.items())]

    def add(self, route: Route) -> Route:
        key = _route(route.model, route.environment)
        stored = self._t.current.get(key)
        if route.revision != (stored.revision if stored else 0) + 1:
            raise Conflict(f"somebody else changed the route {route.name}; look again")
        added = replace(route, id=self._t.store.number("routes"))
        self._t.routes.put((key, route.revision), added)
        self._t.current.put(key, added)
        self._t.changes_view()
        return added

    def generation(self) -> int:
        return self._t.generation()

    def serving(self, model: str, number: SemVer | None = None) -> Sequence[str]:
        return [
            route.environment
            for route in self.all_current()
            if route.enabled
            and _fold(route.model) == _fold(model)
            and (number is None or any(SemVer.parse(one) == number for one in route.versions()))
        ]

    def _of(self, key: str) -> list[Route]:
        found = [route for at, route in self._t.routes.items() if at[0] == key]
        return sorted(found, key=lambda route: -route.revision)


class MemorySnapshots(_Repository):
    def add(self, snapshot: Snapshot) -> None:
        if self._t.snapshots.get(snapshot.id) is not None:
            raise Conflict(f"there is a snapshot {snapshot.id} already")
        self._t.snapshots.put(snapshot.id, snapshot)

    def get(self, snapshot_id: str) -> Snapshot:
        return _there(self._t.snapshots.get(snapshot_id), f"snapshot {snapshot_id!r}")

    def of(
        self, model: str, environment: str, *, before: str | None, limit: int
    ) -> Sequence[Snapshot]:
        found = [
            one
            for one in self._t.snapshots.all()
            if _route(one.model, one.environment) == _route(model, environment)
        ]
        return _newest(found, before=before, limit=limit)

    def warm_versions(self, *, now: int) -> Sequence[tuple[str, str]]:
        routes = self._t.current.all()
        for one in self._t.snapshots.all():
            key = (_route(one.model, one.environment), one.revision)
            leased = self._t.deployments.get(one.deployment) if one.deployment else None
            going_back = leased.deployment.plan.going_back if leased else GoingBack()
            warm = now < one.created_at + going_back.keep_warm
            if warm and (route := self._t.routes.get(key)):
                routes.append(route)
        return sorted({(route.model, version) for route in routes for version in route.versions()})


class MemoryDeployments(_Repository):
    def add(self, deployment: Deployment) -> None:
        if self._t.deployments.get(deployment.id) is not None:
            raise Conflict(f"there is a deployment {deployment.id} already")
        self._write(_Leased(deployment, 0, self._t.clock()))

    def get(self, deployment_id: str) -> Deployment:
        return self._leased(deployment_id).deployment

    def active(self, model: str, environment: str) -> Deployment | None:
        found = self._t.active.get(_route(model, environment))
        return None if found is None else self.get(found)

    def list(
        self,
        *,
        model: str | None,
        environment: str | None,
        states: Sequence[str],
        before: str | None,
        limit: int,
    ) -> Sequence[Deployment]:
        found = [
            one
            for one in self._all()
            if _same(model, one.model)
            and _same(environment, one.environment)
            and (not states or one.state in states)
        ]
        return _newest(found, before=before, limit=limit)

    def claim(self, *, owner: str, lease: int) -> Sequence[Deployment]:
        now = self._t.clock()
        claimed: list[Deployment] = []
        for leased in self._t.deployments.all():
            one = leased.deployment
            free = not now < leased.lease_until <= now + 2 * lease
            due = leased.wake_at <= now or one.lease_owner
            if one.state not in FINISHED and free and due:
                one = replace(one, lease_owner=owner, fence=one.fence + 1)
                self._t.deployments.put(one.id, _Leased(one, now + lease, _NEVER))
                claimed.append(one)
        return sorted(claimed, key=lambda one: one.id)

    def save(self, deployment: Deployment, *, wake_in: int) -> Deployment:
        leased = self._leased(deployment.id)
        if not deployment.lease_owner or _claim(leased.deployment) != _claim(deployment):
            raise Conflict(f"somebody else took over the deployment {deployment.id}; look again")
        saved = replace(deployment, revision=deployment.revision + 1, lease_owner="")
        self._write(_Leased(saved, 0, min(leased.wake_at, self._t.clock() + wake_in)))
        return saved

    def release(self, deployment: Deployment, *, wake_in: int) -> None:
        leased = self._t.deployments.get(deployment.id)
        if leased is None or not deployment.lease_owner:
            return
        stored = leased.deployment
        if (stored.fence, stored.lease_owner) == (deployment.fence, deployment.lease_owner):
            wake_at = min(leased.wake_at, self._t.clock() + wake_in)
            given_back = _Leased(replace(stored, lease_owner=""), 0, wake_at)
            self._t.deployments.put(stored.id, given_back)

    def update(self, deployment: Deployment) -> Deployment:
        leased = self._leased(deployment.id)
        stored = leased.deployment
        if stored.revision != deployment.revision:
            raise Conflict(f"somebody else changed the deployment {deployment.id}; look again")
        saved = replace(
            deployment,
            revision=deployment.revision + 1,
            fence=stored.fence,
            lease_owner=stored.lease_owner,
        )
        self._write(_Leased(saved, leased.lease_until, self._t.clock()))
        return saved

    def wake(self, deployment_id: str) -> bool:
        leased = self._t.deployments.get(deployment_id)
        if leased is not None:
            self._t.deployments.put(deployment_id, replace(leased, wake_at=self._t.clock()))
        return leased is not None

    def _all(self) -> Iterator[Deployment]:
        return (leased.deployment for leased in self._t.deployments.all())

    def _leased(self, deployment_id: str) -> _Leased:
        return _there(self._t.deployments.get(deployment_id), f"deployment {deployment_id!r}")

    def _write(self, leased: _Leased) -> None:
        one = leased.deployment
        route = _route(one.model, one.environment)
        holder = self._t.active.get(route)
        if one.state in ACTIVE:
            if holder not in {None, one.id}:
                raise Conflict(
                    f"the deployment {holder} of {one.model}/{one.environment} is active",
                    stands_in_the_way=holder,
                )
            self._t.active.put(route, one.id)
        elif holder == one.id:
            self._t.active.put(route, None)
        kept = replace(one, facts=_stored(one.facts), progress=_stored(one.progress))
        self._t.deployments.put(one.id, replace(leased, deployment=kept))


def _claim(one: Deployment) -> tuple[int, int, str]:
    return one.revision, one.fence, one.lease_owner


class MemoryIntents(_Repository):
    def add(self, intent: Intent) -> None:
        if not MemoryDeployments(self._t).wake(intent.deployment):
            raise NotFound(f"there is no deployment {intent.deployment!r}")
        added = replace(intent, id=self._t.store.number("intents"), detail=_stored(intent.detail))
        self._t.intents.put(added.id, (added, False))

    def waiting(self, deployment_id: str) -> Sequence[Intent]:
        return [
            intent
            for _, (intent, settled) in sorted(self._t.intents.items())
            if intent.deployment == deployment_id and not settled
        ]

    def settle(self, intents: Sequence[Intent]) -> None:
        for intent in intents:
            self._t.intents.put(intent.id, (intent, True))


class MemoryRollbacks(_Repository):
    def add(self, rollback: Rollback) -> None:
        if self._t.rollbacks.get(rollback.id) is not None:
            raise Conflict(f"there is a rollback {rollback.id} already")
        self._t.rollbacks.put(rollback.id, rollback)
        self._t.rollbacks_due.put(rollback.id, 0)

    def get(self, rollback_id: str) -> Rollback:
        return _there(self._t.rollbacks.get(rollback_id), f"rollback {rollback_id!r}")

    def save(self, rollback: Rollback, *, wake_in: int = 0) -> Rollback:
        if self.get(rollback.id).revision != rollback.revision:
            raise Conflict(f"somebody else changed the rollback {rollback.id}; look again")
        saved = replace(rollback, revision=rollback.revision + 1)
        self._t.rollbacks.put(rollback.id, saved)
        self._t.rollbacks_due.put(rollback.id, self._t.clock() + wake_in)
        return saved

    def due(self) -> Sequence[Rollback]:
        now = self._t.clock()
        found = [
            one
            for one in self._t.rollbacks.all()
            if one.finished_at is None
            and one.deployment is None
            and (self._t.rollbacks_due.get(one.id) or 0) <= now
        ]
        return sorted(found, key=lambda one: one.id)

    def wake(self, rollback_id: str) -> None:
        if (woken := self._t.rollbacks.get(rollback_id)) is not None:
            self.save(woken)

    def list(
        self, *, model: str | None, environment: str | None, before: str | None, limit: int
    ) -> Sequence[Rollback]:
        found = [
            one
            for one in self._t.rollbacks.all()
            if _same(model, one.model) and _same(environment, one.environment)
        ]
        return _newest(found, before=before, limit=limit)


class MemoryVetoes(_Repository):
    def of(self, deployment: str) -> Sequence[Veto]:
        known = sorted(self._t.vetoes.items())
        return [veto for _, veto in known if veto.deployment == deployment]


class MemoryOutbox(_Repository):
    def line_up(self) -> None:
        self._t.line.put("events", (self._t.line.get("events") or 0) + 1)

    def add(self, event: Event, *messages: Message) -> None:
        seq = self._t.store.number("events")
        self._t.events.put(seq, replace(event, seq=seq, detail=_stored(event.detail)))
        for message in messages:
            if self._t.messages.get(message.key) is None:
                kept = replace(message, payload=_stored(message.payload))
                self._t.messages.put(message.key, _Queued(kept, self._t.clock()))

    def history(
        self,
        *,
        subject: str | None = None,
        deployment: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> Sequence[Event]:
        found = [
            event
            for seq, event in sorted(self._t.events.items())
            if seq > after
            and subject in {None, event.subject}
            and deployment in {None, event.deployment}
        ]
        return found[:limit]

    def latest(
        self, *, model: str | None = None, before: int | None = None, limit: int = 100
    ) -> Sequence[Event]:
        found = [
            event
            for seq, event in sorted(self._t.events.items(), reverse=True)
            if (before is None or seq < before) and _same(model, event.model)
        ]
        return found[:limit]

    def messages_of(self, deployment: str) -> Sequence[Message]:
        known = (queued.message for queued in self._t.messages.all())
        return [message for message in known if message.deployment == deployment]

    def claim_messages(
        self, *, owner: str, lease: int, limit: int, kind: str | None = None
    ) -> Sequence[Message]:
        now = self._t.clock()
        due = [
            queued
            for queued in sorted(self._t.messages.all(), key=lambda queued: queued.due_at)
            if kind in {None, queued.message.kind}
            and queued.message.answered_at is None
            and not queued.message.dead
            and queued.due_at <= now
            and not now < queued.lease_until <= now + 2 * lease
        ]
        claimed: list[Message] = []
        for queued in due[:limit]:
            message = queued.message
            message = replace(message, lease_owner=owner, attempts=message.attempts + 1)
            held = replace(queued, message=message, lease_until=now + lease)
            self._t.messages.put(message.key, held)
            claimed.append(message)
        return claimed

    def keep_messages(self, keys: Sequence[str], *, owner: str, lease: int) -> None:
        until = self._t.clock() + lease
        for key in keys:
            if (queued := self._held(key, owner)) is not None:
                self._t.messages.put(key, replace(queued, lease_until=until))

    def answer(self, key: str, answer: Json, *, owner: str) -> None:
        queued = self._held(key, owner)
        if queued is None:
            raise Conflict(f"the lease of the message {key} was lost")
        now = self._t.clock()
        message = replace(queued.message, answer=_stored(answer), answered_at=now, lease_owner="")
        self._t.messages.put(key, replace(queued, message=message, lease_until=0))
        self._wake(message)

    def try_again(
        self, key: str, *, owner: str, after: int, why: str, give_up: bool = False
    ) -> None:
        if (queued := self._held(key, owner)) is None:
            return
        message = replace(queued.message, lease_owner="", dead=give_up)
        self._t.messages.put(key, _Queued(message, self._t.clock() + after, 0, why))
        if give_up:
            self._wake(message)

    def _held(self, key: str, owner: str) -> _Queued | None:
        queued = self._t.messages.get(key)
        return queued if queued and owner and queued.message.lease_owner == owner else None

    def _wake(self, message: Message) -> None:
        owner = message.deployment
        if owner is not None and not MemoryDeployments(self._t).wake(owner):
            MemoryRollbacks(self._t).wake(owner)


class MemoryGateways(_Repository):
    def start(self, *, boot: str, host: str, pid: int, at_least: int = 0) -> GatewayRow:
        if self._t.gateways.get(boot) is not None:
            raise Conflict(f"the gateway {boot} was entered already")
        now = self._t.clock()
        number = max((self._t.gateway_number.get("last") or 0) + 1, at_least)
        self._t.gateway_number.put("last", number)
        row = GatewayRow(
            boot=boot,
            number=number,
            host=host,
            pid=pid,
            started_at=now,
            seen_at=now,
            seq=0,
            applied_generation=0,
        )
        self._t.gateways.put(boot, _Start(row))
        return row

    def flush(self, batch: Batch) -> bool:
        start = _there(self._t.gateways.get(batch.boot), f"gateway {batch.boot!r}")
        if batch.seq <= start.row.seq:
            return False
        if batch.seq != start.row.seq + 1:
            raise NotFound(f"the gateway {batch.boot!r} is known only up to {start.row.seq}")
        row = replace(
            start.row,
            seq=batch.seq,
            applied_generation=batch.applied_generation,
            seen_at=self._t.clock(),
        )
        dropped = start.dropped + batch.dropped
        self._t.gateways.put(batch.boot, _Start(row, dropped, under_way=dict(batch.under_way)))
        MemorySpending(self._t).add(batch.spender, batch.windows)
        _add_up(self._t.key_totals, batch.key_counts)
        _add_up(self._t.costs, batch.costs)
        for veto in batch.vetoes:
            kept = replace(veto, detail=_stored(veto.detail))
            self._t.vetoes.put(self._t.store.number("vetoes"), kept)
            MemoryDeployments(self._t).wake(veto.deployment)
        for key_id, minute in batch.key_uses.items():
            MemoryKeys(self._t).used(key_id, minute)
        for measurement in batch.measurements:
            MemoryMeasurements(self._t).append(measurement)
        MemoryMeasurements(self._t).count_unrouted(batch.unrouted)
        for deployment in {*batch.counts, *batch.firsts}:
            MemoryEvidence(self._t).add(
                deployment, batch.counts.get(deployment, ()), batch.firsts.get(deployment, ())
            )
        return True

    def living(self, *, within: int) -> Sequence[GatewayRow]:
        since = self._t.clock() - within
        found = [
            start.row
            for start in self._t.gateways.all()
            if not start.stopped and start.row.seen_at >= since
        ]
        return sorted(found, key=lambda row: row.number)

    def stop(self, boot: str) -> None:
        if start := self._t.gateways.get(boot):
            self._t.gateways.put(boot, replace(start, stopped=True))

    def dropped(self) -> int:
        return sum(start.dropped for start in self._t.gateways.all())


def _add_up(rows: Rows[K, int], sums: Mapping[K, int]) -> None:
    for place, n in sums.items():
        rows.put(place, (rows.get(place) or 0) + n)


class MemoryMeasurements(_Repository):
    def append(self, one: Measurement) -> None:
        self._t.measurements.put(self._t.store.number("measurements"), (one, False))
        for kind, sums in (("outcome", one.outcomes), ("token", one.tokens)):
            for name, n in sums.items():
                key = (one.model, one.environment, one.version, kind, str(name))
                self._t.totals.put(key, (self._t.totals.get(key) or 0) + n)

    def count_unrouted(self, found: Mapping[str, int]) -> None:
        for outcome, n in found.items():
            self._t.unrouted.put(outcome, (self._t.unrouted.get(outcome) or 0) + n)

    def unrouted(self) -> Mapping[str, int]:
        return dict(self._t.unrouted.items())

    def costs(self) -> Mapping[CostOf, int]:
        return dict(self._t.costs.items())

    def key_counts(self) -> Mapping[KeyCount, int]:
        return dict(sorted(self._t.key_totals.items()))

    def read(
        self,
        *,
        model: str,
        environment: str,
        since: int,
        until: int,
        version: str | None = None,
    ) -> Sequence[Measurement]:
        groups: dict[tuple[int, str, str], list[Measurement]] = {}
        for one, _ in self._t.measurements.all():
            if (
                _route(one.model, one.environment) == _route(model, environment)
                and since <= one.minute < until
                and version in {None, one.version}
            ):
                groups.setdefault((one.minute, one.version, one.arm), []).append(one)
        return [_sum(groups[key]) for key in sorted(groups)]

    def totals(self) -> Sequence[tuple[str, str, str, Mapping[str, int], Mapping[str, int]]]:
        found: dict[tuple[str, str, str], dict[str, dict[str, int]]] = {}
        for (model, environment, version, kind, name), n in sorted(self._t.totals.items()):
            sums = found.setdefault((model, environment, version), {"outcome": {}, "token": {}})
            sums[kind][name] = n
        return [(*key, sums["outcome"], sums["token"]) for key, sums in found.items()]

    def merge(self, *, before: int, limit: int) -> int:
        groups: dict[tuple[str, str, str, int], list[int]] = {}
        for row, (one, _) in self._t.measurements.items():
            if one.minute < before:
                key = (_route(one.model, one.environment), one.version, one.arm, one.minute)
                groups.setdefault(key, []).append(row)
        rows = self._t.measurements
        todo = [
            ids
            for ids in groups.values()
            if any(not merged for _, merged in filter(None, map(rows.get, ids)))
        ]
        for ids in todo[:limit]:
            found = [one for one, _ in filter(None, map(rows.get, ids))]
            for row in ids:
                rows.put(row, None)
            rows.put(ids[0], (_sum(found), True))
        return len(todo[:limit])

    def prune(self, *, before: int, limit: int) -> int:
        known = self._t.measurements.items()
        old = [row for row, (one, _) in known if one.minute < before][:limit]
        for row in old:
            self._t.measurements.put(row, None)
        return len(old)


def _sum(found: Sequence[Measurement]) -> Measurement:
    """Add up measurements of one key."""
    latency, bad, first = Sketch(), Sketch(), Sketch()
    outcomes: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    served_by: Counter[str] = Counter()
    for one in found:
        latency.merge(one.latency)
        bad.merge(one.bad)
        first.merge(one.first)
        outcomes.update({str(name): n for name, n in one.outcomes.items()})
        tokens.update(one.tokens)
        served_by.update(one.served_by)
    return replace(
        found[0],
        latency=latency,
        bad=bad,
        first=first,
        outcomes=dict(outcomes),
        tokens=dict(tokens),
        served_by=dict(served_by),
    )


class MemoryEvidence(_Repository):
    def add(self, deployment: str, counts: Sequence[Count], firsts: Sequence[FirstEvent]) -> None:
        for one in (*counts, *self._new(deployment, firsts)):
            key = (deployment, replace(one, n=0))
            self._t.evidence.put(key, (self._t.evidence.get(key) or 0) + one.n)

    def of(self, deployment: str) -> Sequence[Count]:
        found = [
            replace(key, n=n)
            for (owner, key), n in self._t.evidence.items()
            if owner == deployment
        ]
        return sorted(found, key=_evidence_order)

    def frozen(self, deployment: str) -> bool:
        """Say whether there were too many units: none of their events counts from then on."""
        return (self._t.units.get(deployment) or _Units()).frozen

    def fold(self, deployment: str, *, due_before: int, epoch: int) -> None:
        for one in self.of(deployment):
            if one.epoch == epoch and 0 < one.due < due_before:
                self._t.evidence.put((deployment, replace(one, n=0)), None)
                self.add(deployment, [replace(one, due=0)], [])

    def forget_units(self, deployment: str) -> None:
        known = self._t.units.get(deployment) or _Units()
        self._t.units.put(deployment, replace(known, forgotten=True))

    def sweep_units(self, *, limit: int) -> int:
        keys = [key for key, _ in self._t.first_events.items() if self._forgotten(key[0])][:limit]
        for key in keys:
            self._t.first_events.put(key, None)
        return len(keys)

    def _forgotten(self, deployment: str) -> bool:
        known = self._t.units.get(deployment)
        return known is not None and known.forgotten

    def _new(self, deployment: str, firsts: Sequence[FirstEvent]) -> Sequence[Count]:
        """Return what the events add whose unit had none with that bit, and note them."""
        known = self._t.units.get(deployment) or _Units()
        if not firsts or known.frozen or known.forgotten:
            return ()
        masks: dict[int, int] = {}
        added: list[Count] = []
        strangers = 0
        for first in firsts:
            if first.unit not in masks:
                stored = self._t.first_events.get((deployment, first.unit))
                strangers += stored is None
                masks[first.unit] = stored or 0
            if not masks[first.unit] & first.bit:
                masks[first.unit] |= first.bit
                added.extend(first.counts)
        if known.units + strangers > self._t.store.unit_cap:
            self._t.units.put(deployment, replace(known, frozen=True))
            return ()
        self._t.units.put(deployment, replace(known, units=known.units + strangers))
        for unit, mask in masks.items():
            self._t.first_events.put((deployment, unit), mask)
        return added


def _evidence_order(one: Count) -> tuple[Any, ...]:
    return one.epoch, one.arm, one.metric, one.bin, one.due, one.late


class MemoryScores(_Repository):
    def add(self, scores: Sequence[Score]) -> Sequence[bool]:
        return [self._add(score) for score in scores]

    def _add(self, score: Score) -> bool:
        key = (score.request_id, score.name)
        if self._t.scores.get(key) is not None:
            return False
        self._t.scores.put(key, score)
        return True

    def delays(self, *, model: str, environment: str, name: str, since: int) -> Sequence[int]:
        found = [one for one in self._of(model, environment, since) if one.name == name]
        newest = sorted(found, key=lambda one: (one.at, one.request_id), reverse=True)
        return [one.age for one in newest[:10_000]]

    def means(self, *, model: str, environment: str, since: int) -> Sequence[ScoreMean]:
        groups: dict[tuple[str, str], list[float]] = {}
        for one in self._of(model, environment, since):
            groups.setdefault((one.version, one.name), []).append(one.value)
        return [
            ScoreMean(version=key[0], name=key[1], n=len(values), mean=sum(values) / len(values))
            for key, values in sorted(groups.items())
        ]

    def prune(self, *, before: int, limit: int) -> int:
        old = [key for key, one in self._t.scores.items() if one.at < before][:limit]
        for key in old:
            self._t.scores.put(key, None)
        return len(old)

    def _of(self, model: str, environment: str, since: int) -> list[Score]:
        return [
            one
            for one in self._t.scores.all()
            if _route(one.model, one.environment) == _route(model, environment) and one.at >= since
        ]


class MemorySource(_Repository):
    def generation(self) -> int:
        return self._t.generation()

    def _rolled_back(self, route: Route, now: int) -> dict[str, Json]:
        key = _route(route.model, route.environment)
        found: dict[str, Json] = {}
        for one in sorted(self._t.rollbacks.all(), key=lambda one: one.published):
            if _route(one.model, one.environment) == key and one.created_at > now - LONGEST_PIN:
                before = self._t.routes.get((key, one.from_revision))
                after = self._t.routes.get((key, one.published))
                if before is not None and after is not None:
                    left = before.versions() - after.versions()
                    found |= dict.fromkeys(sorted(left), one.published)
        return found

    def document(self) -> Mapping[str, Json]:
        routes = MemoryRoutes(self._t).all_current()
        now = self._t.clock()
        models = {_fold(route.model) for route in routes}
        models |= {key for key, model in self._t.models.items() if not model.archived}
        on_arms = {
            (_fold(route.model), SemVer.parse(version))
            for route in routes
            for version in route.versions()
        }
        gone = {VersionState.RETIRED, VersionState.YANKED}
        versions = [
            one
            for one in sorted(self._t.versions.all(), key=lambda one: one.id)
            if _fold(one.model) in models
            and (one.state not in gone or (_fold(one.model), one.number) in on_arms)
        ]
        aliases = [
            alias
            for (model, _), alias in sorted(self._t.aliases.items())
            if model in models and alias.version is not None
        ]
        return {
            "generation": self.generation(),
            "at": now,
            "keys": [
                {
                    "digest": key.digest,
                    "id": key.id,
                    "name": key.name,
                    "role": str(key.role),
                    "models": list(key.models),
                    "environments": list(key.environments),
                    "paths": list(key.paths),
                    "limits": key.limits.document(),
                    "expires_at": key.expires_at,
                }
                for key in MemoryKeys(self._t).all()
                if key.works_at(now)
            ],
            "routes": [
                {
                    "id": route.id,
                    "model": route.model,
                    "environment": route.environment,
                    "revision": route.revision,
                    "created_at": route.created_at,
                    "declared": route.declared(),
                    "epoch": route.epoch.document() if route.epoch else None,
                    "guards": [guard.document() for guard in route.guards],
                    "rolled_back": self._rolled_back(route, now),
                }
                for route in routes
            ],
            "versions": [
                {
                    "model": one.model,
                    "version": str(one.number),
                    "digest": one.digest,
                    "state": str(one.state),
                    "target": one.target.document(),
                    "prices": timeline_document(MemoryPrices(self._t).timeline(one)),
                }
                for one in versions
            ],
            "aliases": [
                {"model": alias.model, "alias": alias.name, "version": str(alias.version)}
                for alias in aliases
            ],
            "names": [
                {"name": name, "model": model.name}
                for key, model in sorted(self._t.models.items())
                if key in models
                for name in model.alternative_ids
            ],
        }


class MemoryWork:
    """One transaction over all repositories; it fits every `Work` of the domain."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._tables = tables = Tables(store, clock)
        self.settings = MemorySettings(tables)
        self.models = MemoryModels(tables)
        self.versions = MemoryVersions(tables)
        self.aliases = MemoryAliases(tables)
        self.artifacts = MemoryArtifacts(tables)
        self.keys = MemoryKeys(tables)
        self.sessions = MemorySessions(tables)
        self.spending = MemorySpending(tables)
        self.prices = MemoryPrices(tables)
        self.idempotency = MemoryAnswers(tables)
        self.routes = MemoryRoutes(tables)
        self.snapshots = MemorySnapshots(tables)
        self.deployments = MemoryDeployments(tables)
        self.intents = MemoryIntents(tables)
        self.rollbacks = MemoryRollbacks(tables)
        self.vetoes = MemoryVetoes(tables)
        self.outbox = MemoryOutbox(tables)
        self.gateways = MemoryGateways(tables)
        self.measurements = MemoryMeasurements(tables)
        self.evidence = MemoryEvidence(tables)
        self.scores = MemoryScores(tables)
        self.source = MemorySource(tables)

    def now(self) -> int:
        return self._tables.clock()

    def commit(self) -> None:
        """Make it last, or raise `Conflict` if somebody else wrote one of its rows meanwhile."""
        self._tables.commit()


@contextmanager
def begin(store: Store, clock: Clock) -> Iterator[MemoryWork]:
    """Open a work; what was not committed when it is left never happened."""
    yield MemoryWork(store, clock)


def _tagged(tags: Mapping[str, str], wanted: tuple[str, str | None] | None) -> bool:
    if wanted is None:
        return True
    key, value = wanted
    return any(_same(key, name) and value in {None, found} for name, found in tags.items())


def _holds(text: str, q: str) -> bool:
    return all(word in _fold(text) for word in _fold(q).split())


def _newest(found: Sequence[Any], *, before: str | None, limit: int) -> list[Any]:
    """Return those with ids below `before`, newest first."""
    older = [one for one in found if before is None or one.id < before]
    return sorted(older, key=lambda one: one.id, reverse=True)[:limit]


def _page(
    found: Sequence[T],
    key: Callable[[T], tuple[Any, ...]],
    order: str,
    limit: int,
    after: str | None,
) -> Page[T]:
    backwards = order.startswith("-")
    found = sorted(found, key=key, reverse=backwards)
    if after is not None:
        last = _read_cursor(after, order)
        try:
            found = [one for one in found if (key(one) < last if backwards else key(one) > last)]
        except TypeError as error:
            raise Invalid.at("/cursor", "this is no cursor that a list gave") from error
    items = tuple(found[:limit])
    more = len(found) > limit
    return Page(items, _cursor(order, key(items[-1])) if more else None)


def _cursor(order: str, values: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps([order, *values]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, order: str) -> tuple[Any, ...]:
    try:
        made_for, *values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, binascii.Error) as error:
        raise Invalid.at("/cursor", "this is no cursor that a list gave") from error
    if made_for != order:
        raise Invalid.at("/cursor", "this cursor belongs to a list in another order")
    return tuple(values)
