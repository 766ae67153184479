"""What is done when a version fails a request: once more, somebody else, or the truth. Pure.

    failed ── has the caller seen something, or left? ──yes──> Tell
      │
      ├── may it be better the next time, and is a retry left? ──yes──> Again, after a pause
      ├── is there a fallback, and time left for it? ──yes──> FallBack
      └── Tell

Nobody's failure costs more than `MOST_CALLS` to upstreams, retries and fallback together.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from headway.gateway.exchange import Problem
from headway.tracking.measurement import Outcome

MOST_CALLS: Final = 5
_BACKOFF_SECONDS: Final = 0.2
_LONGEST_PAUSE: Final = 2.0
"""Seconds. Who is told to wait longer tells the caller, who may have better things to do."""
_FALL_BACK_ON: Final = frozenset({Outcome.PROVIDER, Outcome.VERSION, Outcome.GATEWAY})


@dataclass(frozen=True, slots=True)
class Setback:
    """How a version failed a request."""

    problem: Problem
    passing: bool = False
    """It may be better the next time."""
    wait: float | None = None
    """For how many seconds the provider asks to be left alone, if it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How far a request has come when it is failed."""

    open: bool
    """Its caller is there and has seen nothing yet."""
    calls: int
    """To upstreams so far, whichever."""
    retried: int
    """How often the version that failed was asked again."""
    retries: int
    """How often it may be; 0 for what runs here."""
    budget: bool
    """The version has a retry saved up."""
    client_retries: bool
    """It is a retry of the caller's own client, which goes on by itself."""
    age: float
    """Seconds since the caller asked."""
    total: float
    """Seconds that the version may take, from when the caller asked."""
    fallback_total: float | None
    """The same of the fallback; None: there is none, or it failed already."""


@dataclass(frozen=True, slots=True)
class Again:
    """Ask the same version once more."""

    pause: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class FallBack:
    """Ask the fallback."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the caller what the problem is."""


Step: TypeAlias = Again | FallBack | Tell


def next_step(course: Course, setback: Setback, luck: float) -> Step:
    """Return what is done; `luck` from 0 to 1 keeps those apart that failed at the same time."""
    if not course.open or course.calls >= MOST_CALLS:
        return Tell()
    if setback.passing and course.retried < course.retries and not course.client_retries:
        pause = _pause(course.retried, setback.wait, luck)
        if pause <= _LONGEST_PAUSE and course.age + pause < course.total and course.budget:
            return Again(pause)
    if setback.problem.outcome in _FALL_BACK_ON and course.fallback_total is not None:
        return FallBack() if course.age < course.fallback_total else Tell()
    return Tell()


def _pause(retried: int, wait: float | None, luck: float) -> float:
    if wait is not None:
        return wait
    doubled: float = _BACKOFF_SECONDS * 2**retried
    return min(_LONGEST_PAUSE, doubled) * (0.5 + luck / 2)
