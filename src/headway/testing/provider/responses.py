"""OpenAI's responses, as their API answers: `POST …/responses`."""

from collections.abc import Iterator, Mapping
from typing import Any

from headway.testing.provider.chat import openai_error
from headway.testing.provider.reply import (
    Received,
    Reply,
    Said,
    objects,
    sse,
    tokens_of,
    wrong_body,
)


class Responses:
    def wrong(self, request: Received) -> str:
        given = request.json.get("input")
        if given and not isinstance(given, str) and not objects(given):
            return "input: a text or a list of objects is expected"
        return wrong_body(request)

    def whole(self, request: Received, reply: Reply) -> dict[str, Any]:
        return _response(request.json, reply, _status(reply))

    def stream(self, request: Received, reply: Reply) -> list[Said]:
        events = list(_events(request.json, reply))
        return [
            Said(
                sse({"type": kind, "sequence_number": i, **fields}, kind),
                kind.endswith(".delta"),
            )
            for i, (kind, fields) in enumerate(events)
        ]

    def error(self, reply: Reply) -> dict[str, Any]:
        return openai_error(reply)

    def error_event(self, reply: Reply) -> bytes:
        fields = {"code": reply.code or "server_error", "message": reply.message, "param": None}
        return sse({"type": "error", "sequence_number": 99, **fields}, "error")


def _status(reply: Reply) -> str:
    return reply.stop or "completed"


def _response(asked: Mapping[str, Any], reply: Reply, status: str) -> dict[str, Any]:
    ended = status != "in_progress"
    return {
        "id": "resp_scripted",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": asked.get("instructions"),
        "metadata": asked.get("metadata") or {},
        "model": asked.get("model", ""),
        "output": _items(reply) if ended else [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": asked.get("tools") or [],
        "top_p": None,
        "usage": _usage(asked, reply) if ended else None,
    }


def _items(reply: Reply) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if reply.thinking:
        summary = [{"type": "summary_text", "text": reply.thinking}]
        items.append({"id": "rs_scripted", "type": "reasoning", "summary": summary})
    if reply.text or reply.refusal:
        items.append(_message(_part(reply, whole=True)))
    items += [
        {
            "id": f"fc_scripted_{i}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for i, call in enumerate(reply.tools)
    ]
    return items


def _message(part: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": "msg_scripted",
        "type": "message",
        "status": "completed" if part else "in_progress",
        "role": "assistant",
        "content": [part] if part else [],
    }


def _part(reply: Reply, *, whole: bool) -> dict[str, Any]:
    if reply.refusal:
        return {"type": "refusal", "refusal": reply.refusal if whole else ""}
    text = reply.text if whole else ""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(asked: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    tokens = tokens_of(asked, reply)
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {
            "cached_tokens": reply.cached_tokens,
            "cache_write_tokens": reply.cache_write_tokens,
        },
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
        "total_tokens": tokens.input + tokens.output,
    }


def _events(asked: Mapping[str, Any], reply: Reply) -> Iterator[tuple[str, dict[str, Any]]]:
    begun = _response(asked, reply, "in_progress")
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for number, item in enumerate(_items(reply)):
        yield from _item(number, item, reply)
    ended = _response(asked, reply, _status(reply))
    yield f"response.{ended['status']}", {"response": ended}


def _item(
    number: int, item: Mapping[str, Any], reply: Reply
) -> Iterator[tuple[str, dict[str, Any]]]:
    where = {"item_id": item["id"], "output_index": number}
    match item["type"]:
        case "reasoning":
            at = {**where, "summary_index": 0}
            begun, name = {**item, "summary": []}, "response.reasoning_summary"
            yield "response.output_item.added", {"output_index": number, "item": begun}
            empty = {"type": "summary_text", "text": ""}
            yield f"{name}_part.added", {**at, "part": empty}
            for thought in reply.thoughts:
                yield f"{name}_text.delta", {**at, "delta": thought}
            yield f"{name}_text.done", {**at, "text": reply.thinking}
            yield f"{name}_part.done", {**at, "part": {**empty, "text": reply.thinking}}
        case "message":
            at = {**where, "content_index": 0}
            yield "response.output_item.added", {"output_index": number, "item": _message(None)}
            part = _part(reply, whole=False)
            yield "response.content_part.added", {**at, "part": part}
            if reply.refusal:
                yield "response.refusal.delta", {**at, "delta": reply.refusal}
                yield "response.refusal.done", {**at, "refusal": reply.refusal}
            else:
                for word in reply.words:
                    yield "response.output_text.delta", {**at, "delta": word, "logprobs": []}
                yield "response.output_text.done", {**at, "text": reply.text, "logprobs": []}
            yield "response.content_part.done", {**at, "part": _part(reply, whole=True)}
        case _:
            begun = {**item, "status": "in_progress", "arguments": ""}
            yield "response.output_item.added", {"output_index": number, "item": begun}
            arguments = item["arguments"]
            name = "response.function_call_arguments"
            for part in (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]):
                yield f"{name}.delta", {**where, "delta": part}
            yield f"{name}.done", {**where, "arguments": arguments}
    yield "response.output_item.done", {"output_index": number, "item": dict(item)}
