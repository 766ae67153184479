"""`headway versions`: register, list, compare."""

import json
from http.client import CREATED
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from headway.cli.client import from_environment, path_of
from headway.cli.output import as_json, moment, show, show_json, show_one
from headway.cli.targets import of_a_target
from headway.registry.target import tool_name


@click.group()
def versions() -> None:
    """Versions of a model."""


@versions.command("list")
@click.argument("model")
@click.option("--range", "requirement", default=None, help="Such as ^2.3.")
@click.option("--most", type=click.IntRange(min=1), default=100, show_default=True)
@as_json
def list_versions(model: str, requirement: str | None, most: int, output: str) -> None:
    """List, the highest first."""
    items = from_environment().pages(
        path_of("models", model, "versions"), most=most, range=requirement
    )
    show(
        output,
        items,
        [
            ("VERSION", lambda v: v["version"]),
            ("STATE", _state),
            ("TARGET", lambda v: _target(v["target"])),
            ("DESCRIPTION", lambda v: v.get("description")),
            ("DIGEST", lambda v: v["digest"][:19]),
            ("CREATED", lambda v: moment(v.get("created_at"))),
        ],
    )


def _state(version: dict[str, Any]) -> str:
    state = str(version["state"])
    return f"{state}, corrupt" if version.get("corrupt_at") else state


def _target(target: dict[str, Any]) -> str:
    if "runtime" in target:
        return f"{target['runtime']} {target['artifact'][:19]}"
    return f"{target['provider']} {target['model']}"


@versions.command()
@click.argument("model")
@click.argument("version")
@click.option("--artifact", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--runtime", default="onnx", show_default=True)
@of_a_target
@click.option("--file", "document", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-d", "--description", default=None)
@as_json
def create(
    model: str,
    version: str,
    *,
    artifact: Path | None,
    runtime: str,
    document: Path | None,
    description: str | None,
    target: dict[str, Any],
    output: str,
) -> None:
    """Register a version: a number, or one of major, minor, patch, auto.

    What it is comes from --artifact (a local model), from --provider or --base-url and what goes
    with them, or from a JSON file with the whole version (--file), whose target these options
    complete.
    """
    client = from_environment()
    body = _document(document) if document else {}
    number = "bump" if version in ("major", "minor", "patch", "auto") else "version"
    body[number] = version
    if description is not None:
        body["description"] = description
    if artifact is not None:
        with artifact.open("rb") as stream:
            stored = client.call(
                "POST", "/artifacts", content=iter(lambda: stream.read(1 << 16), b"")
            )
        body["target"] = {"runtime": runtime, "artifact": stored["digest"], **target}
    elif "provider" in target:
        body["target"] = {"model": model, **body.get("target", {}), **target}
    elif target and "target" in body:
        body["target"] |= target
    if "target" not in body:
        raise click.UsageError("say what it is: --artifact, --provider, --base-url, or --file")
    answer = client.raw("POST", path_of("models", model, "versions"), json=body)
    registered = answer.json()
    if output == "json":
        show_json(registered)
    else:
        done = (
            "registered" if answer.status_code == CREATED else "was there already, the very same"
        )
        click.echo(f"{model} {registered['version']} {done}, {registered['digest'][:19]}")
        if _has_no_path(registered["target"]):
            click.echo("the base URL has no path: most OpenAI-compatible endpoints end in /v1")
        for variable in registered["needs"]:
            click.echo(f"gateways need {variable} in their environment")


def _document(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise click.UsageError(f"{file} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"{file} is no version: a version is a JSON object")
    return found


def _has_no_path(target: dict[str, Any]) -> bool:
    url = urlsplit(target.get("base_url", ""))
    return target.get("provider") == "openai" and not url.path


@versions.command("show")
@click.argument("model")
@click.argument("ref")
@as_json
def show_version(model: str, ref: str, output: str) -> None:
    """Show one: a number, an alias, `latest` or a range."""
    show_one(
        output,
        from_environment().get(path_of("models", model, "versions", ref)),
        [
            ("version", lambda v: f"{v['model']} {v['version']}"),
            ("state", lambda v: f"{_state(v)} {v['reason']}".strip()),
            ("description", lambda v: v["description"]),
            ("target", lambda v: _target(v["target"])),
            ("base URL", lambda v: v["target"].get("base_url")),
            ("credential", lambda v: v["target"].get("credential")),
            ("system prompt", lambda v: (v["target"].get("prompt") or {}).get("system")),
            ("parameters", lambda v: v["target"].get("parameters")),
            ("locked", lambda v: v["target"].get("locked")),
            ("tools", lambda v: [tool_name(tool) for tool in v["target"].get("tools", ())]),
            ("API version", lambda v: v["target"].get("api_version")),
            ("APIs", lambda v: v["target"].get("apis")),
            ("passes", lambda v: v["target"].get("passes")),
            ("time-outs", lambda v: v["target"].get("timeouts")),
            ("retries", lambda v: v["target"].get("retries")),
            ("gateways need", lambda v: v["needs"]),
            ("tags", lambda v: v["tags"]),
            ("metadata", lambda v: v["metadata"]),
            ("digest", lambda v: v["digest"]),
            ("created", lambda v: f"{moment(v['created_at'])} by {v['created_by']}"),
        ],
    )


@versions.command()
@click.argument("model")
@click.argument("old")
@click.argument("new")
@as_json
def compare(model: str, old: str, new: str, output: str) -> None:
    """Compare two versions: what differs, and how they behave."""
    path = path_of("models", model, "versions", old, "comparison")
    told = from_environment().call("GET", path, query={"with": new})
    if output == "json":
        show_json(told)
        return
    click.echo(f"differs in: {', '.join(told['components']) or 'nothing'}")
    for difference in told["compatibility"]["differences"]:
        click.echo(f"  {difference['severity']}: {difference['where']}: {difference['detail']}")
    for line in told["prompt"]:
        click.echo(f"  {line}")
    click.echo(f"advised bump: {told['bump']}")
    since, until = moment(told["since"]), moment(told["until"])
    click.echo(f"measured in {told['environment']} from {since} to {until}:")
    show(
        output,
        [row for row in told["measured"] if row["old"]["n"] or row["new"]["n"]],
        [
            ("METRIC", lambda m: m["metric"]),
            (told["old"], lambda m: _measured(m["metric"], m["old"])),
            (told["new"], lambda m: _measured(m["metric"], m["new"])),
            ("DIFFERENCE", lambda m: _amount(m["metric"], m["difference"], sign="+")),
        ],
    )


def _measured(metric: str, side: dict[str, Any]) -> str:
    return f"{_amount(metric, side['value'])} of {side['n']:,}" if side["n"] else "no requests"


def _amount(metric: str, value: float | None, *, sign: str = "") -> str:
    """Write a value with its unit: milliseconds, a rate, a mean."""
    if value is None:
        return "unknown" if metric == "cost_usd" else "-"
    if metric == "cost_usd":
        return f"{sign and ('-' if value < 0 else '+')}${abs(value):.3g}"
    if metric.startswith(("latency", "first")):
        return f"{value:{sign}.1f} ms"
    if metric == "errors" and sign:
        return f"{100 * value:+.3g} points"
    return f"{100 * value:.3g} %" if metric == "errors" else f"{value:{sign}.3g}"
