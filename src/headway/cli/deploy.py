"""`headway deploy`: deploy by plan, watch, steer."""

import json
from pathlib import Path
from typing import Any

import click

from headway.cli.client import Client, from_environment
from headway.cli.output import age, as_json, show, show_json

_FINISHED = ("succeeded", "rolled_back", "cancelled", "abandoned")


@click.group()
def deploy() -> None:
    """Deploy by plan, watch, steer."""


def _send(client: Client, path: str, file: Path) -> Any:  # noqa: ANN401 - whatever the API answered
    return client.call(
        "POST", path, content=file.read_bytes(), headers={"Content-Type": "application/yaml"}
    )


@deploy.command()
@click.argument("plan", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--follow", is_flag=True, help="Stay and print what happens.")
@as_json
def start(plan: Path, *, follow: bool, output: str) -> None:
    """Start the deployment that a YAML file describes."""
    client = from_environment()
    deployment = _send(client, "/deployments", plan)
    if output == "json":
        show_json(deployment)
    else:
        click.echo(f"{deployment['id']} {deployment['state']}")
    if follow:
        _follow(client, deployment["id"])


@deploy.command()
@click.argument("plan", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
def explain(plan: Path, output: str) -> None:
    """Say what a plan would do, step by step, and how long its proofs take; start nothing."""
    told = _send(from_environment(), "/deployments/plans", plan)
    if output == "json":
        show_json(told)
        return
    for number, step in enumerate(told["steps"], start=1):
        click.echo(f"{number}. {step.get('sentence') or json.dumps(step)}")
    for line in filter(None, (told.get("sentence"), *told.get("notes", ()))):
        click.echo(line)


@deploy.command("list")
@click.option("--model", default=None)
@click.option("--state", default=None)
@click.option("--most", default=20, show_default=True)
@as_json
def list_deployments(model: str | None, state: str | None, most: int, output: str) -> None:
    """List, the newest first."""
    items = from_environment().pages("/deployments", most=most, model=model, state=state)
    show(
        output,
        items,
        [
            ("ID", lambda d: d["id"]),
            ("ROUTE", lambda d: f"{d['model']}/{d['environment']}"),
            ("VERSION", lambda d: d["version"]),
            ("STATE", lambda d: d["state"]),
            ("BECAUSE", lambda d: d["because"]),
            ("CREATED", lambda d: age(d["created_at"])),
        ],
    )


@deploy.command("show")
@click.argument("deployment")
def show_deployment(deployment: str) -> None:
    """Show state, shares, evidence, and what happens next."""
    show_json(from_environment().get(f"/deployments/{deployment}"))


@deploy.command()
@click.argument("deployment")
@as_json
def why(deployment: str, output: str) -> None:
    """Say after each decision what it was based on."""
    events = from_environment().pages(f"/deployments/{deployment}/events", most=1000)
    if output == "json":
        show_json(events)
        return
    for event in events:
        click.echo(f"{age(event['at'])}  {event['why']}")
        for line in event.get("evidence") or ():
            click.echo(f"                     {line}")


@deploy.command()
@click.argument("deployment")
@click.argument("number", type=click.IntRange(min=1))
@as_json
def verdict(deployment: str, number: int, output: str) -> None:
    """Judge the counters of a decision once more; NUMBER is its event's, see `why -o json`."""
    shown = from_environment().get(f"/deployments/{deployment}/events/{number}/verdict")
    if output == "json":
        show_json(shown)
        return
    stored, again = shown["verdict"], shown["again"]
    click.echo(f"{stored['finding']}: {stored['reason']}")
    click.echo(f"promised: {stored['promise']}")
    same = "the same" if again["same"] else f"ANOTHER: {again['finding']}"
    click.echo(f"judged again from its counters: {same}, ln E {again['log_e']:.9g}")


@deploy.command()
@click.argument("deployment")
def follow(deployment: str) -> None:
    """Print what happens until it ends."""
    _follow(from_environment(), deployment)


def _follow(client: Client, deployment: str) -> None:
    for event in client.events(f"/deployments/{deployment}/events"):
        if "data" not in event:
            continue
        told = json.loads(event["data"])
        if "why" in told:
            click.echo(f"{age(told['at'])}  {told['why']}")
        if client.get(f"/deployments/{deployment}")["state"] in _FINISHED:
            break


def _intent(verb: str, words: str) -> click.Command:
    @deploy.command(verb, help=words)
    @click.argument("deployment")
    @click.option("--why", default="", help="For the history.")
    def ask(deployment: str, why: str) -> None:
        body: dict[str, str] = {"why": why} if why else {}
        answer = from_environment().post(f"/deployments/{deployment}/{verb}", body)
        click.echo(f"{deployment} {verb} asked; it is {answer['state']} now")

    return ask


_intent("pause", "Hold where it is.")
_intent("resume", "Go on.")
_intent("abort", "Go back to what was before.")
_intent("abandon", "End a failed rollback where it stands.")


@deploy.command()
@click.argument("deployment")
@click.option("--to-end", is_flag=True, help="Straight to 100 %.")
@click.option("--why", required=True, help="For the history: this skips a proof.")
def promote(deployment: str, *, to_end: bool, why: str) -> None:
    """End the present step without its proof."""
    body = {"why": why} | ({"to": "end"} if to_end else {})
    answer = from_environment().post(f"/deployments/{deployment}/promote", body)
    click.echo(f"{deployment} promote asked; it is {answer['state']} now")
