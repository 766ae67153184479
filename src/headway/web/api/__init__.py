"""Version 1 of the REST API: one module per resource."""

from typing import Final

from flask import Blueprint

from headway.web.api import aliases, artifacts, document, health, keys, models, versions

RESOURCES: Final[tuple[Blueprint, ...]] = (
    health.bp,
    document.bp,
    models.bp,
    versions.bp,
    aliases.bp,
    artifacts.bp,
    keys.bp,
)
