"""`headway demo`: register, serve, deploy by plan, judge on live traffic, promote or roll back."""

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")  # training must not fight with the gateways
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import click

from headway.demo import digits
from headway.demo.caller import Caller
from headway.demo.narrator import Narrator
from headway.demo.server import Api, headway

_CANARY: Final = """\
model: digits
to: {version}
why: {why}
strategy: canary
steps:
  - check: [loads, smoke]
  - send: 10%
    until: not 5x worse
    at_most: 2m
  - send: 30%
    until: not 2x worse
    at_most: 2m
  - send: 50%
    until: not 1.5x worse
    at_most: 2m
  - send: 100%
  - watch: 5s
judge:
  worse: {{errors: any, score.correct: any}}
  never: {{errors: "> 10%"}}
  floor: 2%
  matures: 3s
"""
_DIRECT: Final = """\
model: digits
to: {version}
why: {why}
strategy: direct
steps:
  - check: [loads, smoke]
  - send: 100%
  - watch: 1s
judge:
  worse: {{errors: any}}
  never: {{errors: "> 10%"}}
"""
_BASE_SECONDS: Final = 5.0
_RATE: Final = 150.0
_PATIENCE: Final = 420.0
_ENDED: Final = frozenset({"succeeded", "rolled_back", "cancelled", "abandoned"})


@dataclass(frozen=True, slots=True)
class Chapter:
    """One deployment of the story, and how it is told to end."""

    version: str
    plan: str
    why: str
    ends: str
    stable_after: str


CHAPTERS: Final = (
    Chapter("1.0.0", _DIRECT, "the first one", "succeeded", "1.0.0"),
    Chapter("1.1.0", _CANARY, "trained on all images", "succeeded", "1.1.0"),
    Chapter("1.2.0", _CANARY, "the best figures so far", "rolled_back", "1.1.0"),
    Chapter("2.0.0", _CANARY, "an offset per ink level", "rolled_back", "1.1.0"),
)


@click.command()
@click.option("--exit", "leave", is_flag=True, help="Stop at the end; 0 only if it went as told.")
@click.option("--data", type=click.Path(path_type=Path), default=None, help="Default: ./data.")
@click.option("--port", type=int, default=None, help="Default: 8000.")
@click.option("--rate", type=float, default=_RATE, show_default=True, help="Requests per second.")
def demo(*, leave: bool, data: Path | None, port: int | None, rate: float) -> None:
    """Tell the whole story on real traffic, and leave the server running."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # the server stops with us, however we stop
        signal.signal(number, signal.default_int_handler)
    data = data or Path(os.environ.get("HEADWAY_DATA", "data"))
    port = port or int(os.environ.get("HEADWAY_PORT", "8000"))
    narrator = Narrator()
    narrator.say("Training four versions of a classifier of handwritten digits ...")
    images = digits.load()
    versions = digits.train(images)
    with headway(data=data, port=port) as url:
        api = Api(url, (data / "admin.key").read_text("ascii").strip())
        narrator.say(f"Headway answers at {url}; the admin key is in {data / 'admin.key'}")
        _register(api, versions)
        caller = Caller(
            url=url,
            key=api.key,
            images=images.held_out_images,
            labels=images.held_out_labels,
            rate=rate,
        )
        as_told = _tell(api, caller, narrator)
        narrator.epilogue(url, as_told=as_told)
        if leave:
            raise SystemExit(0 if as_told else 1)
        _stay()


def _register(api: Api, versions: Sequence[digits.Trained]) -> None:
    """Register what is not there yet: on a second run everything is."""
    known = {model["name"] for model in api.get("/models")["items"]}
    if "digits" not in known:
        api.post("/models", {"name": "digits", "description": "handwritten digits, 8 x 8"})
    for trained in versions:
        digest = api.upload(trained.onnx)
        version = {
            "version": trained.number,
            "description": trained.description,
            "target": {"runtime": "onnx", "artifact": digest, "timeouts": {"total": "2s"}},
            "metadata": {"own_accuracy": round(trained.own_accuracy, 4)},
        }
        api.post("/models/digits/versions", version)


def _tell(api: Api, caller: Caller, narrator: Narrator) -> bool:
    first, *others = CHAPTERS
    endings = [_deploy(api, first, caller, narrator)]
    with _traffic(caller):
        narrator.say(
            f"Held-out digits flow in, {caller.rate:g} a second; labels half a second on."
        )
        time.sleep(_BASE_SECONDS)
        endings += [_deploy(api, chapter, caller, narrator) for chapter in others]
    narrator.story(CHAPTERS, endings, caller)
    return all(
        ending["state"] == chapter.ends and ending["stable"] == chapter.stable_after
        for chapter, ending in zip(CHAPTERS, endings, strict=True)
    )


def _deploy(api: Api, chapter: Chapter, caller: Caller, narrator: Narrator) -> dict[str, Any]:
    """Start a deployment and watch it to its end."""
    created = api.post_plan(chapter.plan.format(version=chapter.version, why=chapter.why))
    path = f"/deployments/{created['id']}"
    began = time.monotonic()
    with narrator.watching(chapter.version, chapter.why) as show:
        status = created
        while status["state"] not in _ENDED and time.monotonic() - began < _PATIENCE:
            time.sleep(0.25)
            status = api.get(path)
            show(status, caller)
    route = api.get("/routes/digits/production")
    arms = [arm for rule in route["rules"] for arm in rule["arms"] if arm["share_bp"]]
    ending = {
        "id": created["id"],
        "state": status["state"],
        "because": status["because"],
        "seconds": time.monotonic() - began,
        "stable": arms[0]["version"] if len(arms) == 1 else "a mix",
    }
    narrator.ended(chapter.version, ending)
    return ending


@contextmanager
def _traffic(caller: Caller) -> Iterator[None]:
    """Let the callers call, from a thread with a loop of its own."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    chance = random.Random(20_241)  # noqa: S311 - which image is drawn is no secret

    def call() -> None:
        loop.run_until_complete(caller.run(stop, chance=chance))

    thread = threading.Thread(target=call, name="callers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)


def _stay() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        click.echo("stopping")
