"""The OpenAPI 3.1 document, written from the very declarations that check the requests."""

import json
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final, Literal, cast

from flask import Flask
from pydantic.json_schema import models_json_schema
from werkzeug.routing import BaseConverter

from headway.auth.role import Permission
from headway.web import errors, paths
from headway.web.operation import (
    ETAG_PATTERN,
    IDEMPOTENCY_PATTERN,
    MERGE_PATCH,
    Declaration,
    operations,
)
from headway.web.schemas import Problem

Document = dict[str, Any]
_Key = tuple[Any, Literal["validation", "serialization"]]
_VARIABLE: Final = re.compile(r"<(?:(\w+):)?(\w+)>")
_REF: Final = "#/components/schemas/{model}"


def document(app: Flask) -> Document:
    """Return the whole document of an application."""
    # pydantic calls Page[ModelShown] "Page_ModelShown_"; people read these names.
    return cast("Document", json.loads(_PAGE.sub(r"\1Page", json.dumps(_document(app)))))


_PAGE: Final = re.compile(r"\bPage_(\w+?)_(?=\")")


def _document(app: Flask) -> Document:
    found = [one for one in operations(app) if not one[3].declaration.page]
    refs, definitions = models_json_schema(
        [*_models(op.declaration for _, _, _, op in found), (Problem, "serialization")],
        ref_template=_REF,
    )
    shown: dict[str, Document] = {}
    for rule, method, endpoint, operation in sorted(found, key=lambda one: one[:2]):
        path = _VARIABLE.sub(r"{\2}", rule)
        shown.setdefault(path, {})[method.lower()] = _operation(
            operation.declaration, rule, method, endpoint, app, refs
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headway",
            "version": version("headway"),
            "summary": "A model registry that ships models.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": shown,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, hw_…"},
                "key_field": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _models(declarations: Iterable[Declaration]) -> list[_Key]:
    """Ask each model for one mode: two would give it two names."""
    found: dict[_Key, None] = {}
    for declared in declarations:
        if declared.takes is not None:
            found[declared.takes, "validation"] = None
        if declared.gives is not None:
            found[declared.gives, "serialization"] = None
    return list(found)


def _operation(
    declared: Declaration,
    rule: str,
    method: str,
    endpoint: str,
    app: Flask,
    refs: Mapping[_Key, Document],
) -> Document:
    changes = declared.changes and method not in {"GET", "HEAD"}
    shown: Document = {
        "operationId": endpoint,
        "summary": declared.summary,
        "tags": [endpoint.partition(".")[0]],
        "description": f"Asks for the permission `{declared.permission}`.",
        "parameters": [
            *_of_the_path(rule, app),
            *_of_the_query(declared, changes=changes),
            *_of_the_head(declared),
        ],
        "responses": _responses(declared, rule, method, refs, changes=changes),
        "security": (
            [] if declared.permission is Permission.PUBLIC else [{"key": []}, {"key_field": []}]
        ),
    }
    if declared.takes is not None:
        schema = refs[declared.takes, "validation"]
        shown["requestBody"] = {
            "required": not declared.optional_body,
            "content": {media: {"schema": schema} for media in declared.media},
        }
    elif declared.uploads:
        shown["requestBody"] = {
            "required": True,
            "content": {"application/octet-stream": {"schema": {}}},
        }
    return shown


def _of_the_path(rule: str, app: Flask) -> list[Document]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _path_schema(app.url_map.converters[converter or "default"]),
        }
        for converter, name in _VARIABLE.findall(rule)
    ]


def _path_schema(converter: type[BaseConverter]) -> Document:
    if converter is paths.NumberConverter:
        return {"type": "integer", "minimum": 0, "maximum": 999_999_999}
    return {"type": "string", "pattern": f"^{converter.regex}$"}


def _of_the_query(declared: Declaration, *, changes: bool) -> list[Document]:
    found: list[Document] = []
    if declared.query is not None:
        schema = declared.query.model_json_schema()
        required = schema.get("required", ())
        for name, one in schema["properties"].items():
            found.append(
                {
                    "name": name,
                    "in": "query",
                    "required": name in required,
                    "description": one.pop("description", ""),
                    "schema": _without_null(one),
                }
            )
    if changes:
        found.append(
            {
                "name": "dry_run",
                "in": "query",
                "required": False,
                "description": "Check everything and answer, but write nothing.",
                "schema": {"type": "boolean", "default": False},
            }
        )
    return found


def _without_null(schema: Document) -> Document:
    """Say what a parameter may be: it is there or it is not, and never null."""
    schema.pop("title", None)
    if schema.get("default", "") is None:
        del schema["default"]
    options = [one for one in schema.pop("anyOf", ()) if one != {"type": "null"}]
    return schema | options[0] if len(options) == 1 else schema


def _of_the_head(declared: Declaration) -> list[Document]:
    found: list[Document] = []
    if declared.match is not None:
        found.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": declared.match == "required",
                "description": "The ETag of what is changed.",
                "schema": {"type": "string", "pattern": ETAG_PATTERN},
            }
        )
    if declared.repeatable:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The same key and body are given the first answer again (24 h).",
                "schema": {"type": "string", "pattern": IDEMPOTENCY_PATTERN},
            }
        )
    return found


def _responses(
    declared: Declaration,
    rule: str,
    method: str,
    refs: Mapping[_Key, Document],
    *,
    changes: bool,
) -> Document:
    good: Document = {"description": HTTPStatus(declared.status).phrase}
    if method != "HEAD":
        content = _content(declared, refs)
        if content and declared.status != HTTPStatus.NO_CONTENT:
            good["content"] = content
    found = {str(declared.status): good}
    for status, meaning in declared.also.items():
        found[str(status)] = {**good, "description": meaning}
        if status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            found[str(status)].pop("content", None)
    for status in sorted(_refusals(declared, rule, changes=changes)):
        found[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {
                errors.CONTENT_TYPE: {"schema": {"$ref": _REF.format(model=Problem.__name__)}}
            },
        }
        if method == "HEAD":
            found[str(status)].pop("content")
    return found


def _content(declared: Declaration, refs: Mapping[_Key, Document]) -> Document:
    content: Document = {}
    if declared.gives is not None:
        content[declared.gives_media] = {"schema": refs[declared.gives, "serialization"]}
    for media in declared.streams:
        content[media] = {"schema": {}}
    return content


_FRONT_DOOR: Final = frozenset({400, 414, 431})
"""Of a target or a head that the public port does not take: it answers so by itself."""


def _refusals(declared: Declaration, rule: str, *, changes: bool) -> set[int]:
    """Return the statuses of every error: those declared, and those that follow."""
    found = set(declared.refuses) | _FRONT_DOOR | {422, 503}
    if declared.permission is not Permission.PUBLIC:
        found |= {401, 403, 429}
    if "<" in rule:
        found.add(404)
    if declared.takes is not None or declared.uploads:
        found |= {413, 415}
    if declared.match is not None:
        found.add(412)
    if declared.match == "required":
        found.add(428)
    if declared.repeatable or changes:
        found.add(409)
    return found


__all__ = ["MERGE_PATCH", "document"]
