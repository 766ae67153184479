"""The limits of one key on two gateways of one database: exact, but for what is not told yet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import pytest
from tests.conftest import Begin, Work
from tests.persistence.examples import do, key

from headway.auth.limits import Limits
from headway.auth.role import Role
from headway.gateway.accumulator import Accumulator
from headway.gateway.exchange import unusable
from headway.gateway.flush import Reporter
from headway.gateway.scribe import InTransactions
from headway.gateway.spending import Admission, Spending
from headway.gateway.view import Compiler, View
from headway.kernel.clock import MINUTE, SECOND, utc_now
from headway.kernel.errors import StorageUnavailable
from headway.persistence import work as sql
from headway.persistence.engine import Database

LIMIT: Final = 20


class Host:
    """A database that can be gone, and a clock that all gateways of it share."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self.now = utc_now() - utc_now() % MINUTE
        self.gone = False

    @contextmanager
    def begin(self) -> Iterator[Work]:
        if self.gone:
            raise StorageUnavailable("gone")
        with self._begin() as work:
            yield work

    def second(self, *gateways: "Process") -> None:
        """Let a second pass: each gateway settles, and hears of the others."""
        self.now += SECOND
        for gateway in gateways:
            gateway.reporter.step(self.now / SECOND)


class Process:
    """One gateway without its sockets."""

    def __init__(self, host: Host, boot: str) -> None:
        self.views: list[View] = []
        accumulator = Accumulator()
        self.spending = Spending(accumulator, lambda: host.now)
        self.accumulator = accumulator
        self.reporter = Reporter(
            scribe=InTransactions(host.begin, host.begin),
            accumulator=accumulator,
            compiler=Compiler(lambda _: unusable(""), b"k" * 16),
            deliver=self.views.append,
            applied=lambda: self.views[-1].generation if self.views else -1,
            hear=self.spending.told,
            boot=boot,
            host="h",
            pid=1,
            clock=lambda: host.now,
            log=lambda _what, _circumstances: None,
        )
        self.reporter.start()

    def ask(self) -> Admission:
        (entry,) = self.views[-1].keys.values()
        assert entry.caller.limits is not None
        return self.spending.admit(entry.caller, entry.caller.limits)

    def admitted(self, asked: int) -> int:
        """Ask so often at once; return how many were let through, and ended."""
        return sum(_ended(self.ask()) for _ in range(asked))


def _ended(admission: Admission) -> bool:
    if admission.problem is None:
        admission.spent({"input": 3, "output": 2}, None)
    admission.ended()
    return admission.problem is None


MakeHost = Callable[..., Host]


@pytest.fixture
def host(begin: Begin) -> MakeHost:
    def make(**limits: int) -> Host:
        do(begin, lambda work: work.keys.add(key(role=Role.CALLER, limits=Limits(**limits))))
        return Host(begin)

    return make


@pytest.fixture
def begin(database: Database) -> Begin:
    return partial(sql.begin, database)


def test_a_steady_caller_of_two_gateways_gets_its_limit_and_no_more_than_a_second_beyond(
    host: MakeHost,
) -> None:
    one_host = host(requests=LIMIT)
    a, b = Process(one_host, "a"), Process(one_host, "b")
    let_through = 0
    for _ in range(20):  # two requests a second to each
        let_through += a.admitted(2) + b.admitted(2)
        one_host.second(a, b)

    # Each hears at the end of every second; what the other let through in the last is not known.
    assert LIMIT <= let_through <= LIMIT + 2


def test_at_most_every_gateway_lets_the_whole_limit_through(host: MakeHost) -> None:
    one_host = host(requests=LIMIT)
    a, b = Process(one_host, "a"), Process(one_host, "b")
    at_once = a.admitted(100) + b.admitted(100)
    one_host.second(a, b)
    one_host.second(a, b)

    assert at_once == 2 * LIMIT
    assert a.admitted(1) + b.admitted(1) == 0
    one_host.now += MINUTE
    assert a.admitted(1) == 1


def test_nobody_within_his_limit_is_refused_wherever_he_asks(host: MakeHost) -> None:
    one_host = host(requests=LIMIT)
    a, b = Process(one_host, "a"), Process(one_host, "b")

    assert a.admitted(LIMIT - 5) == LIMIT - 5
    one_host.second(a, b)
    one_host.second(a, b)
    assert b.admitted(10) == 5


def test_a_gateway_that_starts_anew_knows_what_was_used(host: MakeHost) -> None:
    one_host = host(requests=LIMIT)
    a = Process(one_host, "a")
    a.admitted(LIMIT)
    one_host.second(a)

    assert Process(one_host, "a again").admitted(1) == 0


def test_tokens_are_added_up_over_the_gateways(host: MakeHost) -> None:
    one_host = host(tokens=11)
    a, b = Process(one_host, "a"), Process(one_host, "b")
    a.admitted(2)
    one_host.second(a, b)
    one_host.second(a, b)

    assert b.admitted(5) == 1  # 10 used, then 15


def test_requests_at_a_time_are_added_up_over_the_living(host: MakeHost) -> None:
    one_host = host(concurrent=3)
    a, b = Process(one_host, "a"), Process(one_host, "b")
    held = [a.ask(), a.ask()]
    one_host.second(a, b)
    one_host.second(a, b)
    assert [b.ask().problem is None for _ in range(2)] == [True, False]

    for admission in held:
        admission.ended()
    one_host.second(a, b)
    one_host.second(a, b)
    assert [b.ask().problem is None for _ in range(3)] == [True, True, False]


def test_without_the_database_own_counts_go_on_and_the_others_stay_as_heard(
    host: MakeHost,
) -> None:
    one_host = host(requests=LIMIT)
    a, b = Process(one_host, "a"), Process(one_host, "b")
    a.admitted(5)
    one_host.second(a, b)
    one_host.second(a, b)
    one_host.gone = True
    b.admitted(10)
    one_host.second(a, b)

    assert b.admitted(100) == LIMIT - 15
    one_host.gone = False
    one_host.second(a, b)
    one_host.second(a, b)
    assert a.admitted(100) == 0


def test_a_flush_whose_outcome_is_unknown_counts_once(host: MakeHost) -> None:
    one_host = host(requests=LIMIT)
    a = Process(one_host, "a")
    real = a.reporter.scribe

    @contextmanager
    def unanswered() -> Iterator[Any]:
        with one_host.begin() as work:
            yield _Unanswered(work)

    a.admitted(5)
    a.reporter.scribe = InTransactions(unanswered, one_host.begin)
    one_host.second(a)
    a.reporter.scribe = real
    one_host.second(a)
    b = Process(one_host, "b")

    assert b.admitted(100) == LIMIT - 5


class _Unanswered:
    """A work whose commit lasts, and is never heard of."""

    def __init__(self, work: Any) -> None:  # noqa: ANN401 - any work
        self._work = work

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the work has
        return getattr(self._work, name)

    def commit(self) -> None:
        self._work.commit()
        raise StorageUnavailable("the connection was lost")
