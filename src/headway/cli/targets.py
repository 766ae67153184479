"""The options that say what a version calls, as one document that the API takes."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeAlias

import click

from headway.registry.target import APIS, MOST_RETRIES, WHEN_LEFT

Command: TypeAlias = Callable[..., None]
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_USUAL: Final = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
}
"""Where a provider itself answers; a credential is named after it if nothing else is said."""
_TIMEOUTS: Final = ("connect", "first", "idle", "total")
_WORDS: Final = ("base_url", "credential", "api_version", "retries", "when_left")
"""Options that the API calls by the same name."""
_ALL: Final = (
    *_WORDS,
    "provider",
    "upstream_model",
    "upstream_version",
    "api",
    "passes",
    "parameter",
    "lock",
    "system",
    "variable",
    "tool",
    *(f"timeout_{name}" for name in _TIMEOUTS),
)


def _parameters(_: click.Context, parameter: click.Parameter, pairs: tuple[str, ...]) -> Any:  # noqa: ANN401 - click's own
    """Read NAME=VALUE, the value as JSON where it is JSON and as text where not."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r}: write it as NAME=VALUE", param=parameter)
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def _tools(_: click.Context, parameter: click.Parameter, files: tuple[Path, ...]) -> Any:  # noqa: ANN401 - click's own
    found: list[Any] = []
    for file in files:
        try:
            tools = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise click.BadParameter(f"{file} is not JSON: {error}", param=parameter) from error
        found += tools if isinstance(tools, list) else [tools]
    return found


def _variables(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> Any:  # noqa: ANN401 - click's own
    """Read NAME (each request brings it) or NAME=DEFAULT."""
    pairs = (word.partition("=") for word in words)
    return {name: {"default": text} if equals else {} for name, equals, text in pairs}


_OPTIONS: Final = (
    click.option(
        "--provider",
        type=click.Choice(["openai", "anthropic", "inference_v2"]),
        help="How the endpoint is spoken to; openai if there is only --base-url.",
    ),
    click.option(
        "--base-url",
        help="Where it answers, as in http://127.0.0.1:11434/v1; the provider's own if left out.",
    ),
    click.option("--upstream-model", help="What the endpoint calls the model."),
    click.option("--upstream-version", help="Of the model at an inference_v2 endpoint."),
    click.option(
        "--credential",
        help="The name of HEADWAY_SECRET_<NAME>; without --base-url that of the provider.",
    ),
    click.option("--api-version", help="Of the provider's API: anthropic-version, api-version."),
    click.option(
        "--api",
        multiple=True,
        type=click.Choice(APIS),
        help="What an openai endpoint offers, if that is not what is known of its host.",
    ),
    click.option(
        "--passes",
        multiple=True,
        metavar="PATH",
        help="A further path below the base URL that callers may use as it is, as in files.",
    ),
    click.option(
        "--parameter",
        multiple=True,
        callback=_parameters,
        metavar="NAME=VALUE",
        help="For requests that do not say, as in temperature=0.2; the value is JSON or text.",
    ),
    click.option(
        "--lock",
        multiple=True,
        metavar="NAME",
        help="This --parameter holds for requests that say otherwise, too.",
    ),
    click.option("--system", help="The system prompt; {{name}} where a variable goes."),
    click.option(
        "--variable",
        multiple=True,
        callback=_variables,
        metavar="NAME[=DEFAULT]",
        help="One of the system prompt; without a default each request brings it.",
    ),
    click.option(
        "--tool",
        multiple=True,
        type=_FILE,
        callback=_tools,
        help="A JSON file with a tool, or a list of them, as OpenAI's chat writes functions.",
    ),
    click.option(
        "--when-left",
        type=click.Choice(WHEN_LEFT),
        help="An answer whose caller left: count its tokens to the end (usual), or cancel it.",
    ),
    click.option(
        "--retries",
        type=click.IntRange(0, MOST_RETRIES),
        help="At most so many for one request; 2 if left out.",
    ),
    *(
        click.option(f"--timeout-{name}", metavar="DURATION", help=words)
        for name, words in (
            ("connect", "To connect, 5s if left out."),
            ("first", "To the first content, 60s if left out."),
            ("idle", "Between two reads, 30s if left out."),
            ("total", "For the whole request, 600s if left out."),
        )
    ),
)


def of_a_target(command: Command) -> Command:
    """Give a command the options above; it gets what they say as `target`, a document."""

    @wraps(command)
    def run(*args: object, **options: Any) -> None:  # noqa: ANN401 - what click read
        words = {name: options.pop(name) for name in _ALL}
        command(*args, target=_document(words), **options)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def _document(words: dict[str, Any]) -> dict[str, Any]:
    """Return the target, only with what was said."""
    if words["variable"] and words["system"] is None:
        raise click.UsageError("--variable names one of --system: give that, too")
    said = {name: words[name] for name in _WORDS}
    if (provider := words["provider"]) is not None:
        said["provider"] = provider
        if said["base_url"] is None and provider in _USUAL:
            said |= {
                "base_url": _USUAL[provider],
                "credential": said["credential"] or provider,
            }
    elif said["base_url"] is not None:
        said["provider"] = "openai"
    said |= {
        "model": words["upstream_model"],
        "model_version": words["upstream_version"],
        "apis": list(words["api"]),
        "passes": list(words["passes"]),
        "parameters": words["parameter"],
        "locked": list(words["lock"]),
        "prompt": words["system"] and {"system": words["system"], "variables": words["variable"]},
        "tools": words["tool"],
        "timeouts": {n: words[f"timeout_{n}"] for n in _TIMEOUTS if words[f"timeout_{n}"]},
    }
    return {name: value for name, value in said.items() if value not in (None, "", [], {})}
