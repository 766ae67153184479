"""`headway routes`: who answers whom, and why."""

import click

from headway.cli.client import from_environment
from headway.cli.output import as_json, show, show_json


@click.group()
def routes() -> None:
    """Who answers whom, and why."""


@routes.command("show")
@click.argument("model")
@click.option("-e", "--environment", default="production", show_default=True)
@as_json
def show_route(model: str, environment: str, output: str) -> None:
    """Show the present shares."""
    route = from_environment().get(f"/routes/{model}/{environment}")
    arms = [arm for rule in route["rules"] for arm in rule["arms"]]
    show(
        output,
        arms,
        [
            ("ARM", lambda a: a["key"]),
            ("VERSION", lambda a: a["version"]),
            ("SHARE", lambda a: f"{a['share_bp'] / 100:g} %"),
        ],
        whole=route,
    )


@routes.command()
@click.argument("model")
@click.argument("unit")
@click.option("-e", "--environment", default="production", show_default=True)
@click.option("--at", default=None, help="A past time, RFC 3339.")
def explain(model: str, unit: str, environment: str, at: str | None) -> None:
    """Say which version a unit (a conversation, a user) gets or got, and why.

    A request id (req_…) is explained too.
    """
    client = from_environment()
    if unit.startswith("req_"):
        show_json(client.get(f"/requests/{unit}"))
    else:
        path = f"/routes/{model}/{environment}/explanation"
        show_json(client.get(path, unit=unit, at=at))


@routes.command()
@click.argument("model")
@click.option("-e", "--environment", default="production", show_default=True)
@click.option("--why", required=True)
def disable(model: str, environment: str, why: str) -> None:
    """Pull the kill switch: nobody is answered until it is enabled again."""
    _switch(model, environment, why, on=False)


@routes.command()
@click.argument("model")
@click.option("-e", "--environment", default="production", show_default=True)
@click.option("--why", required=True)
def enable(model: str, environment: str, why: str) -> None:
    """Answer again."""
    _switch(model, environment, why, on=True)


def _switch(model: str, environment: str, why: str, *, on: bool) -> None:
    client = from_environment()
    path = f"/routes/{model}/{environment}"
    present = client.raw("GET", path)
    body = {"enabled": on, "why": why}
    client.call("PUT", path, json=body, headers={"If-Match": present.headers["ETag"]})
    click.echo(f"{model}/{environment} is {'on' if on else 'off'}")
