"""`headway demo`: register, serve, deploy by plan, judge on live traffic, promote or roll back."""

import asyncio
import os
import random
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

os.environ.setdefault("OMP_NUM_THREADS", "1")  # training must not fight with the gateways
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import click

from headway.demo import digits
from headway.demo.caller import Caller
from headway.demo.narrator import Narrator
from headway.demo.server import Api, admin_key, check_free, headway
from headway.demo.telling import ENDED, Chapter, Ending, end_leftovers, in_order

_WORSE: Final = "{errors: any, score.correct: any}"
_WORSE_ANSWERS: Final = "{score.correct: any}"
"""Errors are left to the `never` limit: else the judge's own proof may come first by a blink."""
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
  worse: {worse}
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
_DATA: Final = Path("data")
_PORT: Final = 8000
_BASE_SECONDS: Final = 5.0
_RATE: Final = 150.0
_PATIENCE: Final = 420.0
_LOOK: Final = 0.25


CHAPTERS: Final = tuple(
    Chapter(version, plan.format(version=version, why=why, worse=worse), why, ends, stable_after)
    for version, plan, worse, why, ends, stable_after in (
        ("1.0.0", _DIRECT, "", "the first one", "succeeded", "1.0.0"),
        ("1.1.0", _CANARY, _WORSE, "trained on all images", "succeeded", "1.1.0"),
        ("1.2.0", _CANARY, _WORSE, "the best figures so far", "rolled_back", "1.1.0"),
        ("2.0.0", _CANARY, _WORSE_ANSWERS, "an offset per ink level", "rolled_back", "1.1.0"),
    )
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
    data = data or Path(os.environ.get("HEADWAY_DATA", _DATA))
    port = port or int(os.environ.get("HEADWAY_PORT", _PORT))
    check_free(data=data, port=port)
    narrator = Narrator()
    narrator.say("Training four versions of a classifier of handwritten digits ...")
    images = digits.load()
    versions = digits.train(images)
    with headway(data=data, port=port) as url:
        key = admin_key(data)
        api = Api(url, key.text)
        where = key.file or "HEADWAY_KEY"
        narrator.say(f"Headway answers at {url}; the admin key is in {where}")
        end_leftovers(api, narrator.say, pause=partial(time.sleep, _LOOK))
        _register(api, versions)
        caller = Caller(
            url=url,
            key=api.key,
            images=images.held_out_images,
            labels=images.held_out_labels,
            rate=rate,
        )
        endings = _tell(api, caller, narrator)
        as_told = len(endings) == len(CHAPTERS) and CHAPTERS[-1].went_as_told(endings[-1])
        narrator.story(CHAPTERS, endings, caller)
        narrator.epilogue(
            _words_for_another_shell(data, port), url, key.file, endings, as_told=as_told
        )
        if leave:
            raise SystemExit(0 if as_told else 1)
        narrator.say("Headway stays up until you press Ctrl-C.")
        _stay()


def _words_for_another_shell(data: Path, port: int) -> list[str]:
    """Return what `headway` needs to be found, and to find this server."""
    words = []
    if sys.prefix != sys.base_prefix:
        words.append(f"source {os.path.relpath(sys.prefix)}/bin/activate")
    if port != _PORT:
        words.append(f"export HEADWAY_PORT={port}")
    if data != _DATA:
        words.append(f"export HEADWAY_DATA={shlex.quote(str(data))}")
    return words


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


def _tell(api: Api, caller: Caller, narrator: Narrator) -> list[Ending]:
    first, *others = CHAPTERS
    deploy = partial(_deploy, api, caller, narrator)
    begun = in_order([first], deploy)
    if not first.went_as_told(begun[0]):
        return begun
    with _traffic(caller):
        narrator.say(
            f"Held-out digits flow in, {caller.rate:g} a second; labels half a second on."
        )
        time.sleep(_BASE_SECONDS)
        return begun + in_order(others, deploy)


def _deploy(api: Api, caller: Caller, narrator: Narrator, chapter: Chapter) -> Ending:
    """Start a deployment and watch it to its end."""
    created = api.post_plan(chapter.plan)
    path = f"/deployments/{created['id']}"
    began = time.monotonic()
    with narrator.watching(chapter.version, chapter.why) as show:
        status = created
        while status["state"] not in ENDED and time.monotonic() - began < _PATIENCE:
            time.sleep(_LOOK)
            status = api.get(path)
            show(status, caller)
    route = api.get("/routes/digits/production")
    arms = [arm for rule in route["rules"] for arm in rule["arms"] if arm["share_bp"]]
    ending = Ending(
        deployment=created["id"],
        state=status["state"],
        because=status["because"],
        seconds=time.monotonic() - began,
        stable=arms[0]["version"] if len(arms) == 1 else "a mix",
    )
    narrator.ended(ending)
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
