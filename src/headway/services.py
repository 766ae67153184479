"""What Headway can do, as one typed value: web, loops and tests are handed it."""

from dataclasses import dataclass

from headway.artifacts.service import ArtifactService
from headway.auth.service import KeyService
from headway.kernel.clock import Clock
from headway.outbox import answer
from headway.registry.service import RegistryService


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    registry: RegistryService
    artifacts: ArtifactService
    keys: KeyService
    begin: answer.Begin
    """For the answers that are kept beside their effect; the same Begin as the services'."""
    clock: Clock
