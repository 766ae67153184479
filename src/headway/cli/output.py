"""Tables for people, JSON for programs (`-o json`)."""

import json
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import click
from rich.console import Console
from rich.table import Table

P = ParamSpec("P")
R = TypeVar("R")

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
    for title, _ in columns:
        table.add_column(title, overflow="fold")
    for item in items:
        table.add_row(*(_text(read(item)) for _, read in columns))
    Console().print(table)


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
