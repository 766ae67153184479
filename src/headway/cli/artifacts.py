"""`headway artifacts`: upload and fetch files by digest."""

from pathlib import Path

import click

from headway.cli.client import from_environment, path_of
from headway.cli.output import as_json, show_json


@click.group()
def artifacts() -> None:
    """Upload and fetch files."""


@artifacts.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
def upload(file: Path, output: str) -> None:
    """Upload a file, streamed; the same bytes again change nothing."""
    with file.open("rb") as stream:
        pieces = iter(lambda: stream.read(1 << 16), b"")
        stored = from_environment().call("POST", "/artifacts", content=pieces)
    show_json(stored) if output == "json" else click.echo(stored["digest"])


@artifacts.command()
@click.argument("digest")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def fetch(digest: str, file: Path) -> None:
    """Fetch a file; nothing stands there before all of it has come."""
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as stream:
            for piece in from_environment().fetch(path_of("artifacts", digest)):
                stream.write(piece)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    click.echo(f"{file} written")


@artifacts.command()
@click.argument("digest")
def remove(digest: str) -> None:
    """Remove a file that no version needs; it leaves the disk within a day or two."""
    from_environment().call("DELETE", f"/artifacts/{digest}")
    click.echo(f"{digest} removed")
