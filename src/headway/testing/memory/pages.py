"""Lists: what a filter lets through, and pages that begin after a row."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from headway.kernel.errors import Invalid
from headway.registry.ports import Page
from headway.testing.memory.tables import fold_text, same_name

T = TypeVar("T")


def tagged(tags: Mapping[str, str], wanted: tuple[str, str | None] | None) -> bool:
    if wanted is None:
        return True
    key, value = wanted
    return any(same_name(key, name) and value in {None, found} for name, found in tags.items())


def holds(text: str, q: str) -> bool:
    return all(word in fold_text(text) for word in fold_text(q).split())


def newest_first(found: Sequence[Any], *, before: str | None, limit: int) -> list[Any]:
    """Return those with ids below `before`, newest first."""
    older = [one for one in found if before is None or one.id < before]
    return sorted(older, key=lambda one: one.id, reverse=True)[:limit]


def page_of(
    found: Sequence[T],
    key: Callable[[T], tuple[Any, ...]],
    order: str,
    limit: int,
    after: str | None,
) -> Page[T]:
    backwards = order.startswith("-")
    found = sorted(found, key=key, reverse=backwards)
    if after is not None:
        last = _read_cursor(after, order)
        try:
            found = [one for one in found if (key(one) < last if backwards else key(one) > last)]
        except TypeError as error:
            raise Invalid.at("/cursor", "this is no cursor that a list gave") from error
    items = tuple(found[:limit])
    more = len(found) > limit
    return Page(items, _cursor(order, key(items[-1])) if more else None)


def _cursor(order: str, values: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps([order, *values]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, order: str) -> tuple[Any, ...]:
    try:
        made_for, *values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, binascii.Error) as error:
        raise Invalid.at("/cursor", "this is no cursor that a list gave") from error
    if made_for != order:
        raise Invalid.at("/cursor", "this cursor belongs to a list in another order")
    return tuple(values)
