"""The story on the terminal: shares, evidence and interval live, and ten lines at the end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headway.demo.caller import Caller, Seen
from headway.demo.telling import Chapter, Ending
from headway.kernel.quantity import format_ratio

_BAR: Final = 40

Show = Callable[[Mapping[str, Any], Caller], None]


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

    def ended(self, ending: Ending) -> None:
        colour = "green" if ending.state == "succeeded" else "red"
        self._console.print(
            f"[{colour}]{ending.state}[/{colour}] after {ending.seconds:.0f} s: {ending.because}",
            highlight=False,
        )

    def story(
        self, chapters: Sequence[Chapter], endings: Sequence[Ending], caller: Caller
    ) -> None:
        """Tell who got what, what was decided and why, and how many requests failed."""
        self._console.rule("[bold]The story[/bold]", align="left")
        for chapter, ending in zip(chapters, endings, strict=False):  # it may have broken off
            self._console.print(
                f"{chapter.version} {ending.state} after {ending.seconds:.0f} s, "
                f"then everybody got {ending.stable}: {ending.because}",
                highlight=False,
            )
        for version, seen in sorted(caller.seen.items()):
            self._console.print(_who_got_what(version, seen), highlight=False)
        if caller.broken:
            broken = ", ".join(f"{n} {name}" for name, n in caller.broken.items())
            self._console.print(f"without any answer (a process was killed): {broken}")
        if caller.asked_again:
            self._console.print(f"told to come back in a second: {caller.asked_again} requests")

    def epilogue(
        self,
        shell: Sequence[str],
        url: str,
        key_file: Path | None,
        endings: Sequence[Ending],
        *,
        as_told: bool,
    ) -> None:
        """Say what to try next, in lines that can be copied as they stand."""
        if not as_told:
            self._console.print("[red]It did not end as told; see above.[/red]")
        self._console.rule("[bold]Try next[/bold]", align="left")
        where = key_file or "HEADWAY_KEY"
        upstream = "--base-url http://127.0.0.1:11434/v1 --upstream-model llama3.2"
        lines = [
            f"The page with the deployments is {url}/ (log in with the key in {where}).",
            "In another shell, in this folder:",
            *(f"  {line}" for line in shell),
            "Why each decision was taken:",
            "  headway deploy list",
            *(f"  headway deploy why {ending.deployment}" for ending in endings[-1:]),
            "A chat model of your own (any OpenAI-compatible base URL; here Ollama's, or what",
            "`python -m headway.testing.provider` puts in its place), then a canary:",
            "  headway models create bot",
            f"  headway versions create bot 1.0.0 {upstream}",
            f"  {_plan('1.0.0')}; headway deploy start plan.yaml --follow",
            f"  headway versions create bot 1.1.0 {upstream} --system 'Answer in one sentence.'",
            f"  {_plan('1.1.0')}; headway deploy start plan.yaml",
            "and call it, here with the openai package in Python:",
            f"  {_call(url, key_file)}",
        ]
        self._console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _plan(version: str) -> str:
    return f"printf 'model: bot\\nto: {version}\\n' > plan.yaml"


def _call(url: str, key_file: Path | None) -> str:
    key = f'open("{key_file}").read().strip()' if key_file else 'os.environ["HEADWAY_KEY"]'
    client = f'OpenAI(base_url="{url}/v1", api_key={key})'
    asked = 'model="bot", messages=[{"role": "user", "content": "Hi"}]'
    return f"{client}.chat.completions.create({asked})"


def _who_got_what(version: str, seen: Seen) -> str:
    total = seen.answered + seen.failed
    share = f"{seen.right / seen.answered:.1%}" if seen.answered else ""
    right = f"; of the answers that came {share} were right" if share else ""
    who = "by no version" if version == "none" else version
    return f"{who}: {total:,} requests, {seen.failed:,} failed{right}"


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
    return none if value is None else f"{format_ratio(value)}x"
