"""How the page says numbers, times and events."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup

from headway.deployments.describe import basis
from headway.deployments.forecast import duration_words, requests_of
from headway.kernel.clock import SECOND
from headway.kernel.quantity import format_ratio
from headway.outbox.event import Event

_NBSP: Final = "\u00a0"
_DIGEST: Final = "sha256:"


def share(bp: float) -> str:
    """Write basis points: `12.5 %`."""
    return f"{bp / 100:g}{_NBSP}%"


def spaced(text: str) -> str:
    """Write `10%` as it is read: `10 %`."""
    return text.replace("%", f"{_NBSP}%")


def rate(bad: float, n: int) -> str:
    """Write how often something happened; never of nothing."""
    return "" if not n else f"{100 * bad / n:.3g}{_NBSP}%"


def count(n: float) -> str:
    return f"{n:,.0f}" if n == int(n) else f"{n:,.1f}"


def times(ratio: float) -> str:
    """Write a ratio: `2.7x`."""
    return f"{format_ratio(ratio)}x"


def grown(of: Sequence[float]) -> str:
    """Say how far evidence has grown, and how far it must: `4.8 of 100`."""
    e, needed = of
    return f"{e:.0f} of {needed:.0f}" if e >= 10 else f"{e:.1f} of {needed:.0f}"


def milliseconds(value: float) -> str:
    return f"{value:.0f}{_NBSP}ms" if value >= 10 else f"{value:.1f}{_NBSP}ms"


def interval(low: float, high: float | None) -> str:
    """Say what is known of a ratio."""
    if high is None:
        return f"at least {times(low)}" if low >= 0.1 else "too few were bad to compare"
    return f"{times(low)} to {times(high)}"


def moment(at: int) -> Markup:
    """Write a time in UTC; the browser, which knows the reader's zone, writes it anew."""
    then = datetime.fromtimestamp(at / SECOND, UTC)
    return Markup('<time datetime="{}" title="{} UTC">{} UTC</time>').format(
        then.strftime("%Y-%m-%dT%H:%M:%SZ"),
        then.strftime("%Y-%m-%d %H:%M:%S"),
        then.strftime("%H:%M:%S"),
    )


def metric(name: str) -> str:
    """Say what a metric counts as bad."""
    kind, _, of = name.partition(".")
    return {"errors": "errors", "latency": "slow answers"}.get(
        kind, f"bad answers by score “{of}”" if kind == "score" else name
    )


def lacking(coming: Mapping[str, Any]) -> str:
    """Say how many more requests a proof needs, and about how long that takes."""
    if coming["requests"] is None:
        return ""
    said = f"about {count(coming['requests'])} more {requests_of(coming['metric'])}"
    if coming["seconds"] is None:
        return f"{said}; too little traffic to say how long"
    return f"{said}, {duration_words(coming['seconds'])}"


def state(name: str) -> str:
    return name.replace("_", " ")


def plain(why: str) -> str:
    """Write several reasons as one sentence."""
    return why.replace(" | ", "; ")


def actor(event: Event) -> str:
    """Say who did it."""
    return "Headway by itself" if event.actor == "headway" else event.actor


def sentence(event: Event, version: str | None) -> str:
    """Say in one sentence what happened; `version`: of the deployment that it belongs to."""
    if event.deployment is not None:
        about = f"{event.model} {version}" if version else f"{event.model}"
        what = state(event.kind.partition(".")[2])
        return f"{about}: {plain(event.why) or what}"
    noun, _, verb = event.kind.partition(".")
    name = event.subject.partition(":")[2]
    if name.startswith(_DIGEST):
        name = name[: len(_DIGEST) + 12]
    said = f": {plain(event.why)}" if event.why else ""
    return f"{noun} {name} {state(verb)}{said}"


def ground(event: Event) -> tuple[str, ...]:
    """Return the counters behind a decision."""
    return basis(event)
