"""What the page says of fields that are left out or refused is what happens to them."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from headway.gateway.chat import Untranslatable
from headway.gateway.dialects import ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES
from headway.gateway.exchange import Dialect

PAGE = (Path(__file__).parents[2] / "docs/reference/translation.md").read_text("utf-8")
MESSAGES: Final = [{"role": "user", "content": "hello"}]
DIALECTS: Final[dict[str, tuple[Dialect, dict[str, Any]]]] = {
    "chat": (OPENAI_CHAT, {"model": "bot", "messages": MESSAGES}),
    "responses": (OPENAI_RESPONSES, {"model": "bot", "input": "hello"}),
    "messages": (ANTHROPIC_MESSAGES, {"model": "bot", "max_tokens": 9, "messages": MESSAGES}),
}


def fields(heading: str) -> list[tuple[str, str]]:
    """Return (caller's API, field) of the table below a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (chat|responses|messages) \| (.*) \|$", section, re.MULTILINE)
    assert [caller for caller, _ in rows] == list(DIALECTS)
    return [(caller, name) for caller, names in rows for name in re.findall(r"`(\w+)`", names)]


def chat_of(caller: str, **more: object) -> Any:  # noqa: ANN401 - a chat
    dialect, document = DIALECTS[caller]
    body = json.dumps({**document, **more}).encode()
    return dialect.chat(dialect.read(body, {}, None))


@pytest.mark.parametrize(("caller", "name"), fields("Refused where it is translated"))
def test_a_field_that_is_refused_is_named(caller: str, name: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        chat_of(caller, **{name: {"something": True}})

    assert name in str(refused.value)


@pytest.mark.parametrize(("caller", "name"), fields("Left out without a word"))
def test_a_field_that_is_left_out_changes_nothing(caller: str, name: str) -> None:
    assert chat_of(caller, **{name: "something"}) == chat_of(caller)


@pytest.mark.parametrize("caller", DIALECTS)
def test_a_field_that_nobody_knows_is_passed_on(caller: str) -> None:
    assert chat_of(caller, brand_new=1).extra == {"brand_new": 1}


FUNCTION: Final[dict[str, Any]] = {
    "name": "find",
    "description": "Finds.",
    "parameters": {"type": "object"},
}
CLAUDES: Final = {"name": "find", "description": "Finds.", "input_schema": {"type": "object"}}
PNG: Final = "iVBORw0KGgo="
PDF: Final = "JVBERi0="
CALLED: Final = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}


def by_user(where: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {where: [{"role": "user", "content": list(parts)}]}


def base64(kind: str, data: str) -> dict[str, str]:
    return {"type": "base64", "media_type": kind, "data": data}


SAME: Final[dict[str, tuple[str, dict[str, Any], dict[str, Any] | None, dict[str, Any]]]] = {
    "messages of `system`, `developer`": (
        "system",
        {"messages": [{"role": "developer", "content": "Be brief."}, *MESSAGES]},
        {"instructions": "Be brief."},
        {"system": "Be brief."},
    ),
    "`max_completion_tokens`, `max_tokens`": (
        "most_tokens",
        {"max_completion_tokens": 7},
        {"max_output_tokens": 7},
        {"max_tokens": 7},
    ),
    "`temperature`": ("temperature", *({"temperature": 0.5},) * 3),
    "`stop`": ("stop", {"stop": "end"}, None, {"stop_sequences": ["end"]}),
    "`tools` of functions, `tool_choice`": (
        "tools",
        {"tools": [{"type": "function", "function": FUNCTION}]},
        {"tools": [{"type": "function", **FUNCTION}]},
        {"tools": [CLAUDES]},
    ),
    "`parallel_tool_calls`": (
        "parallel_tools",
        {"parallel_tool_calls": False},
        {"parallel_tool_calls": False},
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "`response_format` of a `json_schema`": (
        "schema.schema",
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": 1}}}},
        {"text": {"format": {"type": "json_schema", "schema": {"a": 1}}}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"a": 1}}}},
    ),
    "`reasoning_effort`": (
        "effort",
        {"reasoning_effort": "high"},
        {"reasoning": {"effort": "high"}},
        {"thinking": {"type": "enabled", "budget_tokens": 20_000}},
    ),
    "`safety_identifier`, `user`": (
        "user",
        {"safety_identifier": "u1"},
        {"user": "u1"},
        {"metadata": {"user_id": "u1"}},
    ),
    "`image_url`, `file`": (
        "messages",
        by_user(
            "messages",
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            {
                "type": "file",
                "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"},
            },
        ),
        by_user(
            "input",
            {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
            {
                "type": "input_file",
                "file_data": f"data:application/pdf;base64,{PDF}",
                "filename": "a.pdf",
            },
        ),
        by_user(
            "messages",
            {"type": "image", "source": base64("image/png", PNG)},
            {"type": "document", "source": base64("application/pdf", PDF), "title": "a.pdf"},
        ),
    ),
    "messages of `tool`": (
        "messages",
        {
            "messages": [
                {"role": "assistant", "tool_calls": [CALLED]},
                {"role": "tool", "tool_call_id": "c1", "content": "found"},
            ]
        },
        {
            "input": [
                {"type": "function_call", "call_id": "c1", "name": "find", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "found"},
            ]
        },
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "c1", "name": "find", "input": {}}],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "found"}],
                },
            ]
        },
    ),
}
"""By the first cell of a row: what of a chat it is, and the same said by callers of each API."""


def test_every_row_of_what_is_asked_is_tried() -> None:
    section = PAGE.partition("## Translated: what is asked\n")[2].partition("\n\n## ")[0]
    rows = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)
    assert rows[1:] == list(SAME)
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    for line, (_, *said) in zip(lines[1:], SAME.values(), strict=True):
        empty = [not cell.strip() for cell in line.split("|")[1:4]]
        assert empty == [each is None for each in said]


@pytest.mark.parametrize("row", SAME)
def test_callers_of_every_api_ask_the_same(row: str) -> None:
    what, *said = SAME[row]
    found = []
    for caller, more in zip(DIALECTS, said, strict=True):
        if more is not None:
            chat = chat_of(caller, **more)
            for name in what.split("."):
                chat = getattr(chat, name)
            found.append(chat)
            plain = chat_of(caller)
            assert chat != getattr(plain, what.partition(".")[0])
    assert all(each == found[0] for each in found)
