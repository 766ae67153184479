"""What the gateway needs of the providers of versions; `adapters` provides them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from headway.gateway.exchange import Prepared, Release


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
