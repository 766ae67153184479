"""What the registry needs from the outside; `persistence` and `testing` provide it.

Every repository belongs to one transaction. Names are found without regard to case and come back
as they were registered. A row is saved only by who read its present revision: `save` raises
`Conflict` if the stored revision is not the one in the value, and returns the value with
`revision + 1`. What gateways read (models, versions, aliases) raises the generation when it is
added or saved.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

from headway.artifacts.artifact import Artifact
from headway.outbox.event import Event
from headway.registry.model import Alias, AliasChange, Model, State, Version
from headway.registry.requirement import Requirement
from headway.registry.signature import Description
from headway.registry.version import SemVer

T = TypeVar("T")

ModelOrder: TypeAlias = Literal["name", "-name", "created", "-created"]
VersionOrder: TypeAlias = Literal["precedence", "-precedence", "created", "-created"]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, and the cursor of the next one (None: this was the last)."""

    items: tuple[T, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class ModelQuery:
    """Which models, in which order, from where on.

    `tag`: a key, or key and value, that the model has. `q`: words, each of which (without regard
    to case) is part of the name, the description or an alternative id. `after`: a cursor.
    """

    archived: bool | None = False
    tag: tuple[str, str | None] | None = None
    q: str = ""
    order: ModelOrder = "name"
    limit: int = 100
    after: str | None = None


@dataclass(frozen=True, slots=True)
class VersionQuery:
    """Which versions of a model, in which order, from where on.

    `requirement`: only numbers that it allows; a store may filter while it walks its index.
    `q`: words, each of which is part of the number, the description or a tag.
    """

    model: str
    state: State | None = None
    tag: tuple[str, str | None] | None = None
    requirement: Requirement | None = None
    q: str = ""
    order: VersionOrder = "-precedence"
    limit: int = 100
    after: str | None = None


class Models(Protocol):
    def add(self, model: Model) -> Model:
        """Store a new one and return it with revision 1.

        Raise `Conflict` if its name or one of its `alternative_ids` is, without regard to case,
        the name or an alternative id of another model.
        """

    def get(self, name: str) -> Model:
        """Return the model of that name (not of that alternative id), or raise `NotFound`."""

    def save(self, model: Model) -> Model:
        """Write description, tags, alternative ids, archived, updated_at; see the module."""

    def page(self, query: ModelQuery) -> Page[Model]:
        """List; raise `Invalid` at `/cursor` for a cursor that is not of this order.

        Pages are stable under inserts: each begins after the last row of the one before.
        """


class Versions(Protocol):
    def add(self, version: Version) -> Version:
        """Store a new one and return it with its `id` and revision 1.

        From then on its target's artifact is pinned (`Artifacts.pins`). Raise `Conflict` if the
        model has a version of that number (build metadata ignored: the identity is the model and
        `number.precedence_key()`). The number is kept with its build.
        """

    def get(self, model: str, number: SemVer) -> Version:
        """Return the version of that number, build metadata ignored, or raise `NotFound`."""

    def find(self, model: str, number: SemVer) -> Version | None:
        """Return the version of that number, build metadata ignored, or None."""

    def save(self, version: Version) -> Version:
        """Write description, tags, state, sunset, successor, reason, updated_at; nothing else."""

    def latest(self, model: str) -> Version | None:
        """Return the highest active release, the highest active pre-release, or None."""

    def highest(self, model: str) -> SemVer | None:
        """Return the highest number ever registered, in any state; None if there is none."""

    def best(self, model: str, requirement: Requirement, state: State) -> Version | None:
        """Return the highest version in that state that the range allows, or None."""

    def page(self, query: VersionQuery) -> Page[Version]:
        """List, as `Models.page` does."""


class Aliases(Protocol):
    def find(self, model: str, name: str) -> Alias | None:
        """Return the alias, also one that was removed (`version` None), or None."""

    def of(self, model: str) -> Sequence[Alias]:
        """Return the model's aliases that point to something, by name."""

    def save(self, alias: Alias) -> Alias:
        """Write the row and add its `AliasChange` to the history.

        Revision 0 means a new row: `Conflict` if there is one. Else see the module.
        """

    def history(self, model: str, name: str) -> Sequence[AliasChange]:
        """Return every change, newest first."""

    def at(self, model: str, name: str, time: int) -> AliasChange | None:
        """Return the last change not after `time` (ms), or None if there was none yet."""


class ArtifactUse(Protocol):
    """What a version needs of the table of artifacts."""

    def find(self, digest: str) -> Artifact | None:
        """Return the row, or None."""


class RouteUse(Protocol):
    def serving(self, model: str, number: SemVer | None = None) -> Sequence[str]:
        """Return the environments whose current, enabled route has the model (or the version)."""


class Outbox(Protocol):
    def add(self, event: Event) -> None:
        """Write down what happened, to what, by whom."""


class Named(Protocol):
    """As much of a transaction as a reference (`^2`, `champion`) needs to be resolved."""

    @property
    def versions(self) -> Versions: ...
    @property
    def aliases(self) -> Aliases: ...


class Work(Protocol):
    """One transaction. Leaving it without `commit` undoes everything."""

    @property
    def models(self) -> Models: ...
    @property
    def versions(self) -> Versions: ...
    @property
    def aliases(self) -> Aliases: ...
    @property
    def artifacts(self) -> ArtifactUse: ...
    @property
    def routes(self) -> RouteUse: ...
    @property
    def outbox(self) -> Outbox: ...

    def commit(self) -> None:
        """Make it last. Raise `Conflict` if somebody else changed a row that this one saves."""


Begin = Callable[[], AbstractContextManager[Work]]


class Describe(Protocol):
    """What a runner can say of an artifact. Asked before the transaction, never inside it."""

    def __call__(self, artifact: str, runtime: str) -> Description | None:
        """Return its inputs and outputs; None if the runtime cannot tell.

        Raise `Unavailable` if no runner answers, `Unsupported` if the file is not the runtime's.
        """


CheckUrl = Callable[[str, str], None]
"""Takes (URL, JSON Pointer to it); raises `Invalid` for one that could never be called."""
