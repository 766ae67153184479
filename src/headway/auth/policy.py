"""Whether a caller may do something to a model in an environment."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from headway.auth.role import Role

ANY: Final = ("*",)
"""Every model, or every environment."""


class Kind(StrEnum):
    """What sort of actor stands behind a key."""

    PERSON = "person"
    SERVICE = "service"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `models` are names, or prefixes that end in `*`; both without regard to case."""

    id: str
    name: str
    role: Role
    models: tuple[str, ...] = ANY
    environments: tuple[str, ...] = ANY
    kind: Kind = Kind.PERSON
