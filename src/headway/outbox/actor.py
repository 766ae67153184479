"""Who does something, in the words of the history."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Actor:
    """A key's name and id, and what stands behind it: `person`, `service` or `agent`."""

    name: str
    kind: str = "service"


HEADWAY: Final = Actor("headway")
"""What nobody asked for."""
