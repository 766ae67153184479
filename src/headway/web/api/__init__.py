"""Version 1 of the REST API: one module per resource."""

from typing import Final

from flask import Blueprint

from headway.web.api import (
    aliases,
    artifacts,
    comparison,
    deployments,
    document,
    feedback,
    health,
    keys,
    measurements,
    metrics,
    models,
    prices,
    problems,
    rollbacks,
    routes,
    snapshots,
    versions,
)

RESOURCES: Final[tuple[Blueprint, ...]] = (
    health.bp,
    metrics.bp,
    document.bp,
    models.bp,
    versions.bp,
    comparison.bp,
    aliases.bp,
    artifacts.bp,
    routes.bp,
    deployments.bp,
    snapshots.bp,
    rollbacks.bp,
    measurements.bp,
    feedback.bp,
    keys.bp,
    prices.bp,
    problems.bp,
)
