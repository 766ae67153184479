"""Who may do what: permissions, roles, and the one table that joins them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Permission(StrEnum):
    """What an operation asks of the key that calls it."""

    PUBLIC = "public"
    """Nothing: anybody may, without a key."""
    TRAFFIC_CALL = "traffic.call"
    TRAFFIC_LIST = "traffic.list"
    """List the models that the key may call, and no more of them."""
    FEEDBACK_WRITE = "feedback.write"
    MODELS_READ = "models.read"
    """Models, versions, aliases and their comparison."""
    MODELS_WRITE = "models.write"
    """Register models and versions; tags, states, aliases."""
    ARTIFACTS_READ = "artifacts.read"
    ARTIFACTS_WRITE = "artifacts.write"
    ROUTES_READ = "routes.read"
    """Routes, snapshots and why a caller gets which version."""
    ROUTES_WRITE = "routes.write"
    """Set a route by hand, the kill switch included."""
    DEPLOYMENTS_READ = "deployments.read"
    DEPLOYMENTS_WRITE = "deployments.write"
    """Deploy, pause, resume, promote, abort."""
    DEPLOYMENTS_APPROVE = "deployments.approve"
    SNAPSHOTS_WRITE = "snapshots.write"
    ROLLBACKS_WRITE = "rollbacks.write"
    MEASUREMENTS_READ = "measurements.read"
    KEYS_READ = "keys.read"
    KEYS_WRITE = "keys.write"
    METRICS_READ = "metrics.read"


class Role(StrEnum):
    VIEWER = "viewer"
    CALLER = "caller"
    DEPLOYER = "deployer"
    ADMIN = "admin"


_P: Final = Permission
_READ: Final = frozenset(
    {
        _P.PUBLIC,
        _P.TRAFFIC_LIST,
        _P.MODELS_READ,
        _P.ARTIFACTS_READ,
        _P.ROUTES_READ,
        _P.DEPLOYMENTS_READ,
        _P.MEASUREMENTS_READ,
    }
)
PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.VIEWER: _READ,
    Role.CALLER: frozenset(
        {_P.PUBLIC, _P.TRAFFIC_LIST, _P.TRAFFIC_CALL, _P.FEEDBACK_WRITE},
    ),
    Role.DEPLOYER: _READ
    | {
        _P.MODELS_WRITE,
        _P.ARTIFACTS_WRITE,
        _P.ROUTES_WRITE,
        _P.DEPLOYMENTS_WRITE,
        _P.SNAPSHOTS_WRITE,
        _P.ROLLBACKS_WRITE,
    },
    Role.ADMIN: frozenset(Permission),
}
"""Deny by default: what is not listed is not allowed."""
