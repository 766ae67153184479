"""The OpenAPI document, as written from the declarations of this very application."""

from typing import Final

from flask import Blueprint, Response, current_app

from headway.auth.role import Permission
from headway.web import openapi
from headway.web.operation import JSON, operation
from headway.web.schemas import dumps

bp: Final = Blueprint("document", __name__, url_prefix="/api/v1")


@bp.get("/openapi.json")
@operation(Permission.PUBLIC, "Describe every operation", streams=(JSON,))
def describe() -> Response:
    known = current_app.extensions
    if "headway.openapi" not in known:
        known["headway.openapi"] = dumps(openapi.document(current_app))
    return Response(known["headway.openapi"], content_type=JSON)
