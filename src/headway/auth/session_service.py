"""Sessions of the dashboard: begin one, know whose it is, end it."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from headway.auth.key import Digester
from headway.auth.policy import Caller
from headway.auth.ports import BeginSession
from headway.auth.session import Session
from headway.kernel.clock import MINUTE, Clock
from headway.kernel.errors import NotFound, Unauthenticated

_BYTES: Final = 32
_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{43}\Z")


def _by_chance() -> str:
    return secrets.token_urlsafe(_BYTES)


@dataclass(frozen=True, slots=True)
class SessionService:
    """The value of a cookie is 256 bits of chance; what is kept is its digest."""

    begin: BeginSession
    clock: Clock
    digest: Digester
    """Keyed with a sub-key of its own: no digest of an API key is ever one of a session."""
    generate: Callable[[], str] = _by_chance

    def open(self, by: Caller, *, instead_of: str | None = None) -> str:
        """Begin a session of the caller's key and return its value, always a new one.

        `instead_of`: the value that the browser held until now; it is worth nothing afterwards.
        """
        value, now = self.generate(), self.clock()
        session = Session(digest=self._digest(value), key_id=by.id, created_at=now, seen_at=now)
        with self.begin() as work:
            if instead_of is not None and _VALUE.match(instead_of):
                work.sessions.revoke(self._digest(instead_of), now)
            work.sessions.add(session)
            work.commit()
        return value

    def authenticate(self, value: str) -> Caller:
        """Return whose session it is, or raise `Unauthenticated`: it ended, or its key did."""
        now = self.clock()
        ended = Unauthenticated("the session has ended: log in again")
        if not _VALUE.match(value):
            raise ended
        with self.begin() as work:
            session = work.sessions.find(self._digest(value))
            if session is None or not session.works_at(now):
                raise ended
            try:
                key = work.keys.get(session.key_id)
            except NotFound:
                raise ended from None
        if not key.works_at(now):
            raise ended
        return key.caller()

    def used(self, value: str) -> None:
        """Note that somebody used it just now: the time of being idle begins anew."""
        now = self.clock()
        digest = self._digest(value)
        with self.begin() as work:
            session = work.sessions.find(digest)
            if session is None or now < session.seen_at + MINUTE:
                return
            work.sessions.seen(digest, now)
            work.commit()

    def close(self, value: str) -> None:
        """End it; again is harmless."""
        with self.begin() as work:
            work.sessions.revoke(self._digest(value), self.clock())
            work.commit()

    def token(self, value: str) -> str:
        """Return what a form of this session must carry: only our own pages know it."""
        return self.digest(f"token {value}")

    def _digest(self, value: str) -> str:
        return self.digest(f"session {value}")
