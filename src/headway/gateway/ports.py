"""What the gateway needs from the outside; `persistence`, `adapters` and `testing` provide it.

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
from dataclasses import dataclass
from typing import Protocol

from headway.gateway.exchange import Prepared, Release
from headway.kernel.canonical import Json
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


@dataclass(frozen=True, slots=True)
class Around:
    """What a provider finds on this machine when it prepares a version."""

    secret: Callable[[str, str], str]
    """Takes a credential's name and the host that it would go to; raises `Refused`."""
    runner: str = ""
    """The path of the runner's unix socket."""


class Provider(Protocol):
    """How versions of one kind are called; the plug-ins `headway.providers` are such."""

    @property
    def name(self) -> str: ...

    def prepare(self, release: Release, around: Around) -> Prepared:
        """Make ready what can be before a request comes.

        Any `HeadwayError` makes the version one that cannot be called, and says why.
        """
