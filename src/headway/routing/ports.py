"""What routing needs from the outside; `persistence` and `testing` provide it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

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


class Work(Protocol):
    """One transaction. Leaving it without `commit` undoes everything."""

    @property
    def routes(self) -> Routes: ...

    def commit(self) -> None: ...


Begin = Callable[[], AbstractContextManager[Work]]
