"""What Anthropic's answers say of their tokens, of errors, and of who made them."""

from collections.abc import Mapping
from typing import Any, Final

from headway.gateway.tally import counted, ended_by
from headway.kernel.canonical import Json

_CLASSES: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


def tokens_of(usage: Json) -> dict[str, int]:
    """Return tokens by class; what was read from and written to a cache is part of `input`."""
    if not isinstance(usage, Mapping):
        return {}
    said = counted({name: usage.get(name) for name in _CLASSES})
    plain, output, cached, written = (said.get(name, 0) for name in _CLASSES)
    found = {
        "input": plain + cached + written,
        "output": output,
        "cached": cached,
        "cache_write": written,
    }
    return {name: n for name, n in found.items() if n}


def usage_of(tokens: Mapping[str, int]) -> dict[str, Any]:
    """Write tokens by class as a `usage` object."""
    cached, written = tokens.get("cached", 0), tokens.get("cache_write", 0)
    return {
        "input_tokens": max(0, tokens.get("input", 0) - cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": tokens.get("output", 0),
    }


def error_words(error: Json) -> str:
    """Return what an error object says, in at most 500 characters."""
    message = error.get("message") if isinstance(error, Mapping) else None
    return message[:500] if isinstance(message, str) and message else "without a message"


def fault_of(document: Mapping[str, Any]) -> str | None:
    """Return why an answer in one piece is none, in words for the caller; None: it is good."""
    if document.get("type") == "error" or document.get("error"):
        return ended_by(document.get("error"))
    if type(document.get("content")) is not list:
        return "the provider's answer has no `content`"
    if not isinstance(document.get("stop_reason"), str):
        return "the provider's answer is not complete: it has no `stop_reason`"
    return None


def served_by(document: Mapping[str, Any]) -> str:
    """Return what an answer says it was made by."""
    model = document.get("model")
    return model[:200] if isinstance(model, str) else ""
