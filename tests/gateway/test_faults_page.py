"""What the page of faults says is what a caller of the official SDK meets."""

import re
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.gateway.conftest import Traffic

from headway.testing.provider import BROKEN_STREAMS, FAULTS, SILENCES

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "faults.md").read_text("utf-8")
TOLD = {
    name: (whole, stream)
    for name, whole, stream in re.findall(r"^\| `(.+?)` \| (.*?) ?\| (.+) \|$", PAGE, re.MULTILINE)
}
PLAYED = {**FAULTS, **SILENCES, **BROKEN_STREAMS}


def test_every_fault_is_on_the_page() -> None:
    assert list(TOLD) == list(PLAYED)


@pytest.mark.parametrize("name", PLAYED)
def test_what_is_said_of_a_fault_happens(traffic: Traffic, name: str) -> None:
    timeouts = {"first": "200ms", "idle": "200ms", "total": "5s"}
    target = traffic.target(retries=1, timeouts=timeouts)
    traffic.serve(versions={("bot", "1.0.0"): target})
    traffic.provider.script = lambda _: PLAYED[name]
    whole, stream = TOLD[name]

    assert met(traffic, stream=False) == whole
    assert met(traffic, stream=True) == stream
    assert traffic.gateway.outcomes()["1.0.0"]["provider"] == 2 - (whole == "")


def met(traffic: Traffic, *, stream: bool) -> str:
    """Return in the words of the page what a caller meets; nothing for a good answer."""
    before = len(traffic.provider.requests)
    asked: Any = [{"role": "user", "content": "Hello"}]
    try:
        answer = traffic.client().chat.completions.create(
            model="bot", messages=asked, stream=stream
        )
        list(answer)
    except openai.APIStatusError as error:
        calls = len(traffic.provider.requests) - before
        mark = {(1, None): "", (2, "false"): "↻ "}
        told = error.response.headers.get("x-should-retry")
        return f"{mark[calls, told]}{error.status_code} `{error.code}`"
    except openai.APIError as error:
        return f"event `{error.code}`"
    return ""
