"""`headway models`: register, list, and name versions by aliases."""

import click

from headway.cli.client import from_environment, path_of
from headway.cli.output import as_json, moment, share, show, show_json, show_one


@click.group()
def models() -> None:
    """Models and their aliases."""


@models.command("list")
@click.option("-q", "--words", default=None, help="Words to search for.")
@click.option("--most", type=click.IntRange(min=1), default=100, show_default=True)
@as_json
def list_models(words: str | None, most: int, output: str) -> None:
    """List and search."""
    items = from_environment().pages("/models", most=most, q=words)
    show(
        output,
        items,
        [
            ("MODEL", lambda m: m["name"]),
            ("ALSO KNOWN AS", lambda m: m["alternative_ids"] or None),
            ("LATEST", lambda m: m.get("latest")),
            ("LIVE", lambda m: _live(m.get("live")) or None),
            ("DESCRIPTION", lambda m: m.get("description")),
            ("CREATED", lambda m: moment(m.get("created_at"))),
        ],
    )


def _live(live: object) -> str:
    """Say who answers where: `production 1.1.0 90 %, 1.2.0 10 %`."""
    if not isinstance(live, dict):
        return "-"
    return "; ".join(
        f"{environment} " + ", ".join(f"{arm['version']} {share(arm['share_bp'])}" for arm in arms)
        for environment, arms in live.items()
    )


_also_known_as = click.option(
    "--also-known-as",
    "also",
    multiple=True,
    metavar="ID",
    help="A further id that callers may use, as in gpt-5 or pmpt_abc; may be given again.",
)


@models.command()
@click.argument("name")
@click.option("-d", "--description", default="")
@click.option("-t", "--tag", multiple=True, help="key=value, may be given again.")
@_also_known_as
@as_json
def create(
    name: str, description: str, tag: tuple[str, ...], also: tuple[str, ...], output: str
) -> None:
    """Register a model."""
    tags = dict(pair.partition("=")[::2] for pair in tag)
    body = {"name": name, "description": description, "tags": tags, "alternative_ids": also}
    model = from_environment().post("/models", body)
    show_json(model) if output == "json" else click.echo(f"model {model['name']} registered")


@models.command("show")
@click.argument("name")
@as_json
def show_model(name: str, output: str) -> None:
    """Show one model."""
    show_one(
        output,
        from_environment().get(path_of("models", name)),
        [
            ("model", lambda m: m["name"] + (" (archived)" if m["archived"] else "")),
            ("also known as", lambda m: m["alternative_ids"]),
            ("description", lambda m: m["description"]),
            ("latest", lambda m: m["latest"]),
            ("live", lambda m: _live(m["live"]) if m["live"] else None),
            ("aliases", lambda m: m["aliases"]),
            ("tags", lambda m: m["tags"]),
            ("created", lambda m: f"{moment(m['created_at'])} by {m['created_by']}"),
        ],
    )


@models.command()
@click.argument("name")
@click.option("-d", "--description", default=None)
@_also_known_as
def change(name: str, description: str | None, also: tuple[str, ...]) -> None:
    """Change the description, or add ids that callers may use."""
    client = from_environment()
    changes: dict[str, object] = {} if description is None else {"description": description}
    present = client.get(path_of("models", name))
    if also:
        changes["alternative_ids"] = [*present["alternative_ids"], *also]
    if not changes:
        raise click.UsageError("say what changes: --description, --also-known-as")
    match = {"If-Match": f'"{present["revision"]}"'}
    client.call("PATCH", path_of("models", name), json=changes, headers=match)
    click.echo(f"model {name} changed")


@models.command()
@click.argument("name")
def archive(name: str) -> None:
    """Put a model away; refused while a route serves it."""
    from_environment().call("DELETE", path_of("models", name))
    click.echo(f"model {name} archived")


@models.command()
@click.argument("name")
@click.argument("alias")
@click.argument("version")
def alias(name: str, alias: str, version: str) -> None:
    """Point an alias to a version."""
    client = from_environment()
    present = {a["alias"]: a for a in client.get(path_of("models", name, "aliases"))["items"]}
    headers = (
        {"If-Match": f'"{present[alias]["revision"]}"'}
        if alias in present
        else {"If-None-Match": "*"}
    )
    path = path_of("models", name, "aliases", alias)
    client.call("PUT", path, json={"version": version}, headers=headers)
    click.echo(f"{name}@{alias} is {version}")
