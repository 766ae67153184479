"""What each kind of error means: the page that the `type` of an answer names."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from flask import Blueprint, Response

from headway.auth.role import Permission
from headway.kernel.errors import NotFound
from headway.web.errors import DOCS
from headway.web.operation import operation

bp: Final = Blueprint("problems", __name__, url_prefix=DOCS)

_TEXT: Final = "text/plain"
_SECTION: Final = re.compile(r"^## (\S+)\n+(.+?)\s*(?=^## |\Z)", re.MULTILINE | re.DOTALL)


@bp.get("/<slug>")
@operation(Permission.PUBLIC, "Say what a kind of error means", streams=(_TEXT,), refuses=(404,))
def page(slug: str) -> Response:
    known = _pages()
    if slug not in known:
        raise NotFound(f"no error is called {slug[:64]!r}; there are {', '.join(sorted(known))}")
    return Response(f"{slug}\n\n{known[slug]}\n", content_type=f"{_TEXT}; charset=utf-8")


@cache
def _pages() -> Mapping[str, str]:
    """Return by its word what the reference says of an error: one text for both."""
    reference = files("headway.web").joinpath("errors.md").read_text("utf-8")
    return dict(_SECTION.findall(reference))
