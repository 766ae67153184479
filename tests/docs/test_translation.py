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
