"""The story on the terminal: shares, evidence and interval live, and ten lines at the end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headway.demo.caller import Caller, Seen

_BAR: Final = 40

Show = Callable[[Mapping[str, Any], Caller], None]


class Told(Protocol):
    """A chapter as the narrator needs it."""

    @property
    def version(self) -> str: ...

    @property
    def ends(self) -> str: ...


class Narrator:
    def __init__(self) -> None:
        self._console = Console()

    def say(self, words: str) -> None:
        self._console.print(words)

    @contextmanager
    def watching(self, version: str, why: str) -> Iterator[Show]:
        """Show a deployment while it runs; without a terminal nothing is drawn over."""
        self._console.rule(f"[bold]digits {version}[/bold]: {why}", align="left")
        if not self._console.is_terminal:
            yield lambda _status, _caller: None
            return
        with Live(console=self._console, refresh_per_second=4, transient=True) as live:
            yield lambda status, caller: live.update(_picture(status, caller))

    def ended(self, version: str, ending: Mapping[str, Any]) -> None:
        colour = "green" if ending["state"] == "succeeded" else "red"
        self._console.print(
            f"[{colour}]{ending['state']}[/{colour}] after {ending['seconds']:.0f} s: "
            f"{ending['because']}",
            highlight=False,
        )
        del version

    def story(
        self, chapters: Sequence[Told], endings: Sequence[Mapping[str, Any]], caller: Caller
    ) -> None:
        """Tell who got what, what was decided and why, and how many requests failed."""
        self._console.rule("[bold]The story[/bold]", align="left")
        for chapter, ending in zip(chapters, endings, strict=True):
            self._console.print(
                f"{chapter.version} {ending['state']} after {ending['seconds']:.0f} s, "
                f"then everybody got {ending['stable']}: {ending['because']}",
                highlight=False,
            )
        for version, seen in sorted(caller.seen.items()):
            self._console.print(_who_got_what(version, seen), highlight=False)
        if caller.broken:
            broken = ", ".join(f"{n} {name}" for name, n in caller.broken.items())
            self._console.print(f"without any answer (a process was killed): {broken}")
        if caller.asked_again:
            self._console.print(f"told to come back in a second: {caller.asked_again} requests")

    def epilogue(self, url: str, *, as_told: bool) -> None:
        """Say what to try next."""
        if not as_told:
            self._console.print("[red]It did not end as told; see above.[/red]")
        self._console.rule("[bold]Try next[/bold]", align="left")
        self._console.print(
            f"the page with the deployments    {url}/\n"
            "why each decision was taken      headway deploy list; headway deploy why dep_...\n"
            "a chat model of your own (any OpenAI-compatible base URL):\n"
            "  headway models create bot\n"
            "  headway versions create bot 1.0.0 --base-url http://127.0.0.1:11434/v1 "
            "--upstream-model llama3.2\n"
            '  printf "model: bot\\nto: 1.0.0\\n" > plan.yaml; headway deploy start plan.yaml\n'
            f'  OpenAI(base_url="{url}/v1", api_key=KEY).chat.completions.create(model="bot", '
            "messages=[...])\n"
            '  headway versions create bot 1.1.0 --system "Answer in one sentence." '
            "--base-url ... ; deploy it as above: a canary",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _who_got_what(version: str, seen: Seen) -> str:
    total = seen.answered + seen.failed
    right = f"{seen.right / seen.answered:.1%} of its answers right" if seen.answered else ""
    return f"{version}: {total:,} requests, {seen.failed:,} failed, {right}"


def _picture(status: Mapping[str, Any], caller: Caller) -> Group:
    shares = Table.grid(padding=(0, 1))
    for arm in status.get("shares") or ():
        part = arm["share_bp"] / 10_000
        bar = "█" * round(part * _BAR)
        shares.add_row(arm["version"], Text(f"{bar:<{_BAR}}"), f"{part:.0%}")
    evidence = Table(box=None, pad_edge=False)
    for title in (
        "metric",
        "candidate",
        "stable",
        "times as bad",
        "proof: worse",
        "proof: not worse",
    ):
        evidence.add_column(title)
    for metric in status.get("evidence") or ():
        evidence.add_row(*_evidence(metric))
    total = sum(seen.answered + seen.failed for seen in caller.seen.values())
    words = f"{status['state']}: {status['because']}   ({total:,} requests so far)"
    coming = (status.get("next") or {}).get("what")
    below = [Text(f"next: {coming}", style="dim")] if coming else []
    judged = [evidence] if status.get("evidence") else []
    return Group(Text(words), shares, *judged, *below)


def _evidence(metric: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = metric.get("interval") or (None, None)
    return (
        str(metric.get("metric")),
        str(metric.get("candidate", "")),
        str(metric.get("stable", "")),
        f"{_times(low, '0')} to {_times(high, 'any')}",
        str(metric.get("worse", "")),
        str(metric.get("not_worse", "")),
    )


def _times(value: float | None, none: str) -> str:
    return none if value is None else f"{value:.2g}x"
