"""The courier: carries out what waits in the outbox, outside of any transaction.

Any number of couriers may run anywhere; a message is leased before it is carried out, and its key
makes a repeat harmless. No message waits for another one: a webhook that hangs must not keep a
restored version from being asked, else a rollback counts as failed that is none. So each is
carried aside, and each kind has places of its own.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from headway.kernel.canonical import Json
from headway.kernel.clock import MINUTE, SECOND
from headway.kernel.errors import Conflict, HeadwayError
from headway.outbox.message import Message
from headway.outbox.ports import Outbox

LEASE: Final = 30 * SECOND
_RENEWED: Final = LEASE // 3
"""After so long the lease of what is still carried begins anew."""
_MOST: Final = 8
"""Messages of one kind that are carried at the same time."""
_FIRST_PAUSE: Final = SECOND
_LONGEST_PAUSE: Final = 10 * MINUTE
_ATTEMPTS: Final = {"webhook": 16}
"""After so many attempts a message is given up; others are tried until their asker gives up."""


class Work(Protocol):
    @property
    def outbox(self) -> Outbox: ...

    def now(self) -> int: ...

    def commit(self) -> None: ...


Begin = Callable[[], AbstractContextManager[Work]]
Carrier = Callable[[Message], Json]
"""Carries one kind of message out and returns what came of it; raises to be asked again."""


@dataclass(frozen=True, slots=True)
class _Carried:
    kind: str
    leased_at: int


def at_once(do: Callable[[], None]) -> None:
    do()


@dataclass(frozen=True, slots=True)
class Courier:
    owner: str
    begin: Begin
    carriers: Mapping[str, Carrier]
    """By the kind of message; others are left to other couriers."""
    aside: Callable[[Callable[[], None]], None] = at_once
    """Has a thread do it. Without one a message waits for the one before it."""
    _carried: dict[str, _Carried] = field(default_factory=dict)
    """By key: what is on its way."""

    def tick(self) -> int:
        """Take what is due and have it carried out; return how many messages that are."""
        carried = dict(self._carried)  # whoever comes back meanwhile leaves a place free too late
        with self.begin() as work:
            now = work.now()
            old = [key for key, one in carried.items() if now >= one.leased_at + _RENEWED]
            if old:
                work.outbox.keep_messages(old, owner=self.owner, lease=LEASE)
            claimed = [
                message
                for kind in self.carriers
                if (free := _MOST - sum(one.kind == kind for one in carried.values()))
                for message in work.outbox.claim_messages(
                    owner=self.owner, lease=LEASE, kind=kind, limit=free
                )
            ]
            work.commit()
        for key in old:
            if key in self._carried:
                self._carried[key] = _Carried(carried[key].kind, now)
        for message in claimed:
            self._carried[message.key] = _Carried(message.kind, now)
        for message in claimed:
            self.aside(partial(self._carry, message))
        return len(claimed)

    def _carry(self, message: Message) -> None:
        try:
            answer = self.carriers[message.kind](message)
        except HeadwayError as error:
            self._put_back(message, str(error))
        except Exception as error:
            self._put_back(message, type(error).__name__)
            raise
        else:
            # Too late: the lease ran out, and somebody else carries it.
            with suppress(Conflict), self.begin() as work:
                work.outbox.answer(message.key, answer, owner=self.owner)
                work.commit()
        finally:
            self._carried.pop(message.key, None)

    def _put_back(self, message: Message, why: str) -> None:
        most = _ATTEMPTS.get(message.kind)
        pause = min(_FIRST_PAUSE * 2 ** min(message.attempts - 1, 16), _LONGEST_PAUSE)
        with suppress(Conflict), self.begin() as work:
            work.outbox.try_again(
                message.key,
                owner=self.owner,
                after=pause,
                why=why,
                give_up=most is not None and message.attempts >= most,
            )
            work.commit()
