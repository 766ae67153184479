"""Who wins between a version's parameters and a request: told field by field."""

from collections.abc import Mapping
from typing import Any

from headway.gateway.exchange import Settings


def with_parameters(
    given: Mapping[str, Any], settings: Settings, groups: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return a request with a version's defaults under it and its locked parameters over it.

    `groups`: fields that hold several parameters in one object, as `reasoning` holds `effort` and
    `summary`. Who says one of them leaves the others open.
    """
    said = (settings.parameters, given, settings.locked)
    document: dict[str, Any] = {**settings.parameters, **given, **settings.locked}
    for name in groups:
        parts: list[Any] = [each[name] for each in said if name in each]
        if len(parts) > 1 and all(isinstance(part, Mapping) for part in parts):
            document[name] = {member: part[member] for part in parts for member in part}
    return document
