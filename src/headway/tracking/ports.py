"""What tracking needs from the outside; `persistence` and `testing` provide it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from headway.auth.limits import Starts
from headway.outbox.ports import Outbox
from headway.routing.ports import Routes
from headway.tracking.histogram import TimingOf
from headway.tracking.measurement import (
    Batch,
    CostOf,
    Count,
    FirstEvent,
    GatewayRow,
    KeyCount,
    Measurement,
    Others,
    Score,
    ScoreMean,
)
from headway.tracking.price import Timeline


class Gateways(Protocol):
    """The gateways that there are, and what they hand over."""

    def start(self, *, boot: str, host: str, pid: int, at_least: int = 0) -> GatewayRow:
        """Enter a new start of a gateway; its number is higher than every one before."""

    def flush(self, batch: Batch) -> bool:
        """Take a batch: compare-and-set of `seq`, then add everything up.

        False: this batch was taken already (its number is not the next), nothing was changed.
        """

    def living(self, *, within: int) -> Sequence[GatewayRow]:
        """Return those seen within that many ms on the store's clock, by number."""

    def stop(self, boot: str) -> None:
        """Take a gateway that drained off the list of the living."""


class Measurements(Protocol):
    def read(
        self,
        *,
        model: str,
        environment: str,
        since: int,
        until: int,
        version: str | None = None,
    ) -> Sequence[Measurement]:
        """Return merged sums per (version, arm, minute), by minute."""

    def totals(self) -> Sequence[tuple[str, str, str, Mapping[str, int], Mapping[str, int]]]:
        """Return (model, environment, version, outcomes, tokens) since ever: never falling."""

    def timings(self) -> Mapping[TimingOf, Mapping[str, int]]:
        """Return since ever how long answers took (`histogram`): never falling."""

    def costs(self) -> Mapping[CostOf, int]:
        """Return since ever what versions cost, by the prices of their time: never falling."""

    def key_counts(self) -> Mapping[KeyCount, int]:
        """Return since ever what keys did: never falling."""

    def unrouted(self) -> Mapping[str, int]:
        """Return since ever, by outcome, requests that came to no version: never falling."""

    def merge(self, *, before: int, limit: int) -> int:
        """Merge the appended rows of minutes before that time into one each; return how many."""

    def prune(self, *, before: int, limit: int) -> int:
        """Delete minutes before that time; totals keep them. Return how many rows went."""


class Spending(Protocol):
    def others(self, spender: str, starts: Starts) -> Others:
        """Return what every process but this one used in those windows."""

    def prune(self, *, before: int, limit: int) -> int:
        """Delete windows of a minute that began before that time, and longer ones that ended.

        Return how many rows went.
        """


class Evidence(Protocol):
    def add(self, deployment: str, counts: Sequence[Count], firsts: Sequence[FirstEvent]) -> None:
        """Add evidence up; of the firsts only those whose bit was new."""

    def of(self, deployment: str) -> Sequence[Count]:
        """Return all evidence of a deployment in a fixed order."""

    def fold(self, deployment: str, *, due_before: int, epoch: int) -> None:
        """Fold rows due before that time into `due = 0`, per (epoch, arm, metric, bin, late)."""

    def frozen(self, deployment: str) -> bool:
        """Say whether it had too many units: from then on none of their events counts."""

    def forget_units(self, deployment: str) -> None:
        """Take no further units of a deployment that has ended; those known go by and by."""

    def sweep_units(self, *, limit: int) -> int:
        """Delete units of deployments that have ended; return how many."""


class Scores(Protocol):
    def add(self, scores: Sequence[Score]) -> Sequence[bool]:
        """Store scores; say of each whether it was the first of its request id and name."""

    def delays(self, *, model: str, environment: str, name: str, since: int) -> Sequence[int]:
        """Return the ages (ms) at which scores of that name came since then (10,000 at most)."""

    def means(self, *, model: str, environment: str, since: int) -> Sequence[ScoreMean]:
        """Return count and mean per version and name since then."""

    def prune(self, *, before: int, limit: int) -> int:
        """Delete scores given before that time; return how many."""


class Prices(Protocol):
    def of(self, model: str, versions: Sequence[str]) -> Mapping[str, Timeline]:
        """Return the prices of versions of a registered model, by number as written."""


class Work(Protocol):
    @property
    def gateways(self) -> Gateways: ...
    @property
    def measurements(self) -> Measurements: ...
    @property
    def evidence(self) -> Evidence: ...
    @property
    def scores(self) -> Scores: ...
    @property
    def spending(self) -> Spending: ...
    @property
    def prices(self) -> Prices: ...
    @property
    def routes(self) -> Routes: ...

    def commit(self) -> None: ...


Begin = Callable[[], AbstractContextManager[Work]]


class ServedWork(Protocol):
    """One transaction of who watches what versions are served by."""

    @property
    def measurements(self) -> Measurements: ...
    @property
    def routes(self) -> Routes: ...
    @property
    def outbox(self) -> Outbox: ...

    def commit(self) -> None: ...


BeginServed = Callable[[], AbstractContextManager[ServedWork]]
