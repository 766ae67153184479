"""What a version adds to a request, in the words of OpenAI's responses."""

from collections.abc import Mapping
from typing import Any, Final

from headway.gateway.exchange import Settings
from headway.gateway.merging import with_parameters
from headway.kernel.canonical import Json

_SAME: Final = frozenset(
    {
        "include",
        "max_tool_calls",
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "temperature",
        "text",
        "tool_choice",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
        "max_output_tokens",
    }
)
_GROUPS: Final = ("reasoning", "text")
_LIMITS: Final = ("max_completion_tokens", "max_tokens")


def said_as_response(parameters: Mapping[str, Json]) -> dict[str, Json] | None:
    """Return parameters as this API writes them; None if it cannot say one of them.

    Versions write theirs as chat completions do, or as responses do.
    """
    said: dict[str, Json] = {}
    text: dict[str, Json] = {}
    for name, value in parameters.items():
        if name == "tool_choice" and isinstance(value, Mapping):
            said[name] = tool_document(value)
        elif name in _SAME:
            said[name] = value
        elif name in _LIMITS:
            said["max_output_tokens"] = value
        elif name == "reasoning_effort":
            said["reasoning"] = {"effort": value}
        elif name == "verbosity":
            text["verbosity"] = value
        elif name == "response_format" and isinstance(value, Mapping):
            inner = value.get("json_schema")
            rest = inner if isinstance(inner, Mapping) else {}
            text["format"] = {"type": value.get("type"), **rest}
        else:
            return None
    if text:
        given = said.get("text")
        said["text"] = {**text, **(given if isinstance(given, Mapping) else {})}
    return said


def merge(
    given: Mapping[str, Any], settings: Settings, values: Mapping[str, str]
) -> dict[str, Any]:
    """Return a request with the version's defaults, locked parameters, instructions and tools."""
    document = with_parameters(given, settings, _GROUPS)
    document["model"] = settings.model
    # It named a model of ours; the provider stores no prompt of that name.
    document.pop("prompt", None)
    if settings.template is not None:
        own = given.get("instructions")
        text = settings.template.fill(values)
        document["instructions"] = f"{text}\n\n{own}" if isinstance(own, str) and own else text
    if settings.tools:
        document["tools"] = _with_tools(given.get("tools"), settings.tools)
    return document


def _with_tools(given: Json, tools: tuple[Mapping[str, Json], ...]) -> list[Any]:
    """Add the version's tools; on the same name the version's wins."""
    ours = [tool_document(tool) for tool in tools]
    names = {_name(tool) for tool in ours}
    theirs = given if isinstance(given, list) else []
    return [
        *(tool for tool in theirs if not (isinstance(tool, Mapping) and _name(tool) in names)),
        *ours,
    ]


def _name(tool: Mapping[str, Any]) -> str:
    return str(tool.get("name") or tool.get("type"))


def tool_document(tool: Mapping[str, Json]) -> dict[str, Json]:
    """Write a tool of a target, or the choice of one: a function lies flat here.

    Other tools stay as they are.
    """
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, Mapping):
        return dict(tool)
    return {"type": "function", **function}


def variables_of(document: Mapping[str, Any]) -> dict[str, Json]:
    """Return what a request brings for a prompt: its metadata, and the prompt's variables."""
    metadata, prompt = document.get("metadata"), document.get("prompt")
    found: dict[str, Json] = dict(metadata) if isinstance(metadata, Mapping) else {}
    variables = prompt.get("variables") if isinstance(prompt, Mapping) else None
    for name, value in variables.items() if isinstance(variables, Mapping) else ():
        text = value.get("text") if isinstance(value, Mapping) else value
        if isinstance(text, str):
            found[str(name)] = text
    return found
