"""Tables for people, JSON for programs (`-o json`)."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH: Final = 400
"""A pipe has no width: one row a line, for grep and awk."""
_LEAST_WIDTH: Final = 24
"""Of the one column whose words may be wrapped; with less a table is no table any more."""
_GAP: Final = 2
"""Between two columns."""

as_json = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    help="A table for people, or JSON for programs.",
)


def show_json(value: Any) -> None:  # noqa: ANN401 - whatever the API answered
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show(
    output: str,
    items: Sequence[Any],
    columns: Sequence[tuple[str, Callable[[Any], object]]],
    *,
    whole: Any = None,  # noqa: ANN401 - whatever the API answered
) -> None:
    """Print rows: `columns` are (title, how to read it from an item)."""
    if output == "json":
        show_json(items if whole is None else whole)
        return
    titles = [title for title, _ in columns]
    rows = [[_text(read(item)) for _, read in columns] for item in items]
    widths = [max(map(cell_len, cells)) for cells in zip(titles, *rows, strict=True)]
    console = _console()
    widest = max(range(len(widths)), key=widths.__getitem__)
    room = console.width - sum(widths) + widths[widest] - _GAP * (len(widths) - 1)
    if room < min(widths[widest], _LEAST_WIDTH):
        for row in rows:
            console.print(_facts(zip(titles, row, strict=True)))
            console.print()
        return
    table = Table(box=None, pad_edge=False, header_style=_bold())
    for number, title in enumerate(titles):
        table.add_column(Text(title), overflow="fold", no_wrap=number != widest)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _facts(lines: Iterable[tuple[str, str]]) -> Table:
    """Return a fact a line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style=_bold())
    table.add_column(overflow="fold")
    for title, text in lines:
        table.add_row(Text(title), Text(text))
    return table


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


def _bold() -> str:
    return "" if os.environ.get("NO_COLOR") else "bold"


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def show_one(
    output: str,
    item: Any,  # noqa: ANN401 - whatever the API answered
    lines: Sequence[tuple[str, Callable[[Any], object]]],
) -> None:
    """Print one thing, a fact a line; what is empty is left out."""
    if output == "json":
        show_json(item)
        return
    found = ((title, read(item)) for title, read in lines)
    there = ((title, _text(value)) for title, value in found if value not in (None, "", {}, []))
    _console().print(_facts(there))


def moment(time: str | None) -> str:
    """Shorten an RFC 3339 time in UTC to the second."""
    return f"{time[:19].replace('T', ' ')}Z" if time else "-"


def share(bp: int) -> str:
    return f"{bp / 100:g} %"
