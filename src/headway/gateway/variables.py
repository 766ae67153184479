"""The values of a prompt's variables: what a request brings, else the version's own defaults."""

from collections.abc import Mapping

import orjson

from headway.gateway.body import header_object, malformed
from headway.gateway.exchange import Fields, NotAnswered, Problem, Settings
from headway.kernel.canonical import Json
from headway.registry.prompt import LONGEST_VALUE
from headway.tracking.measurement import Outcome


def values_of(metadata: Mapping[str, Json], settings: Settings, headers: Fields) -> dict[str, str]:
    """Return the values of the declared variables: the header's, the metadata's, defaults.

    Raises `NotAnswered`: 422 naming a variable that has no value, 400 for one that is too long.
    """
    if not settings.variables:
        return {}
    brought = header_object(headers, b"headway-variables")
    values: dict[str, str] = {}
    for name, default in settings.variables.items():
        value = brought.get(name, metadata.get(name, default))
        if value is None:
            raise NotAnswered(
                Problem(
                    422,
                    f"the prompt of this version needs a value for {name!r}: send it in "
                    "`metadata`, in the `prompt.variables` of a response, or in the header "
                    "Headway-Variables",
                    Outcome.REFUSED,
                    "missing_variable",
                    f"metadata.{name}",
                )
            )
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        if len(text) > LONGEST_VALUE:
            raise malformed(f"the value of {name!r} is too long", code="invalid_value")
        values[name] = text
    return values
