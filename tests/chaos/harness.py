"""What must be true after every kill, and who kills."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import sqlalchemy as sa
from tests.chaos.worker import BOOT, BUSY, MODEL, SILENT, age_leases

from headway.deployments.deployment import ACTIVE, Deployment, State, replay
from headway.deployments.plan import Send, Until
from headway.kernel.canonical import Json
from headway.kernel.clock import DAY
from headway.kernel.errors import HeadwayError, NotFound
from headway.outbox.event import Event
from headway.persistence.engine import Database, open_database
from headway.persistence.tables import route_revisions
from headway.persistence.work import SqlWork, begin
from headway.registry.version import SemVer
from headway.routing.route import Route

ENVIRONMENTS: Final = (*BUSY, SILENT)
_ROOT: Final = Path(__file__).parents[2]
PLACES: Final = (
    "before commit",
    "after commit",
    "before routes.add",
    "after routes.add",
    "after snapshots.add",
    "before deployments.save",
    "after deployments.save",
    "after deployments.claim",
    "after deployments.add",
    "before outbox.add",
    "after outbox.add",
    "after rollbacks.add",
    "after gateways.flush",
    "after answer",
)


@dataclass(frozen=True, slots=True)
class Kill:
    """When to pull the plug: at a place, or after so many seconds."""

    at: str = ""
    times: int = 0
    after: float | None = None

    @classmethod
    def anywhere(cls, chance: random.Random) -> "Kill":
        """Return one at a random time, a random statement, or a random place."""
        match chance.randrange(3):
            case 0:
                return cls(after=chance.uniform(0.02, 0.5))
            case 1:
                return cls("statement", chance.randint(1, 700))
            case _:
                return cls(chance.choice(PLACES), chance.randint(1, 4))

    def document(self) -> dict[str, Json]:
        found: dict[str, Json] = {"at": self.at, "times": self.times}
        return found if self.after is None else {**found, "after": self.after}


@dataclass(slots=True)
class Witness:
    """What was seen so far from outside: nothing of it may be taken back."""

    answered: list[list[str]] = field(default_factory=list)
    revisions: dict[str, int] = field(default_factory=dict)
    generation: int = 0


class Worker:
    """The program that is killed; what it tells goes to a witness."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, mutant: str) -> None:
        self._process = process
        self._url = url
        self._mutant = mutant
        self.witness = Witness()
        assert self._read() == ["ready"]

    def live(self, life: str, *, seed: int, kill: Kill = Kill()) -> list[list[str]]:
        """Let a child live; return what it told beside its answers, how it ended as the last."""
        order = {"url": self._url, "life": life, "seed": seed, "mutant": self._mutant}
        line = json.dumps(order | kill.document())
        _pipe(self._process.stdin).write(line + "\n")
        _pipe(self._process.stdin).flush()
        told = []
        while True:
            words = self._read()
            if words[0] == "answered":
                self.witness.answered.append(words[1:])
                continue
            told.append(words)
            if words[0] == "ended":
                return told

    def _read(self) -> list[str]:
        line = _pipe(self._process.stdout).readline()
        assert line, "the worker is gone"
        return line.split()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@contextmanager
def working(url: str, *, mutant: str = "") -> Iterator[Worker]:
    """Start the program on a database; it ends with the block."""
    command = [sys.executable, "-m", "tests.chaos.worker"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
    ) as process:
        try:
            yield Worker(process, url, mutant)
        finally:
            process.kill()


def storm(
    url: str,
    *,
    seed: int,
    kills: int,
    mutant: str = "",
    kill: Callable[[random.Random], Kill] = Kill.anywhere,
) -> list[str]:
    """Kill so many lives one after the other; return the first faults that show, with the kill."""
    chance = random.Random(seed)
    with working(url, mutant=mutant) as worker, open_database(url, pool_size=2) as database:
        told = worker.live("found", seed=seed)
        assert told[-1] == ["ended", "0"], told
        killed = 0
        while killed < kills:
            how = kill(chance)
            told = worker.live("storm", seed=chance.randrange(1 << 30), kill=how)
            killed += told[-1] == ["ended", "-9"]
            found = faults(database, worker.witness)
            found += [" ".join(words) for words in told if words[0] == "failed"]
            if found:
                return [f"kill {killed} of seed {seed}, {how}: {one}" for one in found]
            age_leases(database)  # half a minute later
        told = worker.live("rest", seed=seed)
        found = faults(database, worker.witness)
        found += [f"at rest: {' '.join(words)}" for words in told if words[0] != "ended"]
        return [one for one in found if one != "at rest: at_rest"]


# ── what must be true ────────────────────────────────────────────────────────────────────────


def faults(database: Database, witness: Witness) -> list[str]:
    """Say in what ways the store is not as it must be."""
    with begin(database, read_only=True) as work:
        deployments = work.deployments.list(
            model=MODEL, environment=None, states=(), before=None, limit=10_000
        )
        histories = {
            one.id: work.outbox.history(deployment=one.id, limit=10_000) for one in deployments
        }
        found = [
            *_routes(work, witness, _told_revisions(work, histories)),
            *_rollbacks(work),
            *_acknowledged(work, witness),
            *_flushes(work),
        ]
        for environment in ENVIRONMENTS:
            here = [one for one in deployments if one.environment == environment]
            active = [one.id for one in here if one.state in ACTIVE]
            if len(active) > 1:
                found.append(f"{environment} has several active deployments: {active}")
            if any(one.lease_owner and one.finished for one in here):
                found.append(f"{environment}: an ended deployment is held")
        for one in deployments:
            found += _history(work, one, histories[one.id])
    return found


def _routes(work: SqlWork, witness: Witness, told: Mapping[str, list[int]]) -> Iterator[str]:
    for environment in ENVIRONMENTS:
        routes = sorted(
            work.routes.revisions(MODEL, environment, before=1 << 30, limit=100_000),
            key=lambda route: route.revision,
        )
        numbers = [route.revision for route in routes]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{environment} has gaps in its revisions: {numbers}"
        if sorted(told.get(environment, [])) != numbers:
            yield f"{environment}: the history tells of {told.get(environment)}, not of {numbers}"
        if routes and work.routes.current(MODEL, environment).revision != numbers[-1]:
            yield f"{environment} does not serve its newest revision"
        if len(numbers) < witness.revisions.get(environment, 0):
            yield f"{environment} went back from revision {witness.revisions[environment]}"
        witness.revisions[environment] = len(numbers)
        for route in routes:
            yield from _route(work, route)
    generation = work.routes.generation()
    if generation < witness.generation:
        yield f"the generation went back from {witness.generation} to {generation}"
    witness.generation = generation


def _route(work: SqlWork, route: Route) -> Iterator[str]:
    name = f"{route.name} revision {route.revision}"
    for rule in route.rules:
        shares = [segment.share_bp for segment in rule.segments]
        if sum(shares) != 10_000 or min(shares) <= 0:
            yield f"{name} shares {shares}"
        if not {segment.arm for segment in rule.segments} <= {arm.key for arm in rule.arms}:
            yield f"{name} gives shares to arms that it does not have"
        for arm in rule.arms:
            version = work.versions.find(MODEL, SemVer.parse(arm.version))
            if version is None or version.digest != arm.digest:
                yield f"{name} points at {arm.version}, which is not registered like that"


def _told_revisions(
    work: SqlWork, histories: Mapping[str, Sequence[Event]]
) -> dict[str, list[int]]:
    """Return which revisions of each route the history tells of."""
    told: dict[str, list[int]] = {}
    for events in histories.values():
        for event in events:
            revision = _detail(event).get("route")
            if revision is not None:
                told.setdefault(str(event.environment), []).append(revision)
    for environment in ENVIRONMENTS:
        subject = f"route:{MODEL}/{environment}"
        for event in work.outbox.history(subject=subject, limit=10_000):
            if event.kind == "route.rolled_back":
                told.setdefault(environment, []).append(_detail(event)["published"])
    return told


def _rollbacks(work: SqlWork) -> Iterator[str]:
    rows = work._transaction.rows(sa.select(route_revisions))
    texts = {(row.environment, row.revision): (row.declared, row.digest) for row in rows}
    for environment in ENVIRONMENTS:
        for snapshot in work.snapshots.of(MODEL, environment, before=None, limit=10_000):
            if texts[environment, snapshot.revision][1] != snapshot.digest:
                yield f"{snapshot.id} is not what revision {snapshot.revision} of its route was"
    for one in work.rollbacks.list(model=MODEL, environment=None, before=None, limit=10_000):
        published = texts.get((one.environment, one.published))
        wanted = texts.get((one.environment, one.to_revision))
        if published is None or published != wanted:
            yield f"{one.id} published {published}, and was to go back to {wanted}"


def _acknowledged(work: SqlWork, witness: Witness) -> Iterator[str]:
    for kind, name, *more in witness.answered:
        try:
            match kind:
                case "version":
                    if work.versions.get(MODEL, SemVer.parse(name)).digest != more[0]:
                        yield f"the version {name} is not the one that was answered"
                case "deployment":
                    work.deployments.get(name)
                case "snapshot":
                    work.snapshots.get(name)
                case _:
                    made = work.rollbacks.get(name)
                    if more[0].startswith("snap_"):
                        kept = work.snapshots.get(more[0])
                        got = work.routes.get(MODEL, made.environment, made.published)
                        if got.digest != kept.digest:
                            yield f"{name} is not what its snapshot {kept.id} kept"
        except NotFound:
            yield f"{kind} {name} was answered, and is not stored"


def _flushes(work: SqlWork) -> Iterator[str]:
    taken = sum(row.seq for row in work.gateways.living(within=DAY) if row.boot == BOOT)
    counted = sum(outcomes.get("ok", 0) for *_, outcomes, _ in work.measurements.totals())
    if taken != counted:
        yield f"{taken} flushes were taken, and {counted} answers counted"


def _history(work: SqlWork, deployment: Deployment, events: Sequence[Event]) -> Iterator[str]:
    try:
        said = dict(replay(events))
    except HeadwayError as error:
        yield f"the history of {deployment.id} does not replay: {error}"
        return
    if said != deployment.remembered():
        yield f"{deployment.id} is {deployment.remembered()}, and its history says {said}"
    entered = [_after(event)["entered"] for event in events if event.kind == "deployment.step"]
    if entered != sorted(set(entered)):
        yield f"{deployment.id} entered its steps in the order {entered}"
    ends = [one.kind for one in events if State(_after(one).get("state", "running")) not in ACTIVE]
    if len(ends) > 1:
        yield f"{deployment.id} ended several times: {ends}"
    before = 0
    for event in events:
        now = int(_after(event).get("entered", before))
        step = deployment.plan.steps[before - 1] if before else None
        proven = isinstance(step, Send) and isinstance(step.until, Until)
        if event.kind in {"deployment.step", "deployment.succeeded"} and now > before:
            if proven and event.actor == "headway" and not _evidence(work, deployment.id):
                yield f"{deployment.id} left {step} without any evidence: {event.why}"
            before = now


def _evidence(work: SqlWork, deployment: str) -> bool:
    """Say whether both arms were measured at all."""
    arms = {one.arm for one in work.evidence.of(deployment) if one.metric == "measured" and one.n}
    return arms == {"candidate", "stable"}


def _detail(event: Event) -> Mapping[str, Any]:
    return event.detail if isinstance(event.detail, Mapping) else {}


def _after(event: Event) -> Mapping[str, Any]:
    after: Mapping[str, Any] = _detail(event).get("after") or {}
    return after
