"""One transaction for a whole request, where the request asks for it.

A service opens its transaction, commits it and returns; only then is the answer known. Two wishes
need the answer while the transaction is still open:

- `Idempotency-Key`: the answer is stored in the very transaction of its effect, so that a repeat
  finds both or neither;
- `?dry_run=true`: everything happens, the answer is read from it, and then it is undone.

And a request that only reads must never wait for a writer: `only_reading` lets it see one moment.

So services are given a `Begin` that is wrapped in `Joined`. Outside of such a request it is the
Begin that it wraps. Inside one, the first transaction that is committed stays open, every later
one of the request joins it, and the request decides at its end what becomes of it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from headway.kernel.errors import HeadwayError


class _Work(Protocol):
    def commit(self) -> None: ...


W = TypeVar("W", bound=_Work)


class Joined(Generic[W]):
    """A `Begin` for services, whose transactions become one where a request asks for it."""

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[W]],
        look: Callable[[], AbstractContextManager[W]] | None = None,
    ) -> None:
        """`look` opens a transaction that only reads; None: `begin` does for both."""
        self._begin = begin
        self._look = look or begin

    def __call__(self) -> AbstractContextManager[W]:
        if _reading.get():
            return self._look()
        if (whole := _current.get()) is not None:
            return whole.join(self._begin)
        attempt = _attempt.get()
        return self._begin() if attempt is None else attempt.watch(self._begin)


class Whole:
    """The transaction of one request. Leaving it without `commit` undoes everything."""

    def __init__(self) -> None:
        self._work: Any = None
        self._open: AbstractContextManager[Any] | None = None

    @contextmanager
    def join(self, begin: Callable[[], AbstractContextManager[W]]) -> Iterator[W]:
        """Lend out the open transaction, or open one and keep it open once it is committed."""
        if self._open is not None:
            yield cast("W", _Lent(self._work))
            return
        opened = begin()
        work = opened.__enter__()
        lent = _Lent(work)
        try:
            yield cast("W", lent)
        except BaseException:
            if not opened.__exit__(*sys.exc_info()):
                raise
        else:
            if lent.committed:
                self._work, self._open = work, opened
            else:
                opened.__exit__(None, None, None)

    def commit(self) -> None:
        """Make it last, if anything was committed."""
        if self._open is not None:
            self._work.commit()

    def close(self) -> None:
        """Undo what was not committed."""
        if (opened := self._open) is not None:
            self._work = self._open = None
            opened.__exit__(None, None, None)


class Attempt:
    """One attempt at a request of several transactions; says whether any was committed."""

    def __init__(self) -> None:
        self.committed = False

    @contextmanager
    def watch(self, begin: Callable[[], AbstractContextManager[W]]) -> Iterator[W]:
        with begin() as work:
            yield cast("W", _Watched(work, self))


@contextmanager
def attempt() -> Iterator[Attempt]:
    """Watch the transactions of this block that are neither joined nor only read."""
    found = Attempt()
    token = _attempt.set(found)
    try:
        yield found
    finally:
        _attempt.reset(token)


@contextmanager
def only_reading(*, wanted: bool = True) -> Iterator[None]:
    """Let every transaction of a `Joined` Begin in this block only read."""
    token = _reading.set(wanted)
    try:
        yield
    finally:
        _reading.reset(token)


@contextmanager
def whole_request() -> Iterator[Whole]:
    """Let every transaction of a `Joined` Begin in this block be one."""
    if _current.get() is not None:
        raise HeadwayError("a request has one transaction at most")
    whole = Whole()
    token = _current.set(whole)
    try:
        yield whole
    finally:
        _current.reset(token)
        whole.close()


_reading: Final[ContextVar[bool]] = ContextVar("headway.web.reading", default=False)
_attempt: Final[ContextVar[Attempt | None]] = ContextVar("headway.web.attempt", default=None)
_current: Final[ContextVar[Whole | None]] = ContextVar("headway.web.transaction", default=None)


class _Lent:
    """A work whose `commit` is only noted."""

    def __init__(self, work: Any) -> None:  # noqa: ANN401 - any work: it is passed through
        self._work = work
        self.committed = False

    def commit(self) -> None:
        self.committed = True

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any repository of any work
        return getattr(self._work, name)


class _Watched:
    """A work whose `commit` is done, and noted."""

    def __init__(self, work: Any, attempt: Attempt) -> None:  # noqa: ANN401 - likewise
        self._work = work
        self._attempt = attempt

    def commit(self) -> None:
        self._work.commit()
        self._attempt.committed = True

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - likewise
        return getattr(self._work, name)
