"""What keys need from the outside; `persistence` and `testing` provide it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from headway.auth.key import Key
from headway.auth.limits import Starts, Use
from headway.auth.session import Session
from headway.outbox.event import Event


class Keys(Protocol):
    """Adding and saving raise the generation, so that gateways read the keys anew."""

    def add(self, key: Key) -> Key:
        """Store it and return it with revision 1; `Conflict` if its id or digest is taken."""

    def get(self, key_id: str) -> Key:
        """Return it, revoked or not, or raise `NotFound`."""

    def by_digest(self, digest: str) -> Key | None:
        """Return the record with that digest (64 hex digits), revoked or not, or None."""

    def save(self, key: Key) -> Key:
        """Write `name`, `paths`, `limits` and `revoked_at`; revision + 1.

        `Conflict` if the stored revision is another.
        """

    def list(self, *, limit: int, after: str | None = None) -> Sequence[Key]:
        """Return keys, newest first, those after the key with the id `after`."""

    def all(self) -> Sequence[Key]:
        """Return every key that is not revoked: what gateways compile."""

    def has_admin(self, now: int) -> bool:
        """Say whether a key of role admin for all models works at `now` (ms)."""

    def used(self, key_id: str, minute: int) -> None:
        """Note that it was used in the minute that begins at `minute` (ms).

        Never goes back; touches neither revision nor generation; unknown ids are passed over.
        """

    def use(self, key_id: str, starts: Starts, *, within: int) -> Use:
        """Return what a key with limits used in those windows, on all gateways together.

        A gateway that was not seen for so many ms has no request under way.
        """

    def in_force(self, *, within: int) -> bool:
        """Say whether every living gateway follows all keys as they are now.

        A gateway that was not seen for so many ms does not live.
        """


class Sessions(Protocol):
    def add(self, session: Session) -> None: ...

    def find(self, digest: str) -> Session | None:
        """Return it, ended or not, or None."""

    def seen(self, digest: str, at: int) -> None:
        """Note that it was used at that time; never goes back."""

    def revoke(self, digest: str, at: int) -> None:
        """End it; an unknown one is passed over."""


class Outbox(Protocol):
    def add(self, event: Event) -> None:
        """Write down what happened, to what, by whom."""


class Work(Protocol):
    """One transaction. Leaving it without `commit` undoes everything."""

    @property
    def keys(self) -> Keys: ...
    @property
    def outbox(self) -> Outbox: ...

    def commit(self) -> None: ...


class SessionWork(Work, Protocol):
    """Keys, and the sessions that stand for them."""

    @property
    def sessions(self) -> Sessions: ...


Begin = Callable[[], AbstractContextManager[Work]]
BeginSession = Callable[[], AbstractContextManager[SessionWork]]
