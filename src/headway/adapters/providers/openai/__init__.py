"""Versions that call an upstream which speaks OpenAI's API, hosted or one's own."""

from dataclasses import replace
from typing import Final
from urllib.parse import quote

from headway.adapters.hosted import Base, base_of, deadlines, hidden_of, passed_of, settings_of
from headway.adapters.providers.openai.chat import OpenAIUpstream
from headway.gateway.exchange import Native, Prepared, Release, Settings
from headway.gateway.formats.openai_responses.merge import said_as_response
from headway.gateway.ports import Around
from headway.kernel.errors import Unsupported
from headway.registry.target import APIS, COUNT, HostedTarget
from headway.wire.framing import FieldLines, request_head, write_fields

_CHAT: Final = "openai_chat"
_RESPONSES: Final = "openai_responses"
_EMBEDDINGS: Final = "openai_embeddings"
_PATHS: Final = {
    _CHAT: "/chat/completions",
    _RESPONSES: "/responses",
    _EMBEDDINGS: "/embeddings",
}
"""By format of the caller, what follows the base URL."""
_USUAL: Final = ("chat", "embeddings")
"""What servers have that speak as OpenAI's API does."""
_AZURE: Final = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
_PASSES: Final = frozenset({b"openai-organization", b"openai-project"})


class OpenAI:
    """The plug-in `openai`."""

    name = "openai"

    def prepare(self, release: Release, around: Around) -> Prepared:
        """Return how this version is called; `Refused` if its credential must not go there."""
        target = release.target
        if not isinstance(target, HostedTarget):
            raise Unsupported(f"{release.model}@{release.version} is no target of {self.name}")
        base = base_of(target.base_url)
        secret = around.secret(target.credential, base.host) if target.credential else None
        lines = _fields(base, secret)
        query = f"?api-version={quote(target.api_version)}" if target.api_version else ""

        def native(format_: str, settings: Settings) -> Native:
            path = base.path + f"{_PATHS[format_]}{query}".encode("ascii")
            return Native(request_head(b"POST", path, lines), settings, passes=_PASSES)

        settings = settings_of(target)
        apis = target.apis or _known_of(base)
        found: dict[str, Native] = {}
        if "chat" in apis:
            found[_CHAT] = native(_CHAT, settings)
        if "embeddings" in apis:
            found[_EMBEDDINGS] = native(_EMBEDDINGS, replace(settings, template=None, tools=()))
        responses = _as_responses(settings)
        if "responses" in apis and responses is not None:
            found[_RESPONSES] = native(_RESPONSES, responses)
        limit = "max_completion_tokens" if _is_openais(base.host) else "max_tokens"
        return Prepared(
            origin=base.origin,
            native=found,
            upstream=OpenAIUpstream(limit_field=limit) if "chat" in apis else None,
            deadlines=deadlines(target.timeouts),
            retries=target.retries,
            hidden=hidden_of(base, secret),
            reads_on=target.when_left == COUNT,
            passed=passed_of(
                target,
                base.path,
                write_fields([*base.fields, *_credential(base, secret)]),
                query=query.removeprefix("?"),
                passes=_PASSES,
            ),
        )


def _fields(base: Base, secret: str | None) -> FieldLines:
    kind = (b"content-type", b"application/json")
    return write_fields([*base.fields, kind, *_credential(base, secret)])


def _credential(base: Base, secret: str | None) -> list[tuple[bytes, bytes]]:
    if secret is None:
        return []
    value = secret.encode("ascii")
    if base.host.endswith(_AZURE):
        return [(b"api-key", value)]
    return [(b"authorization", b"Bearer " + value)]


def _known_of(base: Base) -> tuple[str, ...]:
    """Return what is offered where a target does not say.

    Azure's path form has no responses below a deployment: callers of these are translated.
    """
    if not _is_openais(base.host) or b"/deployments/" in base.path:
        return _USUAL
    return APIS


def _is_openais(host: str) -> bool:
    """Say whether OpenAI or Azure answers there: all APIs, and one name for a limit."""
    return host == "api.openai.com" or host.endswith((".api.openai.com", *_AZURE))


def _as_responses(settings: Settings) -> Settings | None:
    """Return what a version adds to a request for a response; None if that cannot be said.

    Then callers of that API are translated, and the version's parameters hold for them too.
    """
    parameters = said_as_response(settings.parameters)
    locked = said_as_response(settings.locked)
    if parameters is None or locked is None:
        return None
    return replace(settings, parameters=parameters, locked=locked)
