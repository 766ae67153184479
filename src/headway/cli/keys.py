"""`headway keys`: make and revoke keys; on the machine itself for a lost admin key."""

import re
import time
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any, Final, TypeAlias

import click

from headway.cli.client import Client, Refusal, Unreachable, from_environment, path_of
from headway.cli.machine import told
from headway.cli.output import as_json, moment, show, show_one
from headway.settings import Settings

Command: TypeAlias = Callable[..., None]
_IN_FORCE_WITHIN_S: Final = 5.0
_LOOK_S: Final = 0.05


@click.group()
def keys() -> None:
    """Make and revoke keys."""


@keys.command("list")
@click.option("--most", type=click.IntRange(min=1), default=100, show_default=True)
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
            ("PATHS", lambda k: k["paths"]),
            ("LIMITS", lambda k: _limits_in_words(k["limits"])),
            ("LAST USED", lambda k: moment(k["last_used"])),
            ("REVOKED", lambda k: moment(k["revoked_at"])),
        ],
    )


def _limited(command: Command) -> Command:
    """Add the options that limit a key; they come as one mapping, as the API takes it."""

    @wraps(command)
    def run(
        *args: object,
        rpm: int | None,
        tpm: int | None,
        concurrent: int | None,
        budget: tuple[tuple[str, float | None], ...],
        **options: object,
    ) -> None:
        named = {
            "requests_per_minute": rpm,
            "tokens_per_minute": tpm,
            "concurrent_requests": concurrent,
        }
        limits: dict[str, object] = {
            name: None if value == _NONE else value
            for name, value in named.items()
            if value is not None
        }
        command(*args, limits={**limits, **dict(budget)}, **options)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


class _Count(click.ParamType[int]):
    """A number, or `none` for no limit."""

    name = "number"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if value == "none":
            return _NONE
        if isinstance(value, int):
            return value
        text = str(value)
        if not (text.isascii() and text.isdigit() and int(text)):
            self.fail(f"{value!r} is no limit: a number from 1 on, or none", param, ctx)
        return int(text)


class _Budget(click.ParamType[tuple[str, float | None]]):
    """Dollars for a day or a month: `5/day`; `none/day` takes it away."""

    name = "dollars/period"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float | None]:
        found = re.fullmatch(r"\$?(none|[0-9]{1,9}(?:\.[0-9]{1,6})?)/(day|month)", str(value))
        if found is None:
            self.fail(f"{value!r} is no budget: write 5/day, 99.50/month, none/day", param, ctx)
        return f"usd_per_{found[2]}", None if found[1] == "none" else float(found[1])


_NONE: Final = 0
_OPTIONS: Final = (
    click.option("--rpm", type=_Count(), help="Requests a minute."),
    click.option("--tpm", type=_Count(), help="Tokens a minute, input and output together."),
    click.option("--concurrent", type=_Count(), help="Requests at a time."),
    click.option(
        "--budget",
        type=_Budget(),
        multiple=True,
        help="Dollars a day or a month of UTC, as in 5/day; may be given for both.",
    ),
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
@click.option("--path", multiple=True, help="Of traffic, or prefix*; may be given again.")
@_limited
@click.option("--here", is_flag=True, help="On this machine's database, for a lost admin key.")
def create(
    name: str,
    role: str,
    model: tuple[str, ...],
    environment: tuple[str, ...],
    path: tuple[str, ...],
    *,
    limits: Mapping[str, object],
    here: bool,
) -> None:
    """Make a key and print it, once."""
    named = {"models": model, "environments": environment, "paths": path}
    scopes = {what: names for what, names in named.items() if names}
    if here:
        if limits:
            raise click.UsageError("limits are set through the server: leave --here out")
        from headway.wiring import database  # noqa: PLC0415 - only where it is wanted

        told(lambda: click.echo(database.create_key(Settings(), name, role, **scopes)))()
        return
    client = from_environment()
    made = client.post("/keys", {"name": name, "role": role, "limits": limits, **scopes})
    click.echo(made["key"])
    for missing in filter(partial(_is_missing, client), model):
        click.echo(f"there is no model {missing} yet: the key is for it once there is", err=True)
    _until_in_force(client, made["id"])


def _is_missing(client: Client, model: str) -> bool:
    if model.endswith("*"):
        return False
    try:
        client.get(path_of("models", model))
    except Refusal as refused:
        return refused.message.startswith("404")
    return False


def _until_in_force(client: Client, key_id: str) -> None:
    """Wait until every living gateway follows a key as it is now, or say that one does not."""
    deadline = time.monotonic() + _IN_FORCE_WITHIN_S
    while not _in_force(client, key_id):
        if time.monotonic() > deadline:
            click.echo(f"{key_id}: it is not known that every gateway follows that yet", err=True)
            return
        time.sleep(_LOOK_S)


def _in_force(client: Client, key_id: str) -> bool:
    try:
        return bool(client.get(path_of("keys", key_id))["in_force"])
    except Unreachable:  # what was asked for is done; who tells of it may come back
        return False


@keys.command("show")
@click.argument("key_id")
@as_json
def show_key(key_id: str, output: str) -> None:
    """Show a key, and what it used in the present windows of its limits."""
    show_one(
        output,
        from_environment().get(path_of("keys", key_id)),
        [
            ("id", lambda k: k["id"]),
            ("name", lambda k: k["name"]),
            ("role", lambda k: k["role"]),
            ("models", lambda k: k["models"]),
            ("environments", lambda k: k["environments"]),
            ("paths", lambda k: k["paths"]),
            ("created", lambda k: f"{moment(k['created_at'])} by {k['created_by']}"),
            ("expires", lambda k: k["expires_at"] and moment(k["expires_at"])),
            ("revoked", lambda k: k["revoked_at"] and moment(k["revoked_at"])),
            ("last used", lambda k: k["last_used"] and moment(k["last_used"])),
            *((words, _used(name, unit)) for name, words, unit in _SHOWN),
            ("requests at a time", _at_a_time),
        ],
    )


@keys.command()
@click.argument("key_id")
@click.option("--name")
@click.option("--path", multiple=True, help="Of traffic, or prefix*; may be given again.")
@_limited
def change(
    key_id: str, *, name: str | None, path: tuple[str, ...], limits: Mapping[str, object]
) -> None:
    """Give a key another name, other paths, other limits (none: no such limit)."""
    asked: dict[str, object] = {"limits": limits} if limits else {}
    asked |= {"paths": path} if path else {}
    asked |= {"name": name} if name else {}
    if not asked:
        raise click.UsageError("say what shall be different")
    client = from_environment()
    changed = client.call("PATCH", path_of("keys", key_id), json=asked)
    _until_in_force(client, key_id)
    click.echo(f"{key_id}: {_limits_in_words(changed['limits'])}")


_SHOWN: Final = (
    ("requests_per_minute", "requests this minute", ""),
    ("tokens_per_minute", "tokens this minute", ""),
    ("usd_per_day", "spent today", "$"),
    ("usd_per_month", "spent this month", "$"),
)


def _used(name: str, unit: str) -> Callable[[Any], str | None]:
    def words(key: Any) -> str | None:  # noqa: ANN401 - what the API answered
        use = key["use"] and key["use"][name]
        if not use:
            return None
        unpriced = f", and {use['unpriced']} of unknown price" if use["unpriced"] else ""
        return f"{unit}{use['used']:,.12g} of {unit}{use['limit']:,.12g}{unpriced}"

    return words


def _at_a_time(key: Any) -> str | None:  # noqa: ANN401 - what the API answered
    most = key["limits"]["concurrent_requests"]
    return None if most is None else f"{key['use']['concurrent_requests']} of {most}"


def _limits_in_words(limits: Mapping[str, float | None]) -> str:
    """Write limits as the options that set them: `60 rpm, $5/day`."""
    words = {
        "requests_per_minute": "{:,} rpm",
        "tokens_per_minute": "{:,} tpm",
        "concurrent_requests": "{:,} at a time",
        "usd_per_day": "${:,.12g}/day",
        "usd_per_month": "${:,.12g}/month",
    }
    found = [form.format(limits[name]) for name, form in words.items() if limits[name] is not None]
    return ", ".join(found) or "none"


@keys.command()
@click.argument("key_id")
@click.option("--here", is_flag=True, help="On this machine's database, without a key.")
def revoke(key_id: str, *, here: bool) -> None:
    """Revoke a key; every gateway refuses it within two seconds."""
    if here:
        from headway.wiring import database  # noqa: PLC0415 - only where it is wanted

        told(lambda: database.revoke_key(Settings(), key_id))()
    else:
        client = from_environment()
        client.call("DELETE", path_of("keys", key_id))
        _until_in_force(client, key_id)
    click.echo(f"{key_id} revoked")


@keys.command()
def generate() -> None:
    """Print a new key for HEADWAY_ADMIN_KEY; nothing is stored."""
    from headway.wiring import database  # noqa: PLC0415 - only where it is wanted

    click.echo(database.generate_key())
