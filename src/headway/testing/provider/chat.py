"""OpenAI's chat completions and embeddings, as their API answers."""

import base64
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from headway.testing.provider.reply import (
    Received,
    Reply,
    Said,
    sse,
    tokens_of,
    wrong_body,
    wrong_messages,
)

_MOST_CHOICES: Final = 128


class ChatCompletions:
    """`POST …/chat/completions`."""

    def wrong(self, request: Received) -> str:
        choices = request.json.get("n") or 1
        if not isinstance(choices, int) or not 1 <= choices <= _MOST_CHOICES:
            return f"n: a whole number from 1 to {_MOST_CHOICES} is expected"
        if not isinstance(request.json.get("stream_options") or {}, dict):
            return "stream_options: an object is expected"
        return wrong_messages(request)

    def whole(self, request: Received, reply: Reply) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if (reply.tools or reply.refusal) and not reply.text else reply.text,
        }
        if reply.thinking:
            message["reasoning_content"] = reply.thinking
        if reply.refusal:
            message["refusal"] = reply.refusal
        if reply.tools:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in reply.tools
            ]
        asked = request.json
        choice = {"message": message, "finish_reason": _finish(reply)}
        if asked.get("logprobs"):
            choice["logprobs"] = _logprobs("".join(reply.words))
        return {
            **_frame(asked, reply, "chat.completion"),
            "choices": [{"index": i, **choice} for i in range(asked.get("n") or 1)],
            "usage": _usage(asked, reply),
        }

    def stream(self, request: Received, reply: Reply) -> list[Said]:
        asked = request.json
        usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        chunks = list(_chunks(asked, reply))
        if usage:
            chunks = [({**chunk, "usage": None}, is_content) for chunk, is_content in chunks]
            last = _frame(asked, reply, "chat.completion.chunk")
            chunks.append(({**last, "choices": [], "usage": _usage(asked, reply)}, False))
        said = [Said(sse(chunk), is_content) for chunk, is_content in chunks]
        return [*said, Said(b"data: [DONE]\n\n")]

    def error(self, reply: Reply) -> dict[str, Any]:
        return openai_error(reply)

    def error_event(self, reply: Reply) -> bytes:
        error = {"message": reply.message, "type": "server_error", "code": reply.code}
        return sse({"error": error})


def openai_error(reply: Reply) -> dict[str, Any]:
    """Return the body of an error as all of OpenAI's APIs write it."""
    error = {"message": reply.message, "type": "scripted", "param": None, "code": reply.code}
    return {"error": error}


def _chunks(asked: Mapping[str, Any], reply: Reply) -> Iterator[tuple[dict[str, Any], bool]]:
    for index in range(asked.get("n") or 1):
        yield _chunk(asked, reply, index, {"role": "assistant", "content": ""}), False
        for delta, piece in _deltas(reply):
            chunk = _chunk(asked, reply, index, delta)
            if piece and asked.get("logprobs"):
                chunk["choices"][0]["logprobs"] = _logprobs(piece)
            yield chunk, True
        yield _chunk(asked, reply, index, {}, finish=_finish(reply)), False


def _deltas(reply: Reply) -> Iterator[tuple[dict[str, Any], str]]:
    """Return what is said piece by piece, with its text where it has tokens."""
    for thought in reply.thoughts:
        yield {"reasoning_content": thought}, ""
    for word in reply.words:
        yield {"content": word}, word
    if reply.refusal:
        yield {"refusal": reply.refusal}, ""
    for index, call in enumerate(reply.tools):
        begun = {
            "index": index,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        yield {"tool_calls": [begun]}, ""
        middle = len(call.arguments) // 2
        for part in (call.arguments[:middle], call.arguments[middle:]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}, ""


def _frame(asked: Mapping[str, Any], reply: Reply, kind: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-scripted",
        "object": kind,
        "created": 1_700_000_000,
        "model": asked.get("model", ""),
        "system_fingerprint": reply.fingerprint,
    }


def _chunk(
    asked: Mapping[str, Any],
    reply: Reply,
    index: int,
    delta: dict[str, Any],
    finish: str | None = None,
) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {**_frame(asked, reply, "chat.completion.chunk"), "choices": [choice]}


def _finish(reply: Reply) -> str:
    return reply.stop or ("tool_calls" if reply.tools else "stop")


def _logprobs(text: str) -> dict[str, Any]:
    token = {"token": text, "logprob": -0.5, "bytes": list(text.encode()), "top_logprobs": []}
    return {"content": [token], "refusal": None}


def _usage(asked: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    tokens = tokens_of(asked, reply)
    usage: dict[str, Any] = {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
    }
    if reply.cache_write_tokens:
        usage["prompt_tokens_details"]["cache_write_tokens"] = reply.cache_write_tokens
    if reply.reasoning_tokens:
        usage["completion_tokens_details"] = {"reasoning_tokens": reply.reasoning_tokens}
    return usage


class Embeddings:
    """`POST …/embeddings`: three numbers per text."""

    def wrong(self, request: Received) -> str:
        if not isinstance(request.json.get("input") or "", str | list):
            return "input: a text or a list is expected"
        return wrong_body(request)

    def whole(self, request: Received, reply: Reply) -> dict[str, Any]:
        asked = request.json
        given = asked.get("input")
        texts = given if isinstance(given, list) and not _is_tokens(given) else [given]
        packed = asked.get("encoding_format") == "base64"
        tokens = tokens_of(asked, reply).input
        return {
            "object": "list",
            "model": asked.get("model", ""),
            "data": [
                {"object": "embedding", "index": i, "embedding": _vector(len(str(text)), packed)}
                for i, text in enumerate(texts)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def stream(self, request: Received, reply: Reply) -> list[Said] | None:  # noqa: ARG002 - the protocol's words
        return None

    def error(self, reply: Reply) -> dict[str, Any]:
        return openai_error(reply)

    def error_event(self, reply: Reply) -> bytes:
        return sse(openai_error(reply))


def _is_tokens(given: list[Any]) -> bool:
    return bool(given) and isinstance(given[0], int)


def _vector(size: int, packed: bool) -> list[float] | str:  # noqa: FBT001 - as it is asked for
    numbers = [1.0, 0.5, float(size)]
    return base64.b64encode(struct.pack("<3f", *numbers)).decode() if packed else numbers
