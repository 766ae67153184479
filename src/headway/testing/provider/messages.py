"""Anthropic's messages, as their API answers: `POST …/messages` and `…/count_tokens`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from headway.testing.provider.reply import (
    Received,
    Reply,
    Said,
    ToolCall,
    sse,
    tokens_of,
    wrong_messages,
)

_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class Messages:
    def wrong(self, request: Received) -> str:
        return wrong_messages(request)

    def whole(self, request: Received, reply: Reply) -> dict[str, Any]:
        return {
            **_frame(request.json, reply),
            "content": [_block(part) for part in _parts(reply)],
            "stop_reason": _reason(reply),
            "usage": _usage(request.json, reply),
        }

    def stream(self, request: Received, reply: Reply) -> list[Said]:
        return [
            Said(sse({"type": kind, **fields}, kind), kind == "content_block_delta")
            for kind, fields in _events(request.json, reply)
        ]

    def error(self, reply: Reply) -> dict[str, Any]:
        kind = reply.code or _KINDS.get(reply.status, "api_error")
        error = {"type": kind, "message": reply.message}
        return {"type": "error", "error": error, "request_id": "req_scripted"}

    def error_event(self, reply: Reply) -> bytes:
        return sse(self.error(reply), "error")


class CountTokens:
    """How many tokens a request would have."""

    def wrong(self, request: Received) -> str:
        return wrong_messages(request)

    def whole(self, request: Received, reply: Reply) -> dict[str, Any]:
        return {"input_tokens": tokens_of(request.json, reply).input}

    def stream(self, request: Received, reply: Reply) -> list[Said] | None:  # noqa: ARG002 - the protocol's words
        return None

    def error(self, reply: Reply) -> dict[str, Any]:
        return Messages().error(reply)

    def error_event(self, reply: Reply) -> bytes:
        return Messages().error_event(reply)


def _frame(asked: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    tokens = tokens_of(asked, reply)
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": asked.get("model", ""),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**_usage(asked, reply), "output_tokens": min(1, tokens.output)},
    }


def _usage(asked: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    """Return the tokens: those of the cache are no part of `input_tokens` here."""
    tokens = tokens_of(asked, reply)
    return {
        "input_tokens": max(0, tokens.input - reply.cached_tokens - reply.cache_write_tokens),
        "cache_creation_input_tokens": reply.cache_write_tokens,
        "cache_read_input_tokens": reply.cached_tokens,
        "output_tokens": tokens.output,
    }


def _reason(reply: Reply) -> str:
    if reply.stop:
        return reply.stop
    return "tool_use" if reply.tools else "refusal" if reply.refusal else "end_turn"


def _parts(reply: Reply) -> Iterator[tuple[str, list[str], Any]]:
    """Return what an answer is made of: its kind, its pieces, and the whole of it."""
    if reply.thinking:
        yield "thinking", reply.thoughts, reply.thinking
    if reply.text or reply.refusal:
        yield "text", reply.words if reply.text else [reply.refusal], reply.text or reply.refusal
    for call in reply.tools:
        middle = len(call.arguments) // 2
        yield "tool_use", [call.arguments[:middle], call.arguments[middle:]], call


def _block(part: tuple[str, list[str], Any]) -> dict[str, Any]:
    kind, _, whole = part
    match kind:
        case "thinking":
            return {"type": kind, "thinking": whole, "signature": "signature_scripted"}
        case "text":
            return {"type": kind, "text": whole}
        case _:
            return {"type": kind, "id": whole.id, "name": whole.name, "input": _input(whole)}


def _input(call: ToolCall) -> Any:  # noqa: ANN401 - what a model writes
    """Return arguments as this API shows them; those that are broken, or none: an empty object."""
    try:
        return json.loads(call.arguments)
    except ValueError:
        return {}


def _begun(part: tuple[str, list[str], Any]) -> dict[str, Any]:
    kind, _, whole = part
    match kind:
        case "thinking":
            return {"type": kind, "thinking": "", "signature": ""}
        case "text":
            return {"type": kind, "text": ""}
        case _:
            return {"type": kind, "id": whole.id, "name": whole.name, "input": {}}


_DELTAS: Final = {
    "thinking": ("thinking_delta", "thinking"),
    "text": ("text_delta", "text"),
    "tool_use": ("input_json_delta", "partial_json"),
}


def _events(asked: Mapping[str, Any], reply: Reply) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "message_start", {"message": _frame(asked, reply)}
    for index, part in enumerate(_parts(reply)):
        yield "content_block_start", {"index": index, "content_block": _begun(part)}
        if not index:
            yield "ping", {}
        kind, name = _DELTAS[part[0]]
        for piece in part[1]:
            yield "content_block_delta", {"index": index, "delta": {"type": kind, name: piece}}
        if part[0] == "thinking":
            signed = {"type": "signature_delta", "signature": "signature_scripted"}
            yield "content_block_delta", {"index": index, "delta": signed}
        yield "content_block_stop", {"index": index}
    delta = {"stop_reason": _reason(reply), "stop_sequence": None}
    usage = {"output_tokens": tokens_of(asked, reply).output}
    yield "message_delta", {"delta": delta, "usage": usage}
    yield "message_stop", {}
