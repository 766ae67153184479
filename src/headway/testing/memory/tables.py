"""Every table of one work: the domain's own values, and what a database would keep beside them."""

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from headway.artifacts.artifact import Artifact
from headway.auth.key import Key
from headway.auth.session import Session
from headway.deployments.deployment import Deployment
from headway.deployments.intent import Intent
from headway.deployments.rollback import Rollback
from headway.kernel.canonical import Json
from headway.kernel.clock import Clock
from headway.kernel.errors import Conflict, NotFound
from headway.kernel.names import folded
from headway.outbox.answer import Answer, Scope
from headway.outbox.event import Event
from headway.outbox.message import Message
from headway.registry.model import Alias, AliasChange, Model, Version
from headway.routing.route import Route
from headway.snapshots.snapshot import Snapshot
from headway.testing.memory.store import Rows, Store
from headway.tracking.measurement import (
    CostOf,
    Count,
    GatewayRow,
    KeyCount,
    Measurement,
    Score,
    Veto,
)
from headway.tracking.price import Price, Timeline
from headway.tracking.price_service import Upstream

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Leased:
    deployment: Deployment
    lease_until: int
    wake_at: int


@dataclass(frozen=True, slots=True)
class Queued:
    message: Message
    due_at: int
    lease_until: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    row: GatewayRow
    dropped: int = 0
    stopped: bool = False
    under_way: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Units:
    units: int = 0
    frozen: bool = False
    forgotten: bool = False


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
        self.deployments: Rows[str, Leased] = self._table("deployments")
        self.active: Rows[str, str] = self._table("active deployments")
        self.intents: Rows[int, tuple[Intent, bool]] = self._table("intents")
        self.rollbacks: Rows[str, Rollback] = self._table("rollbacks")
        self.rollbacks_due: Rows[str, int] = self._table("rollbacks_due")
        self.vetoes: Rows[int, Veto] = self._table("vetoes")
        self.events: Rows[int, Event] = self._table("events")
        self.messages: Rows[str, Queued] = self._table("messages")
        self.gateways: Rows[str, Start] = self._table("gateways")
        self.gateway_number: Rows[str, int] = self._table("gateway numbers")
        self.measurements: Rows[int, tuple[Measurement, bool]] = self._table("measurements")
        self.totals: Rows[tuple[str, str, str, str, str], int] = self._table("totals")
        self.unrouted: Rows[str, int] = self._table("unrouted")
        self.evidence: Rows[tuple[str, Count], int] = self._table("evidence")
        self.units: Rows[str, Units] = self._table("units")
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


class Repository:
    def __init__(self, tables: Tables) -> None:
        self._t = tables


def fold_text(text: str) -> str:
    """Return free text without regard to case, to be searched."""
    return text.casefold()


def route_key(model: str, environment: str) -> str:
    return folded(f"{model}/{environment}")


def required(row: V | None, what: str) -> V:
    if row is None:
        raise NotFound(f"there is no {what}")
    return row


def as_stored(value: Json) -> Json:
    """Return a JSON value as it comes back from a database: tuples are lists, all is new."""
    found: Json = json.loads(json.dumps(value, default=dict))
    return found


def same_name(name: str | None, other: str | None) -> bool:
    """Say whether a filter lets a name through; None lets every name through."""
    return name is None or (other is not None and folded(name) == folded(other))


def add_up(rows: Rows[K, int], sums: Mapping[K, int]) -> None:
    for place, n in sums.items():
        rows.put(place, (rows.get(place) or 0) + n)
