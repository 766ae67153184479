"""Pages of long lists: each begins after the last row of the one before, whatever came meanwhile.

A cursor holds the order that it was made for and the place of that row in it. It is opaque to
callers, and not secret.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from headway.kernel.errors import Invalid

Place = Sequence[str | int]
"""Where a row stands in an order: its values in the columns of the order."""


def write_cursor(order: str, place: Place) -> str:
    text = json.dumps([order, *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, order: str, columns: Sequence[sa.ColumnElement[Any]]) -> Place:
    """Return the place, or raise `Invalid` at `/cursor` if it is not one in this order."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        made_for, *place = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        raise Invalid.at("/cursor", "this is no cursor that a list gave") from error
    if made_for != order:
        raise Invalid.at("/cursor", "this cursor belongs to a list in another order")
    kinds = [str if isinstance(column.type, sa.Text) else int for column in columns]
    if [type(value) for value in place] != kinds or any(
        isinstance(value, int) and abs(value) >= 1 << 63 for value in place
    ):
        raise Invalid.at("/cursor", "this is no cursor that a list gave")
    return tuple(place)


def turn_to(
    query: sa.Select[Any],
    *,
    order: str,
    columns: Sequence[sa.ColumnElement[Any]],
    after: str | None,
) -> sa.Select[Any]:
    """Sort by columns, all of them downwards if `order` begins with `-`, and begin after a row."""
    down = order.startswith("-")
    query = query.order_by(*(column.desc() if down else column for column in columns))
    return query if after is None else begin_after(query, order, columns, after)


def begin_after(
    query: sa.Select[Any], order: str, columns: Sequence[sa.ColumnElement[Any]], after: str
) -> sa.Select[Any]:
    """Leave out the rows up to the cursor."""
    place = sa.tuple_(*(sa.literal(value) for value in read_cursor(after, order, columns)))
    here = sa.tuple_(*columns)
    return query.where(here < place if order.startswith("-") else here > place)
