"""What is said of a version on the command line is the target that the API takes."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from headway.cli.targets import of_a_target
from headway.registry.target import target_from_document

SAID: list[dict[str, Any]] = []


@click.command()
@of_a_target
def say(target: dict[str, Any]) -> None:
    SAID.append(target)


def said(*words: str) -> dict[str, Any]:
    answer = CliRunner().invoke(say, words)
    assert answer.exit_code == 0, answer.output
    return SAID.pop()


def test_everything_that_a_target_may_hold_can_be_said(tmp_path: Path) -> None:
    tool = tmp_path / "tool.json"
    tool.write_text('{"type": "function", "function": {"name": "find"}}')

    target = said(
        *("--provider", "openai", "--base-url", "https://llm.example.com/v1"),
        *("--upstream-model", "m", "--credential", "mine", "--api-version", "2024-10-21"),
        *("--api", "chat", "--api", "responses", "--passes", "files"),
        *("--parameter", "temperature=0.2", "--parameter", "user=ada", "--lock", "user"),
        *("--system", "For {{company}}, {{tone}}.", "--variable", "company"),
        *("--variable", "tone=kindly", "--tool", str(tool), "--retries", "0"),
        *("--timeout-connect", "1s", "--timeout-first", "2s", "--timeout-idle", "3s"),
        *("--timeout-total", "4s", "--when-left", "cancel"),
    )

    assert target == {
        "provider": "openai",
        "base_url": "https://llm.example.com/v1",
        "model": "m",
        "credential": "mine",
        "api_version": "2024-10-21",
        "apis": ["chat", "responses"],
        "passes": ["files"],
        "parameters": {"temperature": 0.2, "user": "ada"},
        "locked": ["user"],
        "prompt": {
            "system": "For {{company}}, {{tone}}.",
            "variables": {"company": {}, "tone": {"default": "kindly"}},
        },
        "tools": [{"type": "function", "function": {"name": "find"}}],
        "retries": 0,
        "when_left": "cancel",
        "timeouts": {"connect": "1s", "first": "2s", "idle": "3s", "total": "4s"},
    }
    read = target_from_document(target).document()
    assert set(read) == set(target), "a field of a target has no option"


def test_a_model_at_an_inference_server_is_said_with_its_version() -> None:
    target = said(
        *("--provider", "inference_v2", "--base-url", "http://triton.internal:8000"),
        *("--upstream-model", "digits", "--upstream-version", "3", "--credential", "mine"),
        *("--retries", "1", "--timeout-total", "4s"),
    )

    assert target == {
        "provider": "inference_v2",
        "base_url": "http://triton.internal:8000",
        "model": "digits",
        "model_version": "3",
        "credential": "mine",
        "retries": 1,
        "timeouts": {"total": "4s"},
    }
    read = target_from_document(target).document()
    assert set(read) == set(target), "a field of a target has no option"


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ([], {}),
        (["--base-url", "http://x/v1"], {"provider": "openai", "base_url": "http://x/v1"}),
        (
            ["--provider", "anthropic"],
            {
                "provider": "anthropic",
                "base_url": "https://api.anthropic.com",
                "credential": "anthropic",
            },
        ),
        (
            ["--provider", "openai", "--credential", "team"],
            {
                "provider": "openai",
                "base_url": "https://api.openai.com/v1",
                "credential": "team",
            },
        ),
        (
            ["--provider", "anthropic", "--base-url", "http://x"],
            {"provider": "anthropic", "base_url": "http://x"},
        ),
    ],
)
def test_what_goes_without_saying_is_the_providers_own_address_and_key(
    words: list[str], target: dict[str, Any]
) -> None:
    assert said(*words) == target


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--parameter", "temperature"], "NAME=VALUE"),
        (["--variable", "company"], "--system"),
        (["--provider", "antropic"], "'anthropic'"),
        (["--retries", "5"], "0<=x<=4"),
    ],
)
def test_wrong_words_are_told(words: list[str], told: str) -> None:
    answer = CliRunner().invoke(say, words)

    assert answer.exit_code == 2
    assert told in answer.output


def test_a_tool_that_is_not_json_is_told(tmp_path: Path) -> None:
    (tmp_path / "tool.json").write_text("find")

    answer = CliRunner().invoke(say, ["--tool", str(tmp_path / "tool.json")])

    assert answer.exit_code == 2
    assert "is not JSON" in answer.output
