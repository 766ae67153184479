"""The answer that a create was given, kept so that a repeat is given the very same."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from headway.kernel.clock import DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Who asked for what under which Idempotency-Key; unique."""

    key_id: str
    method: str
    path: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    scope: Scope
    digest: str
    """SHA-256 of the request's body, 64 hex digits: another body is another wish."""
    status: int
    headers: Mapping[str, str]
    body: bytes
    created_at: int
    """Milliseconds UTC; kept for 24 hours."""


KEPT: Final = DAY


class Answers(Protocol):
    def find(self, scope: Scope) -> Answer | None:
        """Return the answer that was kept, or None."""

    def put(self, answer: Answer) -> None:
        """Keep it, in place of one of the same scope that is older than `KEPT`.

        `Conflict` if the scope has an answer that is younger.
        """

    def prune(self, *, before: int, limit: int) -> int:
        """Delete answers given before that time (ms); return how many."""


class Work(Protocol):
    """One transaction. Leaving it without `commit` undoes everything."""

    @property
    def idempotency(self) -> Answers: ...

    def commit(self) -> None: ...


Begin = Callable[[], AbstractContextManager[Work]]
