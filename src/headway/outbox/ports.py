"""What the history and the messages need from the outside."""

from collections.abc import Sequence
from typing import Protocol

from headway.kernel.canonical import Json
from headway.outbox.event import Event
from headway.outbox.message import Message


class Outbox(Protocol):
    def add(self, event: Event, *messages: Message) -> None:
        """Write the event into the history and leave messages about it to be carried out.

        A message whose key is there already is left as it is.
        """

    def line_up(self) -> None:
        """Let nobody else write events until this work is over; what they wrote is seen from now.

        Who was faster is waited for, or makes this a `Conflict`.
        """

    def history(
        self,
        *,
        subject: str | None = None,
        deployment: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> Sequence[Event]:
        """Return events with a seq above `after`, oldest first."""

    def latest(
        self, *, model: str | None = None, before: int | None = None, limit: int = 100
    ) -> Sequence[Event]:
        """Return events with a seq below `before`, newest first."""

    def messages_of(self, deployment: str) -> Sequence[Message]:
        """Return the messages of a deployment, oldest first, with their answers."""

    def claim_messages(
        self, *, owner: str, lease: int, limit: int, kind: str | None = None
    ) -> Sequence[Message]:
        """Lease messages that are due and that nobody holds, on the store's clock; attempts + 1.

        `kind`: no others. A lease further ahead than twice `lease` counts as expired (the clock
        went back).
        """

    def keep_messages(self, keys: Sequence[str], *, owner: str, lease: int) -> None:
        """Begin the lease of messages anew, of those that are still held."""

    def answer(self, key: str, answer: Json, *, owner: str) -> None:
        """Store what came of a message; wakes its deployment. `Conflict` if the lease was lost."""

    def try_again(
        self, key: str, *, owner: str, after: int, why: str, give_up: bool = False
    ) -> None:
        """Give the lease back; due again `after` ms from now on the store's clock."""
