"""`headway deploy`: deploy by plan, watch, steer."""

import json
from pathlib import Path
from typing import Any

import click

from headway.cli.client import REFUSED, Client, Refusal, from_environment, path_of
from headway.cli.output import as_json, moment, share, show, show_json, show_one
from headway.kernel.quantity import format_ratio

_GOOD = "deployment.succeeded"
_LAST = {
    _GOOD,
    "deployment.rolled_back",
    "deployment.cancelled",
    "deployment.abandoned",
}
"""Events after which a deployment has no more."""


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
    """Start the deployment that a YAML file describes.

    With --follow the exit code is 1 unless it succeeds.
    """
    client = from_environment()
    deployment = _send(client, "/deployments", plan)
    if output == "json":
        show_json(deployment)
    else:
        click.echo(f"{deployment['id']} {deployment['state']}")
        if not follow:
            click.echo(f"watch it: headway deploy follow {deployment['id']}")
    if follow and _follow(client, deployment["id"]) != _GOOD:
        raise click.exceptions.Exit(REFUSED)


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
@click.option("--most", type=click.IntRange(min=1), default=20, show_default=True)
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
            ("CREATED", lambda d: moment(d["created_at"])),
        ],
    )


_looked_at = click.argument("deployment", required=False)


def _looked_for(client: Client, named: str | None) -> str:
    """Return an id; a model stands for its newest deployment, nothing for the newest of all."""
    if named is not None and named.startswith("dep_"):
        return named
    found = client.pages("/deployments", most=1, model=named)
    if not found:
        of = f" of {named}" if named else ""
        raise Refusal(f"there is no deployment{of} yet: `headway deploy start PLAN`")
    identifier: str = found[0]["id"]
    return identifier


def _steered(client: Client, named: str) -> str:
    """Return an id; a model stands for its one deployment that is under way."""
    if named.startswith("dep_"):
        return named
    found = client.pages("/deployments", most=10, model=named, state="active")
    if len(found) != 1:
        which = ", ".join(f"{one['id']} ({one['environment']})" for one in found) or "none"
        raise Refusal(f"name the deployment of {named} that is meant; under way: {which}")
    identifier: str = found[0]["id"]
    return identifier


@deploy.command("show")
@_looked_at
@as_json
def show_deployment(deployment: str | None, output: str) -> None:
    """Show state, shares, evidence, and what happens next.

    DEPLOYMENT is a dep_… id, or a model for its newest one; without it, the newest of all.
    """
    client = from_environment()
    told = client.get(path_of("deployments", _looked_for(client, deployment)))
    show_one(
        output,
        told,
        [
            ("deployment", lambda d: d["id"]),
            ("version", lambda d: f"{d['model']} {d['version']} in {d['environment']}"),
            ("state", _state),
            ("because", lambda d: d["because"]),
            (
                "held",
                lambda d: (
                    d["held"] and f"{moment(d['held']['held_since'])}: {d['held']['because']}"
                ),
            ),
            (
                "shares",
                lambda d: [
                    f"{a['version']} {a['role']} {share(a['share_bp'])}" for a in d["shares"]
                ],
            ),
            ("now", lambda d: d["next"] and d["next"]["what"]),
            (
                "expected",
                lambda d: (
                    d["next"] and d["next"]["expected_at"] and moment(d["next"]["expected_at"])
                ),
            ),
            (
                "gives up",
                lambda d: (
                    d["next"] and d["next"]["gives_up_at"] and moment(d["next"]["gives_up_at"])
                ),
            ),
            ("then", lambda d: d["next"] and d["next"]["after"]),
            ("finished", lambda d: d["finished_at"] and moment(d["finished_at"])),
        ],
    )
    if output == "json" or not told["evidence"]:
        return
    click.echo()
    show(
        output,
        told["evidence"],
        [
            ("METRIC", lambda m: m["metric"]),
            ("BAD ON STABLE", lambda m: m["stable"] if m["stable_n"] else "no data"),
            ("BAD ON NEW", lambda m: m["candidate"] if m["candidate_n"] else "no data"),
            ("HOW MANY TIMES AS BAD", _interval),
            ("PROOF OF WORSE", lambda m: m["worse"]),
            ("OF NOT WORSE", lambda m: m["not_worse"]),
        ],
    )
    for metric in told["evidence"]:
        if metric["waits"]:
            click.echo(f"{metric['metric']}: {metric['waits']}")


def _state(deployment: dict[str, Any]) -> str:
    steps = deployment["steps"]
    said = str(deployment["state"]).replace("_", " ")
    if not deployment["step"]:
        return said
    number = deployment["step"]
    return f"{said}, step {number} of {len(steps)}: {steps[number - 1]['text']}"


def _interval(metric: dict[str, Any]) -> str:
    if not (metric["candidate_n"] and metric["stable_n"]):
        return "no data"
    low, high = metric["interval"]
    upper = "any" if high is None else f"{format_ratio(high)}x"
    return f"{format_ratio(low)}x to {upper}"


@deploy.command()
@_looked_at
@as_json
def why(deployment: str | None, output: str) -> None:
    """Say after each decision what it was based on.

    DEPLOYMENT is a dep_… id, or a model for its newest one; without it, the newest of all.
    """
    client = from_environment()
    path = path_of("deployments", _looked_for(client, deployment), "events")
    events = client.pages(path, most=1000)
    if output == "json":
        show_json(events)
        return
    for event in events:
        click.echo(f"{moment(event['at'])}  {event['why']}")
        for line in event.get("evidence") or ():
            click.echo(f"                      {line}")


@deploy.command()
@click.argument("deployment")
@click.argument("number", type=click.IntRange(min=1))
@as_json
def verdict(deployment: str, number: int, output: str) -> None:
    """Judge the counters of a decision once more; NUMBER is its event's, see `why -o json`."""
    shown = from_environment().get(path_of("deployments", deployment, "events", number, "verdict"))
    if output == "json":
        show_json(shown)
        return
    stored, again = shown["verdict"], shown["again"]
    click.echo(f"{stored['finding']}: {stored['reason']}")
    click.echo(f"promised: {stored['promise']}")
    same = "the same" if again["same"] else f"ANOTHER: {again['finding']}"
    click.echo(f"judged again from its counters: {same}, ln E {again['log_e']:.9g}")


@deploy.command()
@_looked_at
def follow(deployment: str | None) -> None:
    """Print what happens until it ends.

    DEPLOYMENT is a dep_… id, or a model for its newest one; without it, the newest of all.
    """
    client = from_environment()
    _follow(client, _looked_for(client, deployment))


def _follow(client: Client, deployment: str) -> str | None:
    """Print what happens; return the kind of the event by which it ended."""
    for event in client.events(path_of("deployments", deployment, "events")):
        if "data" not in event:
            continue
        told = json.loads(event["data"])
        if "why" in told:
            click.echo(f"{moment(told['at'])}  {told['why']}")
        if (kind := told.get("kind")) in _LAST:
            return str(kind)
    return None


def _intent(verb: str, words: str) -> click.Command:
    @deploy.command(verb, help=words)
    @click.argument("deployment")
    @click.option("--why", default="", help="For the history.")
    def ask(deployment: str, why: str) -> None:
        body: dict[str, str] = {"why": why} if why else {}
        _ask(deployment, verb, body)

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
    _ask(deployment, "promote", body)


def _ask(deployment: str, verb: str, body: dict[str, str]) -> None:
    client = from_environment()
    meant = _steered(client, deployment)
    answer = client.post(path_of("deployments", meant, verb), body)
    click.echo(f"{meant} {verb} asked; it is {answer['state']} now")
