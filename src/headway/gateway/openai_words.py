"""What requests to OpenAI's chat and responses say alike: functions, their choice, schemas."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from headway.gateway import members
from headway.gateway.chat import Media, Schema, Tool, ToolChoice, Untranslatable, split_data_url
from headway.kernel.canonical import Json

_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any"}


def tool_of(function: Mapping[str, Json], extra: Mapping[str, Json] | None = None) -> Tool:
    """Return a function; `extra` is what stands beside it."""
    schema = function.get("parameters")
    return Tool(
        str(function.get("name") or ""),
        str(function.get("description") or ""),
        schema if isinstance(schema, Mapping) else None,
        _strict(function),
        extra or {},
    )


def schema_of(said: Mapping[str, Json]) -> Schema:
    """Return what a `json_schema` says of itself."""
    schema = said.get("schema")
    return Schema(
        schema if isinstance(schema, Mapping) else {},
        str(said.get("name") or "answer"),
        str(said.get("description") or ""),
        _strict(said),
    )


def choice_of(value: Json, named: Callable[[Mapping[str, Any]], Json]) -> ToolChoice | None:
    """Return a `tool_choice`; `named` finds the function's name in one that is an object.

    Raises `NotAnswered` for a word that is none of the API's, `Untranslatable` for other kinds.
    """
    if value is None:
        return None
    if isinstance(value, str):
        if value not in _CHOICES:
            raise members.wrong("tool_choice", "auto, none, required or a function")
        return ToolChoice(_CHOICES[value])  # type: ignore[arg-type] # its words are the values
    name = named(value) if isinstance(value, Mapping) else None
    if not isinstance(name, str) or not name:
        raise Untranslatable("tool_choice", "of this kind is not known to this version's provider")
    return ToolChoice("tool", name)


def image_at(url: str, detail: object = None, extra: Mapping[str, Json] | None = None) -> Media:
    """Return an image by its URL, which may hold it."""
    media_type, data = split_data_url(url)
    close = detail if isinstance(detail, str) else ""
    if data:
        return Media("image", data=data, media_type=media_type, detail=close, extra=extra or {})
    return Media("image", url=url, detail=close, extra=extra or {})


def _strict(said: Mapping[str, Json]) -> bool | None:
    strict = said.get("strict")
    return strict if isinstance(strict, bool) else None
