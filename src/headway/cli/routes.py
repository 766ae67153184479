"""`headway routes`: who answers whom, and why."""

import click

from headway.cli.client import from_environment, path_of
from headway.cli.output import as_json, moment, share, show, show_one


@click.group()
def routes() -> None:
    """Who answers whom, and why."""


@routes.command("show")
@click.argument("model")
@click.option("-e", "--environment", default="production", show_default=True)
@as_json
def show_route(model: str, environment: str, output: str) -> None:
    """Show the present shares."""
    route = from_environment().get(path_of("routes", model, environment))
    arms = [arm for rule in route["rules"] for arm in rule["arms"]]
    show(
        output,
        arms,
        [
            ("ARM", lambda a: a["key"]),
            ("VERSION", lambda a: a["version"]),
            ("SHARE", lambda a: share(a["share_bp"])),
        ],
        whole=route,
    )
    if output != "json" and not route["enabled"]:
        click.echo(f"off, nobody is answered: {route['because']}")


@routes.command()
@click.argument("model")
@click.argument("unit")
@click.option("-e", "--environment", default="production", show_default=True)
@click.option("--at", default=None, help="A past time, RFC 3339.")
@as_json
def explain(model: str, unit: str, environment: str, at: str | None, output: str) -> None:
    """Say which version a unit (a conversation, a user) gets or got, and why.

    A request id (req_…) is explained too.
    """
    client = from_environment()
    if unit.startswith("req_"):
        told = client.get(path_of("requests", unit))
    else:
        told = client.get(path_of("routes", model, environment, "explanation"), unit=unit, at=at)
    show_one(
        output,
        told,
        [
            ("version", lambda e: e["version"]),
            ("arm", lambda e: f"{e['arm']}, share {share(e['share_bp'])}"),
            ("why", lambda e: e["why"]),
            ("route", lambda e: f"{e['model']}/{e['environment']} revision {e['revision']}"),
            ("at", lambda e: moment(e["at"]) if e["at"] else None),
            ("flags", lambda e: e["flags"]),
        ],
    )


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
    path = path_of("routes", model, environment)
    present = client.raw("GET", path)
    body = {"enabled": on, "why": why}
    client.call("PUT", path, json=body, headers={"If-Match": present.headers["ETag"]})
    click.echo(f"{model}/{environment} is {'on' if on else 'off'}")
