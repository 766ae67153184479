"""Models, their immutable versions, and the aliases that name one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from headway.kernel.canonical import Json
from headway.kernel.errors import Invalid
from headway.kernel.names import check_name
from headway.registry.signature import Signature
from headway.registry.target import Target
from headway.registry.version import SemVer, reads_as_version


class State(StrEnum):
    """Of a version: whether it is offered. Its content never changes."""

    ACTIVE = "active"
    DEPRECATED = "deprecated"
    RETIRED = "retired"
    YANKED = "yanked"


@dataclass(frozen=True, slots=True)
class Model:
    """A name that callers ask for. Names are unique without regard to case.

    `alternative_ids` are further names that callers may use, unique over all models.
    `revision` is 0 before the store has it, 1 then, and grows with each change.
    """

    name: str
    created_at: int
    created_by: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    alternative_ids: tuple[str, ...] = ()
    archived: bool = False
    updated_at: int = 0
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable release of a model: everything that decides an answer, under one digest.

    `id` is given by the store (0 before). `components` names a digest for each part: target,
    prompt, tools, parameters, artifact, signature (only those there are). Description, tags and
    state may change, each change adding to `revision`; nothing else ever does. `sunset` (ms) and
    `successor` go with `deprecated` and `retired`, `reason` with any state.
    """

    model: str
    number: SemVer
    target: Target
    signature: Signature
    components: Mapping[str, str]
    digest: str
    created_at: int
    created_by: str
    id: int = 0
    metadata: Mapping[str, Json] = field(default_factory=dict)
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    state: State = State.ACTIVE
    sunset: int | None = None
    successor: SemVer | None = None
    reason: str = ""
    updated_at: int = 0
    revision: int = 0
    corrupt_at: int | None = None
    """When (ms) the stored bytes of its artifact were found to be others; see `Artifact`."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A movable name for a version; `version` is None once it was removed.

    Rows stay when an alias is removed, so that its revision never starts anew.
    """

    model: str
    name: str
    version: SemVer | None
    changed_at: int
    changed_by: str
    why: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class AliasChange:
    """One line of an alias' history: from `at` on it pointed to `version` (None: to nothing)."""

    model: str
    name: str
    revision: int
    version: SemVer | None
    at: int
    by: str
    why: str = ""


LATEST: Final = "latest"
"""Computed, never stored: the highest active release; a pre-release if there is nothing else."""


def check_alias(name: str, *, pointer: str = "/alias") -> str:
    """Return a name that an alias may have, or raise `Invalid`."""
    check_name(name, what="alias", pointer=pointer)
    if name.lower() == LATEST:
        raise Invalid.at(pointer, f"{LATEST!r} is computed: it cannot be set")
    if reads_as_version(name):
        raise Invalid.at(pointer, f"{name!r} reads as a version: an alias must not")
    return name
