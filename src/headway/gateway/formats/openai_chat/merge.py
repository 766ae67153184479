"""What a version adds to a request, in the words of chat completions."""

from collections.abc import Mapping
from typing import Any, Final

from headway.gateway.exchange import Ask, Settings
from headway.gateway.merging import with_parameters
from headway.gateway.splice import splice_model
from headway.kernel.canonical import Json
from headway.registry.target import tool_name

_LIMITS: Final = ("max_tokens", "max_completion_tokens")
"""Two names of one limit, the old one and the new one."""
_USAGE: Final = b'"stream_options":{"include_usage":true}'


def splice(ask: Ask, model: str) -> bytes | None:
    """Return the caller's bytes with another model's name, None if they must be written anew.

    A stream whose caller does not ask for usage asks for it too.
    """
    if not ask.stream or ask.wants_usage:
        return splice_model(ask, model)
    if ask.document is None or "stream_options" in ask.document:
        return None
    return splice_model(ask, model, _USAGE)


def merge(
    given: Mapping[str, Any], settings: Settings, values: Mapping[str, str]
) -> dict[str, Any]:
    """Return a request with what a version adds to it; a stream asks for usage."""
    document = with_parameters(given, settings)
    if all(name in document for name in _LIMITS):
        _limit_once(document, given, settings.locked)
    document["model"] = settings.model
    if settings.template is not None:
        document["messages"] = _with_system(given.get("messages"), settings.template.fill(values))
    if settings.tools:
        document["tools"] = _with_tools(given.get("tools"), settings.tools)
    if given.get("stream") is True:
        options = given.get("stream_options")
        document["stream_options"] = {
            **(options if isinstance(options, dict) else {}),
            "include_usage": True,
        }
    return document


def _limit_once(
    document: dict[str, Any], given: Mapping[str, Any], locked: Mapping[str, Json]
) -> None:
    """Leave the limit of who wins: providers refuse both names at once.

    A caller that sends both by itself is the provider's to answer.
    """
    for wins in (locked, given):
        named = [name for name in _LIMITS if name in wins]
        if named:
            for name in _LIMITS:
                if name not in named:
                    del document[name]
            return


def _with_system(messages: Json, text: str) -> list[Any]:
    """Put the version's system text before the caller's.

    Where the caller brings one of its own, both become one message: many models take a system
    message once, and only in front.
    """
    messages = messages if isinstance(messages, list) else []
    first = messages[0] if messages else None
    if isinstance(first, dict) and first.get("role") in ("system", "developer"):
        own = first.get("content")
        if isinstance(own, str):
            return [{**first, "content": f"{text}\n\n{own}"}, *messages[1:]]
        if isinstance(own, list):
            return [{**first, "content": [{"type": "text", "text": text}, *own]}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _with_tools(given: Json, tools: tuple[Mapping[str, Json], ...]) -> list[Any]:
    """Add the version's tools; on the same name the version's wins."""
    if not isinstance(given, list):
        return list(tools)
    ours = {tool_name(tool) for tool in tools}
    theirs = [t for t in given if not (isinstance(t, Mapping) and tool_name(t) in ours)]
    return [*theirs, *tools]
