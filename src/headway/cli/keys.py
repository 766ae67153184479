"""`headway keys`: make and revoke keys; on the machine itself for a lost admin key."""

import click

from headway.cli.client import from_environment
from headway.cli.machine import told
from headway.cli.output import as_json, moment, show
from headway.settings import Settings


@click.group()
def keys() -> None:
    """Make and revoke keys."""


@keys.command("list")
@click.option("--most", default=100, show_default=True)
@as_json
def list_keys(most: int, output: str) -> None:
    """List; the keys themselves are shown once, when they are made."""
    show(
        output,
        from_environment().pages("/keys", most=most),
        [
            ("ID", lambda k: k["id"]),
            ("NAME", lambda k: k["name"]),
            ("ROLE", lambda k: k["role"]),
            ("MODELS", lambda k: k["models"]),
            ("ENVIRONMENTS", lambda k: k["environments"]),
            ("LAST USED", lambda k: moment(k["last_used"])),
            ("REVOKED", lambda k: moment(k["revoked_at"])),
        ],
    )


@keys.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["viewer", "caller", "deployer", "admin"]),
    default="caller",
    show_default=True,
)
@click.option("--model", multiple=True, help="A model or prefix*, may be given again.")
@click.option("--environment", multiple=True, help="May be given again.")
@click.option("--here", is_flag=True, help="On this machine's database, for a lost admin key.")
def create(
    name: str, role: str, model: tuple[str, ...], environment: tuple[str, ...], *, here: bool
) -> None:
    """Make a key and print it, once."""
    named = {"models": model, "environments": environment}
    scopes = {what: names for what, names in named.items() if names}
    if here:
        from headway.wiring import database  # noqa: PLC0415 - only where it is wanted

        told(lambda: click.echo(database.create_key(Settings(), name, role, **scopes)))()
        return
    made = from_environment().post("/keys", {"name": name, "role": role, **scopes})
    click.echo(made["key"])


@keys.command()
@click.argument("key_id")
@click.option("--here", is_flag=True, help="On this machine's database, without a key.")
def revoke(key_id: str, *, here: bool) -> None:
    """Revoke a key; every gateway refuses it within two seconds."""
    if here:
        from headway.wiring import database  # noqa: PLC0415 - only where it is wanted

        told(lambda: database.revoke_key(Settings(), key_id))()
    else:
        from_environment().call("DELETE", f"/keys/{key_id}")
    click.echo(f"{key_id} revoked")


@keys.command()
def generate() -> None:
    """Print a new key for HEADWAY_ADMIN_KEY; nothing is stored."""
    from headway.wiring import database  # noqa: PLC0415 - only where it is wanted

    click.echo(database.generate_key())
