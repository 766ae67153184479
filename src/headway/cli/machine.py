"""The commands that run on the machine itself: serve, gateway, control, runner, db."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import click

from headway.kernel.errors import HeadwayError
from headway.settings import Settings
from headway.supervisor import MISCONFIGURED, become_supervisor

P = ParamSpec("P")


def _told(command: Callable[P, None]) -> Callable[P, None]:
    """Say what is wrong with the machine or the settings in one line, and do not try again."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except HeadwayError as error:
            click.echo(f"headway: {error}", err=True)
            sys.exit(MISCONFIGURED)
        except KeyboardInterrupt:
            sys.exit(130)

    return run


@click.command()
@_told
def serve() -> None:
    """Run everything on this machine: gateways, control, runner; one public port."""
    settings = Settings()
    from headway.wiring.folders import listen, private_folder  # noqa: PLC0415 - only here

    private_folder(settings.data)
    private_folder(settings.run_folder)
    sock = listen(settings.host, settings.port)
    host, port = sock.getsockname()[:2]
    click.echo(f"Headway listens on http://{host}:{port} (data in {settings.data})")
    os.environ["HEADWAY_HOST"] = settings.host
    os.environ["HEADWAY_PORT"] = str(port)
    become_supervisor(sock, gateways=settings.gateways, drain_s=settings.drain_s)


@click.command()
@click.option("--number", default=1, help="Which of this machine's gateways it is.")
@_told
def gateway(number: int) -> None:
    """Run one gateway."""
    from headway.wiring import gateway as wiring  # noqa: PLC0415 - each process loads its own

    wiring.run(Settings(), number=number)


@click.command()
@_told
def control() -> None:
    """Run the control plane."""
    from headway.app import create_app  # noqa: PLC0415 - each process loads its own
    from headway.wiring import control as wiring  # noqa: PLC0415 - likewise

    wiring.run(Settings(), create_app)


@click.command()
@_told
def runner() -> None:
    """Run the runner of local models."""
    from headway.wiring import runner as wiring  # noqa: PLC0415 - each process loads its own

    wiring.run(Settings())


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@_told
def upgrade() -> None:
    """Bring the schema to this version; harmless when it is there already."""
    from headway.wiring import database  # noqa: PLC0415 - each process loads its own

    click.echo(database.upgrade(Settings()))


@db.command()
@_told
def check() -> None:
    """Say which schema and which library there are; exit 78 if this version cannot use them."""
    from headway.wiring import database  # noqa: PLC0415 - each process loads its own

    click.echo(database.describe(Settings()))
