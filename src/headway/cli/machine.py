"""The commands that run on the machine itself: serve, gateway, scribe, control, runner, db."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Final, NoReturn, ParamSpec

import click

from headway.kernel.errors import Busy, Conflict, HeadwayError, Invalid, Unavailable
from headway.supervisor import MISCONFIGURED, become_supervisor

P = ParamSpec("P")
_TRY_AGAIN: Final = 75
"""Exit code (EX_TEMPFAIL): the database is gone or taken. Others serve on meanwhile."""


def told(command: Callable[P, None]) -> Callable[P, None]:
    """Say in one line what is wrong; with the settings: the supervisor does not try again.

    Whatever these commands write is for its owner alone.
    """

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        os.umask(0o077)
        try:
            command(*args, **kwargs)
        except (Unavailable, Busy, Conflict) as error:
            _end(str(error), _TRY_AGAIN)
        except Invalid as error:
            _end("; ".join(fault.detail for fault in error.faults), MISCONFIGURED)
        except HeadwayError as error:
            _end(str(error), MISCONFIGURED)
        except KeyboardInterrupt:
            sys.exit(130)

    return run


def _end(words: str, code: int) -> NoReturn:
    click.echo(f"headway: {words}", err=True)
    sys.exit(code)


@click.command()
@click.option(
    "--until-input-ends",
    is_flag=True,
    help="Stop when standard input ends: for a program that starts Headway, and may die.",
)
@told
def serve(*, until_input_ends: bool) -> None:
    """Run everything on this machine: gateways, scribe, control, runner; one public port."""
    from headway.settings import Settings  # noqa: PLC0415 - each process loads its own
    from headway.wiring.driver import check_driver  # noqa: PLC0415 - likewise
    from headway.wiring.folders import claim, listen, private_folder  # noqa: PLC0415 - likewise
    from headway.wiring.handing import hand_down  # noqa: PLC0415 - likewise

    settings = Settings()

    check_driver(settings)
    private_folder(settings.data)
    private_folder(settings.run_folder)
    sock = listen(settings.host, settings.port)
    claim(settings.run_folder)
    host, port = sock.getsockname()[:2]
    click.echo(f"Headway listens on http://{host}:{port} (data in {settings.data})")
    os.environ["HEADWAY_HOST"] = settings.host
    os.environ["HEADWAY_PORT"] = str(port)
    hand_down(settings, port=port)
    become_supervisor(
        sock,
        gateways=settings.gateways,
        drain_s=settings.drain_s,
        life_line=sys.stdin.fileno() if until_input_ends else None,
    )


@click.command()
@click.option("--number", default=1, help="Which of this machine's gateways it is.")
@told
def gateway(number: int) -> None:
    """Run one gateway."""
    from headway.wiring.options import GatewayOptions  # noqa: PLC0415 - each process loads its own

    options = GatewayOptions.handed()
    if options is None:
        _read_settings_and_begin_anew(number)
    from headway.wiring import gateway as wiring  # noqa: PLC0415 - likewise

    wiring.run(options, number=number)


def _read_settings_and_begin_anew(number: int) -> NoReturn:
    """Do for a gateway that is started by hand what `serve` does for its own."""
    from headway.settings import Settings  # noqa: PLC0415 - each process loads its own
    from headway.wiring.handing import hand_down  # noqa: PLC0415 - likewise

    settings = Settings()
    hand_down(settings, port=settings.port)
    words = ["-P", "-m", "headway.cli", "gateway", "--number", str(number)]
    os.execv(sys.executable, [sys.executable, *words])  # noqa: S606 - our own words


@click.command()
@told
def control() -> None:
    """Run the control plane."""
    from headway.app import create_app  # noqa: PLC0415 - each process loads its own
    from headway.settings import Settings  # noqa: PLC0415 - likewise
    from headway.wiring import control as wiring  # noqa: PLC0415 - likewise

    wiring.run(Settings(), create_app)


@click.command()
@told
def runner() -> None:
    """Run the runner of local models."""
    from headway.settings import Settings  # noqa: PLC0415 - each process loads its own
    from headway.wiring import runner as wiring  # noqa: PLC0415 - likewise

    wiring.run(Settings())


@click.command()
@told
def scribe() -> None:
    """Run the scribe, which speaks to the database for this machine's gateways."""
    from headway.settings import Settings  # noqa: PLC0415 - each process loads its own
    from headway.wiring import scribe as wiring  # noqa: PLC0415 - likewise

    wiring.run(Settings())


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@told
def upgrade() -> None:
    """Bring the schema to this version; harmless when it is there already."""
    from headway.settings import Settings  # noqa: PLC0415 - each process loads its own
    from headway.wiring import database  # noqa: PLC0415 - likewise

    click.echo(database.upgrade(Settings()))


@db.command()
@told
def check() -> None:
    """Say which schema and which library there are; exit 78 if this version cannot use them."""
    from headway.settings import Settings  # noqa: PLC0415 - each process loads its own
    from headway.wiring import database  # noqa: PLC0415 - likewise

    click.echo(database.describe(Settings()))
