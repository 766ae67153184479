"""The application factory: read this first.

settings -> wiring (builds services) -> web (serves them)
"""

from collections.abc import Sequence

from flask import Blueprint, Flask

from headway import web
from headway.services import Services
from headway.web import errors, operation, paths
from headway.web.api import RESOURCES


def create_app(
    services: Services,
    *,
    hop_secret: str | None = None,
    trusted_hosts: Sequence[str] | None = None,
    metrics_token: str | None = None,
    pages: Sequence[Blueprint] = (),
) -> Flask:
    """Return the WSGI application: REST API, metrics, and the pages that are handed in.

    `hop_secret` is what the gateway proves itself with; without one anybody may speak to the
    application directly. `trusted_hosts`: what the field Host may say; None: anything.
    `metrics_token` opens `/metrics` to a scraper, and nothing else.
    """
    app = Flask(web.__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = operation.BODY_LIMIT
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.config["TRUSTED_HOSTS"] = list(trusted_hosts) if trusted_hosts else None
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True

    paths.init_app(app)
    for resource in (*RESOURCES, *pages):
        app.register_blueprint(resource)
    errors.init_app(app)
    operation.init_app(app, services, hop_secret=hop_secret, metrics_token=metrics_token)
    return app
