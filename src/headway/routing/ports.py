"""What routing needs from the outside; `persistence` and `testing` provide it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from enum import IntFlag
from typing import Any, Protocol

from headway.outbox.event import Event
from headway.registry.model import Version
from headway.registry.version import SemVer
from headway.routing.route import Route


class Routes(Protocol):
    def current(self, model: str, environment: str) -> Route:
        """Return the newest revision, or raise `NotFound`."""

    def get(self, model: str, environment: str, revision: int) -> Route:
        """Return one revision, or raise `NotFound`."""

    def by_id(self, revision_id: int) -> Route:
        """Return the revision with this database id (a stamp carries it), or raise `NotFound`."""

    def at(self, model: str, environment: str, when: int) -> Route:
        """Return what was current at that time, or raise `NotFound`."""

    def revisions(
        self, model: str, environment: str, *, before: int, limit: int
    ) -> Sequence[Route]:
        """Return revisions below `before`, newest first."""

    def all_current(self) -> Sequence[Route]:
        """Return the newest revision of every route, by model and environment."""

    def add(self, route: Route) -> Route:
        """Publish the next revision and raise the generation by one; return it with its id.

        `route.revision` must be the current one + 1, else `Conflict`: somebody was faster.
        """

    def generation(self) -> int:
        """Return what gateways poll: it grows with each change of what they read."""


class Versions(Protocol):
    def find(self, model: str, number: SemVer) -> Version | None:
        """Return the version of that number, build metadata ignored, or None."""


class Named(Protocol):
    @property
    def id(self) -> str: ...


class Deployments(Protocol):
    def active(self, model: str, environment: str) -> Named | None:
        """Return the deployment that moves this route now, if one does."""


class Outbox(Protocol):
    def add(self, event: Event) -> None:
        """Write down what happened, to what, by whom."""


class Work(Protocol):
    """One transaction. Leaving it without `commit` undoes everything."""

    @property
    def routes(self) -> Routes: ...
    @property
    def versions(self) -> Versions: ...
    @property
    def deployments(self) -> Deployments: ...
    @property
    def outbox(self) -> Outbox: ...

    def commit(self) -> None: ...


Begin = Callable[[], AbstractContextManager[Work]]

KeepAsItWas = Callable[[Any, Route, str, int, str], object]
"""Takes (the open work, the route, why, now in ms, by whom); keeps a snapshot of the route.

It belongs to a package above this one, and writes into the same transaction.
"""


class Stamped(Protocol):
    """What a request id says."""

    @property
    def at(self) -> int: ...
    @property
    def revision_id(self) -> int: ...
    @property
    def arm(self) -> int: ...
    @property
    def flags(self) -> IntFlag: ...


ReadStamp = Callable[[str], Stamped | None]
"""Returns what a request id says, None if it is not one of ours."""
