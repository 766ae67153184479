"""The courier: carries out what waits in the outbox, outside of any transaction.

Any number of couriers may run anywhere; a message is leased before it is carried out, and its key
makes a repeat harmless.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from headway.kernel.canonical import Json
from headway.kernel.clock import MINUTE, SECOND
from headway.kernel.errors import Conflict, HeadwayError
from headway.outbox.message import Message
from headway.outbox.ports import Outbox

LEASE: Final = 30 * SECOND
_MOST: Final = 8
_FIRST_PAUSE: Final = SECOND
_LONGEST_PAUSE: Final = 10 * MINUTE
_ATTEMPTS: Final = {"webhook": 16}
"""After so many attempts a message is given up; others are tried until their asker gives up."""


class Work(Protocol):
    @property
    def outbox(self) -> Outbox: ...

    def commit(self) -> None: ...


Begin = Callable[[], AbstractContextManager[Work]]
Carrier = Callable[[Message], Json]
"""Carries one kind of message out and returns what came of it; raises to be asked again."""


@dataclass(frozen=True, slots=True)
class Courier:
    owner: str
    begin: Begin
    carriers: Mapping[str, Carrier]
    """By the kind of message."""

    def tick(self) -> int:
        """Carry out what is due; return how many messages were answered."""
        with self.begin() as work:
            claimed = work.outbox.claim_messages(owner=self.owner, lease=LEASE, limit=_MOST)
            work.commit()
        return sum(self._carry(message) for message in claimed)

    def _carry(self, message: Message) -> bool:
        carrier = self.carriers.get(message.kind, _nobody)
        try:
            answer = carrier(message)
        except HeadwayError as error:
            return self._put_back(message, str(error))
        try:
            with self.begin() as work:
                work.outbox.answer(message.key, answer, owner=self.owner)
                work.commit()
        except Conflict:  # the lease ran out, and somebody else carries it
            return False
        return True

    def _put_back(self, message: Message, why: str) -> bool:
        most = _ATTEMPTS.get(message.kind)
        pause = min(_FIRST_PAUSE * 2 ** min(message.attempts - 1, 16), _LONGEST_PAUSE)
        try:
            with self.begin() as work:
                work.outbox.try_again(
                    message.key,
                    owner=self.owner,
                    after=pause,
                    why=why,
                    give_up=most is not None and message.attempts >= most,
                )
                work.commit()
        except Conflict:
            pass
        return False


def _nobody(message: Message) -> Json:
    raise HeadwayError(f"nobody here carries messages of the kind {message.kind!r}")
