"""`headway rollback` and `headway snapshots`: go back, and see what can be gone back to."""

import click

from headway.cli.client import from_environment
from headway.cli.output import as_json, moment, show


@click.group()
def rollback() -> None:
    """Go back; see who went back."""


@rollback.command()
@click.argument("model")
@click.option("-e", "--environment", default="production", show_default=True)
@click.option(
    "--to", default="previous", show_default=True, help="Or a version, a snap_… id, a time."
)
@click.option("--why", required=True)
def start(model: str, environment: str, to: str, why: str) -> None:
    """Go back; never refused for want of a proof, whatever is running."""
    body = {"model": model, "environment": environment, "to": to, "why": why}
    done = from_environment().post("/rollbacks", body)
    click.echo(f"{done['id']} {done['state']}")


@rollback.command("list")
@click.option("--model", default=None)
@click.option("--most", type=click.IntRange(min=1), default=20, show_default=True)
@as_json
def list_rollbacks(model: str | None, most: int, output: str) -> None:
    """List, automatic ones too, the newest first."""
    show(
        output,
        from_environment().pages("/rollbacks", most=most, model=model),
        [
            ("ID", lambda r: r["id"]),
            ("ROUTE", lambda r: f"{r['model']}/{r['environment']}"),
            ("STATE", lambda r: r["state"]),
            ("BY", lambda r: "headway" if r["automatic"] else r["actor"]),
            ("WHY", lambda r: r["why"]),
            ("AT", lambda r: moment(r["created_at"])),
        ],
    )


@click.group()
def snapshots() -> None:
    """Routes as they were."""


@snapshots.command("list")
@click.argument("model")
@click.option("-e", "--environment", default="production", show_default=True)
@click.option("--most", type=click.IntRange(min=1), default=20, show_default=True)
@as_json
def list_snapshots(model: str, environment: str, most: int, output: str) -> None:
    """List, the newest first."""
    show(
        output,
        from_environment().pages("/snapshots", most=most, model=model, environment=environment),
        [
            ("ID", lambda s: s["id"]),
            ("REVISION", lambda s: s["revision"]),
            ("REASON", lambda s: s["reason"]),
            ("AT", lambda s: moment(s["created_at"])),
        ],
    )


@snapshots.command()
@click.argument("model")
@click.option("-e", "--environment", default="production", show_default=True)
@click.option("--reason", default="", help="Shown in the list.")
def take(model: str, environment: str, reason: str) -> None:
    """Keep the present state of a route by name, to go back to."""
    body = {"model": model, "environment": environment, "reason": reason}
    taken = from_environment().post("/snapshots", body)
    click.echo(f"{taken['id']} keeps revision {taken['revision']} of {model}/{environment}")
