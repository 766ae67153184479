"""Answers that another dialect gave, as OpenAI's responses tell them."""

import time
from collections.abc import Mapping
from typing import Any, Final

import orjson

from headway.gateway.chat import (
    Answer,
    Began,
    Ended,
    Event,
    More,
    Part,
    PartBegan,
    PartEnded,
    Refusal,
    Signed,
    Stop,
    Text,
    Thinking,
    ToolCall,
)
from headway.gateway.formats.openai_responses.usage import usage_of
from headway.gateway.sse import write_event

_ECHOED: Final[Mapping[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, with what stands there if the request left it open."""
_INCOMPLETE: Final = {Stop.LENGTH: "max_output_tokens", Stop.REFUSED: "content_filter"}


def answer_body(request: Mapping[str, Any], answer: Answer) -> bytes:
    """Write a complete answer."""
    begun = _begun(request, answer.id, answer.model, answer.created)
    items = [_Item(f"{answer.id}_{i}", part) for i, part in enumerate(answer.parts)]
    output = [item.document("completed") for item in items]
    ended = _ended(answer.stop, answer.tokens)
    return orjson.dumps({**answer.extra, **begun, **ended, "output": output})


def _begun(request: Mapping[str, Any], answer_id: str, model: str, created: int) -> dict[str, Any]:
    echoed = {
        name: usual if request.get(name) is None else request[name]
        for name, usual in _ECHOED.items()
    }
    return {
        "id": f"resp_{answer_id}",
        "object": "response",
        "created_at": created or int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "previous_response_id": None,
        "store": False,
        "usage": None,
        **echoed,
    }


def _ended(stop: Stop, tokens: Mapping[str, int]) -> dict[str, Any]:
    reason = _INCOMPLETE.get(stop)
    return {
        "status": "completed" if reason is None else "incomplete",
        "incomplete_details": None if reason is None else {"reason": reason},
        "usage": usage_of(tokens),
    }


class _Item:
    """One item of the output, as far as it is told."""

    __slots__ = ("id", "part", "signature", "text")

    def __init__(self, name: str, part: Part) -> None:
        kind = {ToolCall: "fc", Thinking: "rs"}.get(type(part), "msg")
        self.id = f"{kind}_{name}"
        self.part = part
        self.text = part.arguments if isinstance(part, ToolCall) else getattr(part, "text", "")
        self.signature = ""
        if isinstance(part, Thinking):
            self.signature = part.sealed or part.signature

    def document(self, status: str) -> dict[str, Any]:
        """Write it: with its text so far once it is completed, empty before."""
        whole = status == "completed"
        match self.part:
            case ToolCall():
                return {
                    "id": self.id,
                    "type": "function_call",
                    "status": status,
                    "call_id": self.part.id,
                    "name": self.part.name,
                    "arguments": self.text if whole else "",
                }
            case Thinking():
                item: dict[str, Any] = {"id": self.id, "type": "reasoning", "summary": []}
                if whole:
                    item["summary"] = [{"type": "summary_text", "text": self.text}]
                    if self.signature:
                        item["encrypted_content"] = self.signature
                return item
            case _:
                return {
                    "id": self.id,
                    "type": "message",
                    "status": status,
                    "role": "assistant",
                    "content": [self.content()] if whole else [],
                }

    def content(self, *, empty: bool = False) -> dict[str, Any]:
        """Write the one part of a message."""
        text = "" if empty else self.text
        if isinstance(self.part, Refusal):
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


class ResponseTelling:
    """Writes a stream of events, each with its number in the order of all."""

    __slots__ = ("_items", "_number", "_request", "_response")

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request = request
        self._response: dict[str, Any] = {}
        self._items: dict[int, _Item] = {}
        self._number = -1

    def tell(self, event: Event) -> bytes:
        match event:
            case Began():
                self._response = _begun(self._request, event.id, event.model, event.created)
                begun = self._response
                return self._say("created", response=begun) + self._say(
                    "in_progress", response=begun
                )
            case PartBegan():
                return self._part(event.number, event.part)
            case More():
                item = self._items[event.number]
                item.text += event.text
                return self._delta(event.number, item, event.text)
            case Signed():
                self._items[event.number].signature = event.signature
                return b""
            case PartEnded():
                return self._part_ended(event.number, self._items[event.number])
            case Ended():
                ended = _ended(event.stop, event.tokens)
                output = [item.document("completed") for item in self._items.values()]
                response = {**self._response, **ended, "output": output}
                return self._say(response["status"], response=response)

    def _part(self, number: int, part: Part) -> bytes:
        item = self._items[number] = _Item(f"{self._response.get('id', '')}_{number}", part)
        said = self._say(
            "output_item.added", output_index=number, item=item.document("in_progress")
        )
        match part:
            case ToolCall():
                pass
            case Thinking():
                said += self._say(
                    "reasoning_summary_part.added",
                    item_id=item.id,
                    output_index=number,
                    summary_index=0,
                    part={"type": "summary_text", "text": ""},
                )
            case _:
                said += self._say(
                    "content_part.added",
                    item_id=item.id,
                    output_index=number,
                    content_index=0,
                    part=item.content(empty=True),
                )
        return said + (self._delta(number, item, item.text) if item.text else b"")

    def _delta(self, number: int, item: _Item, text: str) -> bytes:
        where: dict[str, Any] = {"item_id": item.id, "output_index": number, "delta": text}
        match item.part:
            case ToolCall():
                return self._say("function_call_arguments.delta", **where)
            case Thinking():
                return self._say("reasoning_summary_text.delta", **where, summary_index=0)
            case Refusal():
                return self._say("refusal.delta", **where, content_index=0)
            case _:
                return self._say("output_text.delta", **where, content_index=0, logprobs=[])

    def _part_ended(self, number: int, item: _Item) -> bytes:
        where: dict[str, Any] = {"item_id": item.id, "output_index": number}
        match item.part:
            case ToolCall():
                said = self._say("function_call_arguments.done", **where, arguments=item.text)
            case Thinking():
                whole = {"type": "summary_text", "text": item.text}
                said = self._say(
                    "reasoning_summary_text.done", **where, summary_index=0, text=item.text
                ) + self._say("reasoning_summary_part.done", **where, summary_index=0, part=whole)
            case Refusal():
                said = self._say("refusal.done", **where, content_index=0, refusal=item.text)
            case _:
                said = self._say(
                    "output_text.done", **where, content_index=0, text=item.text, logprobs=[]
                )
        if isinstance(item.part, Text | Refusal):
            said += self._say("content_part.done", **where, content_index=0, part=item.content())
        done = item.document("completed")
        return said + self._say("output_item.done", output_index=number, item=done)

    def _say(self, kind: str, **fields: Any) -> bytes:  # noqa: ANN401 - members of an event
        self._number += 1
        name = f"response.{kind}"
        event = {"type": name, "sequence_number": self._number, **fields}
        return write_event(name.encode("ascii"), orjson.dumps(event))
