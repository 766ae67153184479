"""Tables for people, JSON for programs (`-o json`)."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

_PIPE_WIDTH: Final = 400
"""A pipe has no width: one row a line, for grep and awk."""

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
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, (title, _) in enumerate(columns):
        table.add_column(title, overflow="fold", no_wrap=number == 0)  # a name is never broken
    for item in items:
        table.add_row(*(_text(read(item)) for _, read in columns))
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


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
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for title, read in lines:
        if (value := read(item)) not in (None, "", {}, []):
            table.add_row(title, _text(value))
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def moment(time: str | None) -> str:
    """Shorten an RFC 3339 time in UTC to the second."""
    return f"{time[:19].replace('T', ' ')}Z" if time else "-"


def share(bp: int) -> str:
    return f"{bp / 100:g} %"
