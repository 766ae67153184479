"""What a plan wants to know of its candidate at one look."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from headway.judge.evidence import QUANTILES
from headway.judge.floor import FLOOR
from headway.judge.limits import Limit
from headway.kernel.canonical import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One metric of `judge.worse`.

    `margin`: how much worse is tolerated, 0.2 = 20 %. `quantiles`: of latency, those that have a
    threshold. `lines`: those among them that were there from the first epoch on, and where (ms).
    """

    metric: str
    margin: float = 0.0
    weight: float = 1.0
    quantiles: tuple[str, ...] = QUANTILES
    lines: tuple[tuple[str, float], ...] = ()

    def document(self) -> dict[str, Json]:
        return {
            "metric": self.metric,
            "margin": self.margin,
            "weight": self.weight,
            "quantiles": list(self.quantiles),
            "lines": [list(line) for line in self.lines],
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        # Canonical JSON writes 2.0 as 2: what is a real number becomes one again.
        return cls(
            metric=document["metric"],
            margin=float(document["margin"]),
            weight=float(document["weight"]),
            quantiles=tuple(document["quantiles"]),
            lines=tuple((quantile, float(at)) for quantile, at in document["lines"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a plan wants to know at this look.

    `factor`: prove "not so many times worse", on `prove` (all judged metrics if empty). `watches`:
    `Verdict.watches` of the look before, else limits begin anew. `stable`: whether the stable
    version has traffic now. `sticky`: whether a unit may come more than once.
    """

    metrics: tuple[Judged, ...]
    alpha: float = 0.01
    factor: float | None = None
    prove: tuple[str, ...] = ()
    floor: float = FLOOR
    limits: tuple[Limit, ...] = ()
    watches: tuple[Json, ...] = ()
    stable: bool = True
    sticky: bool = True

    def document(self) -> dict[str, Json]:
        return {
            "metrics": [judged.document() for judged in self.metrics],
            "alpha": self.alpha,
            "factor": self.factor,
            "prove": list(self.prove),
            "floor": self.floor,
            "limits": [limit.document() for limit in self.limits],
            "watches": list(self.watches),
            "stable": self.stable,
            "sticky": self.sticky,
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        factor = document["factor"]
        return cls(
            metrics=tuple(Judged.read(row) for row in document["metrics"]),
            alpha=float(document["alpha"]),
            factor=None if factor is None else float(factor),
            prove=tuple(document["prove"]),
            floor=float(document["floor"]),
            limits=tuple(Limit.read(row) for row in document["limits"]),
            watches=tuple(document["watches"]),
            stable=document["stable"],
            sticky=document["sticky"],
        )
