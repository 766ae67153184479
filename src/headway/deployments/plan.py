"""A plan: the immutable text of a deployment; a list of steps with one verb each."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Placeholder of the seam; `text` and `parse` are what the store uses."""

    model: str

    def text(self) -> str:
        """Canonical JSON of the whole plan, steps filled in."""
        raise NotImplementedError

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` wrote."""
        raise NotImplementedError
