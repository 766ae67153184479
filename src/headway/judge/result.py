"""What one metric says: E, E', F, the interval, and what they were counted from."""

from dataclasses import dataclass
from enum import StrEnum
from math import exp
from typing import Final

from headway.judge.evidence import Kind, kind_of
from headway.kernel.canonical import Json

_BOUND: Final = 690.0


def bounded(logarithm: float) -> float:
    """Return e^x, at most e^690: a float ends at e^709, and JSON knows no infinity."""
    return exp(min(logarithm, _BOUND))


class Proof(StrEnum):
    """What proved "not so many times worse"."""

    RATIO = "ratio"
    """Compared with the stable version."""
    FLOOR = "floor"
    """By itself: its rate is low enough, whatever the stable version's is."""


def counted(metric: str, bad: float, n: int) -> str:
    """Say how many bad events there were: "3 of 1,200".

    One slow answer passes several thresholds, so of a magnitude there may be more than answers.
    """
    if kind_of(metric) is Kind.MAGNITUDE:
        return f"{bad:,.0f} thresholds passed in {n:,}"
    return f"{bad:g} of {n:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one metric says.

    Logarithms of E ("worse"), of E' and of F ("not so many times worse", None when not asked), the
    interval of the ratio (upper end None: open), and the counts: bad events of the candidate and
    of the stable version and their first measured units, as of now; for the floor `n` units of
    the candidate and `x` bad ones, older than L. For latency the bad events are those beyond each
    threshold added up, and the ratio is that of slow answers, the margin taken off.
    """

    metric: str
    weight: float
    log_e: float
    log_e_not: float | None
    log_floor: float | None
    interval: tuple[float, float | None]
    candidate_bad: float
    stable_bad: float
    candidate_n: int
    stable_n: int
    n: int
    x: float
    factor: float | None
    """r1*: the factor as units see it."""
    proved_by: Proof | None
    note: str = ""
    """Why this metric is kept from a proof, if it is."""

    @property
    def e(self) -> float:
        return bounded(self.log_e)

    @property
    def e_not(self) -> float | None:
        return None if self.log_e_not is None else bounded(self.log_e_not)

    @property
    def f(self) -> float | None:
        return None if self.log_floor is None else bounded(self.log_floor)

    def document(self) -> dict[str, Json]:
        return {
            "metric": self.metric,
            "weight": self.weight,
            "e": self.e,
            "log_e": self.log_e,
            "e_not": self.e_not,
            "log_e_not": self.log_e_not,
            "floor": self.f,
            "log_floor": self.log_floor,
            "interval": list(self.interval),
            "c": self.candidate_bad,
            "s": self.stable_bad,
            "candidate_n": self.candidate_n,
            "stable_n": self.stable_n,
            "n": self.n,
            "x": self.x,
            "factor": self.factor,
            "proved_by": self.proved_by,
            "note": self.note,
        }
