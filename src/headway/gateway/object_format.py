"""What the formats share whose requests and answers are one JSON object each.

Two ways to the upstream. Splice: only the model's name changes, so the bytes are cut and joined
and nothing is written anew. Merge: the version adds a system text, parameters or tools, so the
parsed request is changed and written once.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import orjson

from headway.gateway.body import header_object, header_text, malformed
from headway.gateway.exact import document_of
from headway.gateway.exchange import Ask, Fields, Settings, Whole, Write
from headway.gateway.splice import splice_model
from headway.kernel.canonical import Json
from headway.routing.assignment import NO_HINTS, UnitHints

_WHO: Final = frozenset({b"headway-conversation", b"headway-user", b"headway-tenant"})


class ObjectFormat(ABC):
    """The base of these formats (`exchange.Format`); it holds no state."""

    ends_by_framing = False

    def attributes(self, ask: Ask, headers: Fields) -> Mapping[str, Json]:
        return metadata_of(ask.document or {}) | header_object(headers, b"headway-attributes")

    def writer(self, settings: Settings) -> Write:
        return partial(self.spliced if settings.only_model else self.merged, settings)

    def spliced(self, settings: Settings, ask: Ask, headers: Fields) -> bytes:
        """Return the caller's bytes with the version's model; written anew where they must be."""
        return splice_model(ask, settings.model) or self.merged(settings, ask, headers)

    def merged(self, settings: Settings, ask: Ask, headers: Fields) -> bytes:
        """Return the request with what the version adds."""
        try:
            return orjson.dumps(self.merge(document_of(ask), settings, headers))
        except orjson.JSONEncodeError:
            raise malformed("the body is nested too deeply") from None

    @abstractmethod
    def merge(
        self, given: Mapping[str, Any], settings: Settings, headers: Fields
    ) -> dict[str, Any]:
        """Return a parsed request with what a version adds to it."""

    def whole(self, ask: Ask, body: bytes, headers: Fields) -> Whole:  # noqa: ARG002 - a port
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return Whole("the provider's answer is not JSON")
        if type(document) is not dict:
            return Whole("the provider's answer is not a JSON object")
        return self.judged(ask, document)

    @abstractmethod
    def judged(self, ask: Ask, document: dict[str, Any]) -> Whole:
        """Say whether an answer is a good one, what it cost and who made it."""


def metadata_of(document: Mapping[str, Any]) -> dict[str, Json]:
    """Return the `metadata` of a request; an empty one if it is missing, or no object."""
    found = document.get("metadata")
    return dict(found) if isinstance(found, Mapping) else {}


def hints_of(headers: Fields, said: UnitHints = NO_HINTS) -> UnitHints:
    """Return who a request belongs to: as `said` by its body, and by its head."""
    if _WHO.isdisjoint(headers):
        return said
    return said._replace(
        conversation_header=header_text(headers, b"headway-conversation"),
        user_header=header_text(headers, b"headway-user"),
        tenant_header=header_text(headers, b"headway-tenant"),
    )
