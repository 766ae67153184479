"""`headway measurements` and `headway feedback`: what requests showed, and what people say."""

from collections.abc import Mapping
from typing import Any

import click

from headway.cli.client import Refusal, from_environment
from headway.cli.output import as_json, moment, show, show_json


@click.command()
@click.argument("model")
@click.option("-e", "--environment", default="production", show_default=True)
@click.option("--version", default=None)
@click.option("--since", default=None, help="RFC 3339.")
@click.option("--step", default=None, help="Such as 5m.")
@as_json
def measurements(
    model: str,
    *,
    environment: str,
    version: str | None,
    since: str | None,
    step: str | None,
    output: str,
) -> None:
    """Show counts, latency, tokens, cost of a model; of the last hour unless --since says more."""
    query = {"model": model, "environment": environment, "version": version, "from": since}
    told = from_environment().call("GET", "/measurements", query=query | {"step": step})
    if output != "json":
        click.echo(f"from {moment(told['since'])} to {moment(told['until'])}")
    show(
        output,
        told["items"],
        [
            *([("FROM", lambda m: moment(m["at"]))] if told["step"] else []),
            ("VERSION", lambda m: m["version"]),
            ("ARM", lambda m: m["arm"]),
            ("REQUESTS", lambda m: f"{m['requests']:,}"),
            ("OUTCOMES", lambda m: m["outcomes"]),
            ("MEDIAN", lambda m: _milliseconds(m["latency_ms"]["p50"])),
            ("P95", lambda m: _milliseconds(m["latency_ms"]["p95"])),
            ("TOKENS", lambda m: m["tokens"] or None),
            ("COST", _cost),
        ],
        whole=told,
    )
    if output != "json":
        for score in told["scores"]:
            said = f"{score['mean']:.3g} on average of {score['n']:,}"
            click.echo(f"score {score['name']} of {score['version']}: {said}")


def _cost(measured: Mapping[str, Any]) -> str | None:
    """Return dollars; what has a cost that nobody knows says so."""
    cost = measured["cost_usd"]
    if cost is None:
        return "unknown" if any(measured["tokens"].values()) else None
    return f"${cost:,.6f}".rstrip("0").rstrip(".")


def _milliseconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} ms"


@click.command()
@click.argument("request_id")
@click.argument("scores", nargs=-1, required=True)
@as_json
def feedback(request_id: str, scores: tuple[str, ...], output: str) -> None:
    """Say how good an answer was: name=value, 0 to 1."""
    values = {}
    for pair in scores:
        name, _, value = pair.partition("=")
        try:
            values[name] = float(value)
        except ValueError:
            raise click.UsageError(f"{pair!r} is not name=value with a value of 0 to 1") from None
    item = {"request_id": request_id, "scores": values}
    answer = from_environment().post("/feedback", {"items": [item]})
    if output == "json":
        show_json(answer)
        return
    taken = answer["items"][0]
    if not taken["accepted"]:
        raise Refusal(taken["why_not"])
    click.echo(f"taken: {', '.join(taken['scores'])}")
