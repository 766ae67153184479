"""What responses say of their tokens, of errors, and of who made them."""

from collections.abc import Mapping
from typing import Any, Final

from headway.gateway.exchange import NO_TOKENS
from headway.gateway.tally import counted, ended_by
from headway.kernel.canonical import Json

_FAILED: Final = ("failed", "cancelled")


def tokens_of(usage: Json) -> Mapping[str, int]:
    """Return tokens by class from a `usage` object; classes that it does not tell are left out."""
    if not isinstance(usage, Mapping):
        return NO_TOKENS
    asked, answered = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    asked = asked if isinstance(asked, Mapping) else {}
    answered = answered if isinstance(answered, Mapping) else {}
    found = {
        "input": usage.get("input_tokens"),
        "output": usage.get("output_tokens"),
        "cached": asked.get("cached_tokens"),
        "cache_write": asked.get("cache_write_tokens"),
        "reasoning": answered.get("reasoning_tokens"),
    }
    return counted(found)


def usage_of(tokens: Mapping[str, int]) -> dict[str, Any]:
    """Write tokens by class as a `usage` object."""
    asked, answered = tokens.get("input", 0), tokens.get("output", 0)
    return {
        "input_tokens": asked,
        "input_tokens_details": {
            "cached_tokens": tokens.get("cached", 0),
            "cache_write_tokens": tokens.get("cache_write", 0),
        },
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": tokens.get("reasoning", 0)},
        "total_tokens": asked + answered,
    }


def fault_of(response: Mapping[str, Any]) -> str | None:
    """Return that a response failed, in words for the caller; None if it did not."""
    error = response.get("error")
    if error or response.get("status") in _FAILED:
        return ended_by(error)
    return None


def served_by(response: Mapping[str, Any]) -> str:
    """Return what an answer says it was made by."""
    model = response.get("model")
    return model[:200] if isinstance(model, str) else ""
