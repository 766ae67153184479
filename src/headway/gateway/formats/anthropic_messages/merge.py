"""What a version adds to a request, in Anthropic's words."""

from collections.abc import Mapping
from typing import Any, Final

from headway.gateway.exchange import Settings
from headway.gateway.merging import with_parameters
from headway.kernel.canonical import Json

_GROUPS: Final = ("output_config",)
_ANY_INPUT: Final[Mapping[str, Json]] = {"type": "object", "properties": {}}


def merge(
    given: Mapping[str, Any], settings: Settings, values: Mapping[str, str]
) -> dict[str, Any]:
    """Return a request with the version's defaults, locked parameters, system text and tools."""
    asked = merge_for_counting(given, settings, values)
    return with_parameters(asked, settings, _GROUPS)


def merge_for_counting(
    given: Mapping[str, Any], settings: Settings, values: Mapping[str, str]
) -> dict[str, Any]:
    """Return a request with what of a version has tokens: the system text and the tools."""
    document: dict[str, Any] = {**given, "model": settings.model}
    if settings.template is not None:
        document["system"] = _with_system(given.get("system"), settings.template.fill(values))
    if settings.tools:
        document["tools"] = _with_tools(given.get("tools"), settings.tools)
    metadata = given.get("metadata")
    if settings.variables and isinstance(metadata, Mapping):
        document["metadata"] = _without_variables(metadata, settings)
    return document


def _without_variables(metadata: Mapping[str, Json], settings: Settings) -> dict[str, Json]:
    """Take out what was for the prompt: this API refuses all but `user_id`."""
    return {
        name: value
        for name, value in metadata.items()
        if name == "user_id" or name not in settings.variables
    }


def _with_system(own: Json, text: str) -> str | list[Any]:
    """Put the version's system text before the caller's."""
    if isinstance(own, str) and own:
        return f"{text}\n\n{own}"
    if isinstance(own, list) and own:
        return [{"type": "text", "text": text}, *own]
    return text


def _with_tools(given: Json, tools: tuple[Mapping[str, Json], ...]) -> list[Any]:
    """Add the version's tools; on the same name the version's wins."""
    ours = [tool_document(tool) for tool in tools]
    names = [tool.get("name") for tool in ours]
    theirs = [
        tool
        for tool in (given if isinstance(given, list) else [])
        if not (isinstance(tool, Mapping) and tool.get("name") in names)
    ]
    return [*theirs, *ours]


def tool_document(tool: Mapping[str, Json]) -> dict[str, Json]:
    """Write a tool of a target: functions as Anthropic has them, its own tools as they are."""
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, Mapping):
        return dict(tool)
    written: dict[str, Json] = {
        "name": function.get("name"),
        "input_schema": function.get("parameters") or _ANY_INPUT,
    }
    for name in ("description", "strict"):
        if function.get(name) is not None:
            written[name] = function[name]
    return written
