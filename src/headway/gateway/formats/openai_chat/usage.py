"""What chat completions say of their tokens, of errors, and of who made them."""

from collections.abc import Mapping
from typing import Any, Final

from headway.gateway.exchange import NO_TOKENS
from headway.gateway.tally import counted, ended_by
from headway.kernel.canonical import Json

FAILED: Final = ("abort", "error")
"""Finish reasons by which servers say that they broke off."""


def tokens_of(usage: Json) -> Mapping[str, int]:
    """Return tokens by class from a `usage` object; classes that it does not tell are left out."""
    if not isinstance(usage, dict):
        return NO_TOKENS
    asked, answered = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    asked = asked if type(asked) is dict else {}
    answered = answered if type(answered) is dict else {}
    return counted(
        {
            "input": usage.get("prompt_tokens"),
            "output": usage.get("completion_tokens"),
            "cached": asked.get("cached_tokens"),
            "cache_write": asked.get("cache_write_tokens"),
            "reasoning": answered.get("reasoning_tokens"),
        }
    )


def usage_of(tokens: Mapping[str, int]) -> dict[str, Any]:
    """Write tokens by class as a `usage` object."""
    asked, answered = tokens.get("input", 0), tokens.get("output", 0)
    usage: dict[str, Any] = {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
        "prompt_tokens_details": {"cached_tokens": tokens.get("cached", 0)},
    }
    if written := tokens.get("cache_write"):
        usage["prompt_tokens_details"]["cache_write_tokens"] = written
    if reasoning := tokens.get("reasoning"):
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage


def fault_of(document: Mapping[str, Any]) -> str | None:
    """Return why an answer in one piece is none, in words for the caller; None: it is good."""
    if error := document.get("error"):
        return ended_by(error)
    choices = document.get("choices")
    if type(choices) is not list or not choices:
        return "the provider's answer has no `choices`"
    for choice in choices:
        if type(choice) is not dict or type(choice.get("message")) is not dict:
            return "the provider's answer has a choice without a message"
        reason = choice.get("finish_reason", "")
        if reason is None:
            return "the provider's answer is not complete: its `finish_reason` is null"
        if not isinstance(reason, str):
            return "the provider's answer ends for a reason that is none"
        if reason in FAILED or choice.get("error"):
            return ended_by(choice.get("error") or reason)
    return None


def served_by(document: Mapping[str, Json]) -> str:
    """Return what an answer says it was made by: the model, and a fingerprint if there is one."""
    model, fingerprint = document.get("model"), document.get("system_fingerprint")
    name = model if isinstance(model, str) else ""
    return f"{name} {fingerprint}"[:200] if isinstance(fingerprint, str) and fingerprint else name
