"""A flush whose COMMIT was never answered is counted once, and nothing of it is lost."""

import select
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from headway.gateway.accumulator import Accumulator
from headway.gateway.exchange import unusable
from headway.gateway.flush import Reporter
from headway.gateway.scribe import InTransactions
from headway.gateway.view import Compiler
from headway.kernel.errors import OutcomeUnknown
from headway.persistence import work as sql
from headway.persistence.engine import Database, open_database
from headway.persistence.schema import upgrade
from headway.routing.allocation import lay_out
from headway.routing.assignment import Assignment
from headway.routing.route import Ages, Arm, Epoch, Role, Route, Rule
from headway.testing.postgres import Postgres
from headway.tracking.measurement import Outcome
from headway.tracking.stamp import SINGLE

AT = 1_790_000_000_000
ARMS = (
    Arm("stable", "1.0.0", "sha256:aa", Role.STABLE),
    Arm("candidate", "1.1.0", "sha256:bb", Role.CANDIDATE),
)
ROUTE = Route(
    model="bot",
    environment="production",
    rules=(Rule(ARMS, lay_out({"stable": 5_000, "candidate": 5_000})),),
    salt="dep_1",
    revision=1,
    id=1,
    epoch=Epoch(
        deployment="dep_1",
        step=1,
        alpha=0.01,
        first_gateway=1,
        ages={"errors": Ages(2_000, 9_000)},
    ),
)
Begin = Callable[[], AbstractContextManager[sql.SqlWork]]


class Wire:
    """Stands between a client and PostgreSQL on unix sockets, and may cut what it carries."""

    COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"

    def __init__(self, server: Path, folder: Path) -> None:
        self.armed = False
        self.cuts = 0
        self._server = server / ".s.PGSQL.5432"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        Thread(target=self._accept, name="wire", daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                Thread(target=self._carry, args=(client,), name="carry", daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(str(self._server))
            other = {client: server, server: client}
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    if not (data := ready.recv(1 << 16)):
                        return
                    if self.armed and ready is server and self.COMMITTED in data:
                        self.armed, self.cuts = False, self.cuts + 1
                        return
                    other[ready].sendall(data)


class Cut:
    """Loses the answer to the next COMMIT on SQLite, where no wire can be cut."""

    def __init__(self, database: Database) -> None:
        self.armed = False
        self.cuts = 0
        self._begin: Begin = partial(sql.begin, database)

    @contextmanager
    def begin(self) -> Iterator[Any]:
        with self._begin() as work:

            def commit() -> None:
                work.commit()
                if self.armed:
                    self.armed, self.cuts = False, self.cuts + 1
                    raise OutcomeUnknown("the answer was lost")

            yield SimpleNamespace(gateways=work.gateways, source=work.source, commit=commit)


class Gateway:
    """A real accumulator and reporter; time passes when a test says so."""

    def __init__(self, begin: Any, look: Begin, boot: str = "gw_1") -> None:  # noqa: ANN401 - a port of the gateway
        self.accumulator = Accumulator()
        self._now = 0.0
        self.reporter = Reporter(
            scribe=InTransactions(begin, look),
            accumulator=self.accumulator,
            compiler=Compiler(lambda _: unusable(""), b"k" * 16),
            deliver=lambda _: None,
            applied=lambda: 0,
            hear=lambda _: None,
            boot=boot,
            host="here",
            pid=1,
            clock=lambda: AT,
            log=lambda *_: None,
        )
        self.reporter.start()

    def answer(self, *, sticky: int = 0) -> None:
        """Answer a request on each arm; the candidate fails."""
        for index, outcome in enumerate((Outcome.OK, Outcome.PROVIDER)):
            single = not sticky
            assignment = Assignment(ROUTE, 0, index, ARMS[index], "u", single=single, bucket=1)
            flags = SINGLE if single else 0
            flight = self.accumulator.begin(assignment, unit=sticky, flags=flags, at=AT)
            self.accumulator.sent(flight)
            self.accumulator.record(flight, outcome, latency_ms=5)

    def second(self) -> None:
        self._now += 1
        self.reporter.step(self._now)


@pytest.fixture(params=["sqlite", "postgres"])
def lossy(
    request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path
) -> Iterator[tuple[Cut | Wire, Any, Begin]]:
    """Give what loses an answer, a `begin` that it meets, and one that it does not."""
    if request.param == "sqlite":
        shutil.copyfile(sqlite_template, tmp_path / "headway.db")
        with open_database(f"sqlite:///{tmp_path}/headway.db") as database:
            cut = Cut(database)
            yield cut, cut.begin, partial(sql.begin, database, read_only=True)
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    url = server.create_database("unanswered")
    with tempfile.TemporaryDirectory(prefix="hww") as folder, open_database(url) as database:
        upgrade(database)
        wire = Wire(server.folder, Path(folder))
        with open_database(url.replace(str(server.folder), folder)) as cuttable:
            yield wire, partial(sql.begin, cuttable), partial(sql.begin, database, read_only=True)
        wire.close()
    server.drop_database("unanswered")


def test_whatever_answers_are_lost_the_sums_are_those_of_the_requests(
    lossy: tuple[Cut | Wire, Any, Begin],
) -> None:
    loss, begin, look = lossy
    gateway = Gateway(begin, look)
    for second in range(1, 13):
        gateway.answer()
        gateway.answer(sticky=second)
        loss.armed = second % 3 == 0
        gateway.second()
    gateway.second()

    assert loss.cuts == 4
    with look() as work:
        sums = {version: outcomes for _, _, version, outcomes, _ in work.measurements.totals()}
        evidence: dict[tuple[str, str], int] = {}
        for one in work.evidence.of("dep_1"):
            key = (one.arm, one.metric)
            evidence[key] = evidence.get(key, 0) + one.n
        (row,) = work.gateways.living(within=60_000)
    assert sums == {"1.0.0": {"ok": 24}, "1.1.0": {"provider": 24}}
    # A sticky unit was seen on both arms: the first time it was measured is the one that counts.
    assert evidence["candidate", "errors"] == 24
    assert evidence["stable", "measured"] + evidence["candidate", "measured"] == 12 * 3
    assert row.seq == 13 - 4  # four seconds went to repeats
