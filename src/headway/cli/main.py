"""`headway`: the front door of the command line; each noun is imported when it is asked for."""

import sys
from importlib import import_module
from typing import Any, Final

import click

_COMMANDS: Final = {
    # On this machine.
    "serve": ("headway.cli.machine:serve", "Run everything: gateways, scribe, control, runner."),
    "gateway": ("headway.cli.machine:gateway", "Run one gateway."),
    "scribe": ("headway.cli.machine:scribe", "Run what speaks to the database for gateways."),
    "control": ("headway.cli.machine:control", "Run the control plane."),
    "runner": ("headway.cli.machine:runner", "Run the runner of local models."),
    "db": ("headway.cli.machine:db", "Look after the database."),
    "keys": ("headway.cli.keys:keys", "Make and revoke keys."),
    "demo": ("headway.demo.command:demo", "Tell the whole story on real traffic."),
    # Through the REST API.
    "models": ("headway.cli.models:models", "Models and their aliases."),
    "versions": ("headway.cli.versions:versions", "Versions of a model."),
    "artifacts": ("headway.cli.artifacts:artifacts", "Upload and fetch files."),
    "routes": ("headway.cli.routes:routes", "Who answers whom, and why."),
    "deploy": ("headway.cli.deploy:deploy", "Deploy by plan, watch, steer."),
    "rollback": ("headway.cli.rollback:rollback", "Go back; see who went back."),
    "snapshots": ("headway.cli.rollback:snapshots", "Routes as they were."),
    "measurements": ("headway.cli.measurements:measurements", "What requests showed."),
    "prices": ("headway.cli.prices:prices", "What the models of providers cost."),
    "feedback": ("headway.cli.measurements:feedback", "Say how good an answer was."),
}


class _Lazy(click.Group):
    """Knows the commands by name, and imports one only to run it: `--help` stays fast."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click's own words
        """Run, and say what went wrong in one line."""
        try:
            sys.exit(super().main(*args, **kwargs | {"standalone_mode": False}) or 0)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(error.exit_code)
        except click.UsageError as error:
            asked = error.ctx.command_path if error.ctx else "headway"
            click.echo(f"Error: {error.format_message()} (see `{asked} --help`)", err=True)
            sys.exit(error.exit_code)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(130)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"Error: {where}{error.strerror or error}", err=True)
            sys.exit(2)

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{name} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headway")
def main() -> None:
    """Headway keeps every version of every model, and ships them by proof.

    Commands but serve, gateway, scribe, control, runner, db, demo and `keys generate` speak to
    the REST API at HEADWAY_URL (default http://127.0.0.1:8000) with the key in HEADWAY_KEY.
    """
