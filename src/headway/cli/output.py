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


def age(time: str | None) -> str:
    """Shorten an RFC 3339 time to the second."""
    return (time or "-")[:19].replace("T", " ")
