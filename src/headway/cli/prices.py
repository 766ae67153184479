"""`headway prices`: what the models of providers cost."""

from collections.abc import Mapping
from typing import Any

import click

from headway.cli.client import from_environment
from headway.cli.output import as_json, moment, show, show_one

_since = click.option("--from", "since", help="RFC 3339; ever since unless said.")
_host = click.option(
    "--host", default="*", show_default=True, help="Of the base URL, as in api.openai.com."
)


@click.group()
def prices() -> None:
    """Say what the models of providers cost, where it is not published."""


@prices.command("list")
@as_json
def list_prices(output: str) -> None:
    """List the prices that were set; they count before those that are published."""
    show(
        output,
        from_environment().get("/prices")["items"],
        [
            ("MODEL", lambda p: p["upstream_model"]),
            ("HOST", lambda p: p["host"]),
            ("FROM", lambda p: moment(p["effective_from"])),
            ("DOLLARS PER MILLION TOKENS", lambda p: _rates(p["usd_per_million"])),
            ("SET BY", lambda p: p["set_by"]),
        ],
    )


@prices.command("set")
@click.argument("upstream_model")
@_host
@_since
@click.option("--in", "input_", type=float, required=True, help="Dollars a million input tokens.")
@click.option("--out", type=float, help="Output likewise; unknown unless said.")
@click.option("--cached", type=float, help="Input from the cache; as input unless said.")
@click.option("--cache-write", type=float, help="Input into the cache; as input unless said.")
def set_price(
    upstream_model: str,
    *,
    host: str,
    since: str | None,
    input_: float,
    out: float | None,
    cached: float | None,
    cache_write: float | None,
) -> None:
    """Set what a provider's model costs, in dollars per million tokens."""
    rates = {
        "input": input_,
        "output": out,
        "cached": cached,
        "cache_write": cache_write,
    }
    asked = {
        "host": host,
        "upstream_model": upstream_model,
        "effective_from": since,
        "usd_per_million": rates,
    }
    kept = from_environment().call("PUT", "/prices", json=asked)
    click.echo(f"{upstream_model} at {kept['host']}: {_rates(kept['usd_per_million'])}")
    if not kept["called"]:
        where = "anywhere" if kept["host"] == "*" else "at that host"
        click.echo(
            f"no version calls a model of that name {where}, so the price has no effect yet: "
            "`headway prices show MODEL VERSION` says what a version calls",
            err=True,
        )


@prices.command()
@click.argument("upstream_model")
@_host
@_since
def remove(upstream_model: str, *, host: str, since: str | None) -> None:
    """Take back a price that was set; what is published counts again."""
    query = {"host": host, "upstream_model": upstream_model, "effective_from": since}
    from_environment().call("DELETE", "/prices", query=query)
    click.echo(f"{upstream_model} at {host}: taken back")


@prices.command("show")
@click.argument("model")
@click.argument("version")
@click.option("--at", default=None, help="RFC 3339; now unless said.")
@as_json
def show_price(model: str, version: str, *, at: str | None, output: str) -> None:
    """Show what a version costs, and who says so."""
    query = {"model": model, "version": version, "at": at}
    show_one(
        output,
        from_environment().call("GET", "/prices/present", query=query),
        [
            ("version", lambda p: f"{p['model']} {p['version']}"),
            ("calls", lambda p: p["base_url"] and f"{p['upstream_model']} at {p['base_url']}"),
            ("dollars per million tokens", lambda p: _rates(p["usd_per_million"])),
            ("since", lambda p: p["since"] and moment(p["since"])),
            ("price", lambda p: p["source"]),
        ],
    )


def _rates(rates: Mapping[str, Any] | None) -> str:
    if rates is None:
        return "unknown"
    return ", ".join(
        f"{name} ${_dollars(rate)}" for name, rate in rates.items() if rate is not None
    )


def _dollars(rate: float) -> str:
    """Write an amount as people do, to the millionth that is counted, without powers of ten."""
    return f"{rate:,.6f}".rstrip("0").rstrip(".")
