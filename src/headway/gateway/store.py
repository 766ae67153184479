"""What gateways read and hand over; `persistence` and `testing` provide the store.

The document that `Source.document` returns is JSON, so that it can also be kept in a file:

    {"generation": 7, "at": <ms>,
     "keys":     [{"digest": "<hex of the keyed BLAKE2b-256>", "id", "name", "role",
                   "models": [...], "environments": [...], "paths": [...], "limits": {...},
                   "expires_at": <ms or null>}],
     "routes":   [{"id", "model", "environment", "revision", "created_at": <ms>, "declared": {...},
                   "epoch": {...} or null, "guards": [...]}],
     "versions": [{"model", "version", "digest", "state", "target": {...},
                   "prices": [[<since ms>, {"input": <pico-dollars per token>, ...}]]}],
     "aliases":  [{"model", "alias", "version"}],
     "names":    [{"name", "model"}]}

Routes are the current revisions. Versions are those of models that are not archived (a first
version is checked before there is a route), unless retired or yanked and on no arm. Keys are the
unrevoked and unexpired ones. Names are the alternative ids of models.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from headway.auth.limits import Starts
from headway.kernel.canonical import Json
from headway.tracking.measurement import Batch, GatewayRow, Others
from headway.tracking.ports import Gateways, Spending


class Source(Protocol):
    """What gateways read."""

    def generation(self) -> int:
        """Return the number that grows with each change of what gateways read. Cheap."""

    def document(self) -> Mapping[str, Json]:
        """Return everything that a gateway must know, as of one moment."""


class Work(Protocol):
    @property
    def source(self) -> Source: ...
    @property
    def gateways(self) -> Gateways: ...
    @property
    def spending(self) -> Spending: ...

    def now(self) -> int: ...

    def commit(self) -> None: ...


Begin = Callable[[], AbstractContextManager[Work]]


class Scribe(Protocol):
    """Who speaks to the store for gateways: each call is a transaction of its own.

    It raises any `StorageUnavailable` when the store does not answer.
    """

    def enter(self, *, boot: str, host: str, pid: int, at_least: int) -> GatewayRow:
        """Enter a new start of a gateway; its number is higher than every one before."""

    def document(self, *, known: int) -> Mapping[str, Json] | None:
        """Return what gateways read; None if its generation is the one that is known."""

    def flush(self, batch: Batch) -> bool:
        """Take a batch, or return False: it was taken before, or is not the next.

        Raise `NotFound` if the store has forgotten the gateway, `OutcomeUnknown` if it may have
        been taken and may not; after any other error it was not.
        """

    def others(self, spender: str, starts: Starts) -> Others:
        """Return what every process but this one used; see `headway.tracking.ports`."""

    def leave(self, boot: str) -> None:
        """Take a gateway that drained off the list of the living."""
