"""What Headway can do, as one typed value: web, loops and tests are handed it."""

from dataclasses import dataclass

from headway.artifacts.service import ArtifactService
from headway.auth.service import KeyService
from headway.auth.session_service import SessionService
from headway.deployments.rollback_service import RollbackService
from headway.deployments.service import DeploymentService
from headway.kernel.clock import Clock
from headway.outbox import answer
from headway.outbox.history import HistoryService
from headway.registry.service import RegistryService
from headway.routing.service import RoutingService
from headway.snapshots.service import SnapshotService
from headway.tracking.feedback import FeedbackService
from headway.tracking.price_service import PriceService
from headway.tracking.service import TrackingService


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    registry: RegistryService
    artifacts: ArtifactService
    keys: KeyService
    sessions: SessionService
    routing: RoutingService
    snapshots: SnapshotService
    deployments: DeploymentService
    rollbacks: RollbackService
    tracking: TrackingService
    feedback: FeedbackService
    prices: PriceService
    history: HistoryService
    begin: answer.Begin
    """For the answers that are kept beside their effect; the same Begin as the services'."""
    clock: Clock
