"""Whether a caller may do something to a model in an environment."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from headway.auth.limits import Limits
from headway.auth.role import PERMISSIONS, Permission, Role
from headway.kernel.errors import Forbidden, NotFound
from headway.kernel.names import folded
from headway.outbox.actor import Actor

ANY: Final = ("*",)
"""Every model, every environment, or every path."""


class Kind(StrEnum):
    """What sort of actor stands behind a key."""

    PERSON = "person"
    SERVICE = "service"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `models` are names, or prefixes that end in `*`; both without regard to case.

    `paths` are of traffic, or prefixes that end in `*`, as they stand: paths have a case.
    """

    id: str
    name: str
    role: Role
    models: tuple[str, ...] = ANY
    environments: tuple[str, ...] = ANY
    kind: Kind = Kind.PERSON
    paths: tuple[str, ...] = ANY
    limits: Limits | None = None
    """None: none."""

    @property
    def permissions(self) -> frozenset[Permission]:
        return PERMISSIONS[self.role]

    @property
    def actor(self) -> Actor:
        """Return how the history names it."""
        return Actor(f"{self.name} ({self.id})", self.kind.value)

    @property
    def sees_all_models(self) -> bool:
        return "*" in self.models

    def sees_model(self, model: str) -> bool:
        return _matches(model, self.models)

    def sees_environment(self, environment: str) -> bool:
        return _matches(environment, self.environments)

    def calls(self, path: str) -> bool:
        """Say whether this path of traffic is open to it."""
        return any(
            path.startswith(each[:-1]) if each.endswith("*") else path == each
            for each in self.paths
        )

    def grants(self, paths: Iterable[str]) -> bool:
        """Say whether these paths, or prefixes of such, reach no further than its own."""
        return all(map(self.calls, paths))


def may(
    caller: Caller,
    permission: Permission,
    *,
    model: str | None = None,
    environment: str | None = None,
) -> bool:
    """Say whether the caller's role allows it, for this model and in this environment."""
    return (
        permission in caller.permissions
        and (model is None or caller.sees_model(model))
        and (environment is None or caller.sees_environment(environment))
    )


def check(
    caller: Caller,
    permission: Permission,
    *,
    model: str | None = None,
    environment: str | None = None,
) -> None:
    """Raise `NotFound` for what the caller may not see, `Forbidden` for what it may not do.

    What lies outside the key's models and environments is not there for it. A key that cannot see
    models at all by its role (`caller`) is told which permission it lacks: that gives nothing
    away, since it is told so of every name.
    """
    if model is not None and not caller.sees_model(model):
        raise NotFound(f"there is no model {model!r}")
    if environment is not None and not caller.sees_environment(environment):
        raise NotFound(f"there is no environment {environment!r}")
    if permission not in caller.permissions:
        raise Forbidden(
            f"the key {caller.id} has the role {caller.role.value}, which lacks the permission "
            f"{permission.value}"
        )


def within(narrow: Iterable[str], wide: Iterable[str]) -> bool:
    """Say whether patterns reach no further than others: `bot-a`, `bot-b*` lie within `bot-*`."""
    wide = tuple(wide)
    return all(_matches(pattern, wide) for pattern in narrow)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Match names and `prefix*`; a pattern as a name is matched by what is at least as wide."""
    name = folded(name)
    for pattern in map(folded, patterns):
        if pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1])):
            return True
    return False
