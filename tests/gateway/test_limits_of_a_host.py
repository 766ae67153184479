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
from headway.gateway.spending import Admission, NoSisters, Sisters, Spending
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

    def __init__(self, host: Host, boot: str, sisters: Sisters | None = None) -> None:
        self.views: list[View] = []
        accumulator = Accumulator()
        self.spending = Spending(accumulator, lambda: host.now, sisters or NoSisters())
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


class Memory:
    """What the gateways of one host share."""

    def __init__(self) -> None:
        self.n: dict[str, dict[str, int]] = {}
        self.dead: set[str] = set()

    def of(self, name: str) -> "InMemory":
        self.n[name] = {}
        return InMemory(self, name)


class InMemory:
    def __init__(self, memory: Memory, name: str) -> None:
        self._memory = memory
        self._name = name

    def tell(self, key_id: str, n: int) -> None:
        self._memory.n[self._name][key_id] = n

    def under_way(self, key_id: str) -> int:
        others = (n for name, n in self._memory.n.items() if name != self._name)
        return sum(n.get(key_id, 0) for n in others)

    def forget_the_dead(self) -> bool:
        found = self._memory.dead & self._memory.n.keys()
        for name in found:
            del self._memory.n[name]
        return bool(found)


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


def test_requests_at_a_time_are_added_up_over_sisters_at_once(host: MakeHost) -> None:
    one_host, memory = host(concurrent=3), Memory()
    a, b = Process(one_host, "a", memory.of("a")), Process(one_host, "b", memory.of("b"))
    held = [a.ask(), a.ask()]
    assert [b.ask().problem is None for _ in range(2)] == [True, False]

    for admission in held:
        admission.ended()
    assert [b.ask().problem is None for _ in range(3)] == [True, True, False]


def test_a_caller_who_asks_one_thing_after_the_other_is_never_refused(host: MakeHost) -> None:
    one_host, memory = host(concurrent=1), Memory()
    both = [Process(one_host, name, memory.of(name)) for name in ("a", "b")]

    for i in range(20):
        admission = both[i % 2].ask()
        assert admission.problem is None
        one_host.second(*both)  # while it is under way: each flushes, and hears of the other
        admission.ended()


def test_nobody_is_refused_for_what_a_dead_gateway_left(host: MakeHost) -> None:
    one_host, memory = host(concurrent=2), Memory()
    a, b = Process(one_host, "a", memory.of("a")), Process(one_host, "b", memory.of("b"))
    a.ask()
    a.ask()
    assert b.ask().problem is not None

    memory.dead.add("a")
    assert [b.ask().problem is None for _ in range(3)] == [True, True, False]


def test_requests_at_a_time_at_another_host_are_not_counted(host: MakeHost) -> None:
    one_host = host(concurrent=1)
    here, there = Process(one_host, "here"), Process(one_host, "there")
    assert there.ask().problem is None
    one_host.second(here, there)
    one_host.second(here, there)

    assert here.ask().problem is None


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
