"""Prompt templates: `{{ name }}` and nothing else, filled in one pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Variable:
    """A declared variable; without a default each request must bring a value."""

    default: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The system text that goes before the caller's, and the variables that it may name."""

    system: str
    variables: Mapping[str, Variable] = field(default_factory=dict)
