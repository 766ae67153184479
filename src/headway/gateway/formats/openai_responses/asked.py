"""What a request for a response asks, said so that another dialect can ask it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from headway.gateway import members
from headway.gateway.chat import (
    Chat,
    Media,
    Message,
    Part,
    Refusal,
    Schema,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Untranslatable,
    split_data_url,
)
from headway.gateway.formats.openai_responses.merge import variables_of
from headway.gateway.openai_words import choice_of, image_at, schema_of, tool_of
from headway.kernel.canonical import Json

_TRANSLATED: Final = frozenset(
    {
        "input",
        "instructions",
        "max_output_tokens",
        "metadata",
        "model",
        "parallel_tool_calls",
        "prompt",
        "reasoning",
        "safety_identifier",
        "stream",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_p",
        "user",
    }
)
_IDLE: Final = frozenset(
    {
        "include",
        "prompt_cache_key",
        "prompt_cache_retention",
        "service_tier",
        "store",
        "stream_options",
        "truncation",
    }
)
"""Hints to OpenAI's own machinery: an answer without them is as good."""
_HARMLESS: Final[Mapping[str, tuple[Json, ...]]] = {
    "background": (None, False),
    "conversation": (None,),
    "max_tool_calls": (None,),
    "previous_response_id": (None,),
    "top_logprobs": (None, 0),
}
"""Fields that only this API has, with the values that change nothing."""


def chat_of(document: Mapping[str, Any]) -> Chat:
    """Return what a parsed request asks.

    Raises `Untranslatable` for what only this API can do, `NotAnswered` (400) for what is wrong.
    """
    for name, harmless in _HARMLESS.items():
        if document.get(name) not in harmless:
            raise Untranslatable(name, "is not known to this version's provider")
    instructions = members.text(document, "instructions")
    system, messages = _items(document.get("input"))
    if instructions:
        system = (Text(instructions), *system)
    reasoning = document.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, Mapping) else None
    text = document.get("text")
    return Chat(
        messages=messages,
        system=system,
        tools=tuple(_tools(document)),
        tool_choice=choice_of(document.get("tool_choice"), _named),
        parallel_tools=members.flag(document, "parallel_tool_calls"),
        most_tokens=members.count(document, "max_output_tokens"),
        temperature=members.number(document, "temperature"),
        top_p=members.number(document, "top_p"),
        schema=_schema(text.get("format") if isinstance(text, Mapping) else None),
        effort=effort if isinstance(effort, str) else None,
        user=members.text(document, "safety_identifier") or members.text(document, "user"),
        metadata=variables_of(document),
        stream=document.get("stream") is True,
        extra={
            name: value
            for name, value in document.items()
            if name not in _TRANSLATED and name not in _IDLE and name not in _HARMLESS
        },
    )


# Fields


def _schema(value: Json) -> Schema | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise members.wrong("text.format", "an object")
    kind = value.get("type")
    if kind == "text":
        return None
    if kind != "json_schema" or not isinstance(value.get("schema"), Mapping):
        raise Untranslatable(
            "text.format",
            f"of the type {str(kind)[:64]!r} is not known to this version's provider",
        )
    return schema_of(value)


def _tools(document: Mapping[str, Any]) -> Iterator[Tool]:
    for i, tool in enumerate(members.items(document, "tools")):
        if not isinstance(tool, Mapping):
            raise members.wrong(f"tools[{i}]", "an object")
        if tool.get("type") != "function":
            raise Untranslatable(f"tools[{i}]", "is no function: this version's provider has none")
        if not isinstance(tool.get("name"), str) or not tool["name"]:
            raise members.wrong(f"tools[{i}].name", "a text")
        yield tool_of(tool)


def _named(choice: Mapping[str, Any]) -> Json:
    return choice.get("name") if choice.get("type") == "function" else None


# Items of the input


def _items(value: Json) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    """Return the system texts, wherever they stand, and the turns in between.

    Items that belong to one turn stand one after the other here: calls and what was said with
    them, results and what the user said to them.
    """
    if value is None:
        return (), ()
    if isinstance(value, str):
        return (), (Message("user", (Text(value),)),)
    if not isinstance(value, list):
        raise members.wrong("input", "a text or a list of items")
    system: list[Text] = []
    turns: list[tuple[Any, list[Part]]] = []
    for i, item in enumerate(value):
        at = f"input[{i}]"
        if not isinstance(item, Mapping):
            raise members.wrong(at, "an object")
        role, parts = _item(item, at)
        if role == "system":
            system.extend(part for part in parts if isinstance(part, Text))
        elif turns and turns[-1][0] == role:
            turns[-1][1].extend(parts)
        else:
            turns.append((role, parts))
    return tuple(system), tuple(Message(role, tuple(parts)) for role, parts in turns)


def _item(item: Mapping[str, Any], at: str) -> tuple[str, list[Part]]:
    match item.get("type", "message"):
        case "message":
            role = item.get("role")
            if role not in (
                "user",
                "assistant",
                "system",
                "developer",
            ):  # it may be a list: no hash
                raise members.wrong(f"{at}.role", "user, assistant, system or developer")
            parts = list(_parts(item.get("content"), f"{at}.content"))
            return ("system" if role == "developer" else str(role)), parts
        case "function_call":
            call = ToolCall(
                str(item.get("call_id") or ""),
                str(item.get("name") or ""),
                str(item.get("arguments") or ""),
            )
            return "assistant", [call]
        case "function_call_output":
            found = tuple(
                part
                for part in _parts(item.get("output"), f"{at}.output")
                if isinstance(part, Text | Media)
            )
            return "user", [ToolResult(str(item.get("call_id") or ""), found)]
        case "reasoning":
            return "assistant", [_reasoning(item)]
        case kind:
            raise Untranslatable(
                at, f"is of the type {str(kind)[:64]!r}, which is not known to this provider"
            )


def _reasoning(item: Mapping[str, Any]) -> Thinking:
    summary = item.get("summary")
    texts = [
        str(part.get("text") or "")
        for part in (summary if isinstance(summary, list) else [])
        if isinstance(part, Mapping)
    ]
    return Thinking("\n\n".join(texts), str(item.get("encrypted_content") or ""))


def _parts(content: Json, at: str) -> Iterator[Part]:
    return members.parts(content, at, _part, "[%d]")


def _part(part: Mapping[str, Any], at: str) -> Part:
    match part:
        case {"type": "input_text" | "output_text" | "text", "text": str(text)}:
            return Text(text)
        case {"type": "refusal", "refusal": str(text)}:
            return Refusal(text)
        case {"type": "input_image", "image_url": str(url)}:
            return image_at(url, part.get("detail"))
        case {"type": "input_file", "file_data": str(url)}:
            media_type, data = split_data_url(url)
            if not data:
                raise members.wrong(f"{at}.file_data", "a data URL with base64")
            name = str(part.get("filename") or "")
            return Media("document", data=data, media_type=media_type, name=name)
        case {"type": "input_file", "file_url": str(url)}:
            return Media("document", url=url, name=str(part.get("filename") or ""))
        case {"type": "input_text" | "output_text" | "text"}:
            raise members.wrong(f"{at}.text", "a text")
        case _:
            raise Untranslatable(
                at,
                f"is of the type {str(part.get('type'))[:64]!r}, which is not known to this "
                "version's provider",
            )
