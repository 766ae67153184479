"""What control hears from runners over their unix sockets."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway.adapters.runners import Loaded, Runners
from headway.kernel.errors import Conflict, Refused, Unavailable, Unsupported
from headway.testing.provider import Ending, Reply, ScriptedProvider

DIGEST = f"sha256:{'a' * 64}"
PIXELS = {"name": "x", "datatype": "FP32", "shape": [-1, 64]}


def said(document: object, status: int = 200, **headers: str) -> Reply:
    return Reply(body=json.dumps(document).encode(), status=status, headers=headers)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hwr") as short:  # a socket's path is short
        yield Path(short)


@pytest.fixture
def runner(folder: Path) -> Iterator[ScriptedProvider]:
    with ScriptedProvider(path=str(folder / "r.sock")) as running:
        yield running


@pytest.fixture
def runners(folder: Path, runner: ScriptedProvider) -> Runners:
    assert runner.requests == []
    return Runners([folder / "gone.sock", folder / "r.sock"])


def test_the_first_runner_that_answers_describes_a_model(
    runners: Runners, runner: ScriptedProvider
) -> None:
    runner.script = lambda _: said({"inputs": [PIXELS], "outputs": []})
    found = runners.describe(DIGEST, "onnx")

    assert found is not None
    assert (found.inputs[0].name, found.inputs[0].shape) == ("x", (-1, 64))
    assert (runner.requests[0].method, runner.requests[0].path) == ("GET", f"/v2/models/{DIGEST}")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (said({"error": "no graph"}, 422, **{"headway-outcome": "version"}), Unsupported),
        (said({"error": "no graph"}, 404), Refused),
        (said({"error": "no graph"}, 503), Unavailable),
        (Reply(drop=True), Unavailable),
        (Reply(body=b'{"inputs": []}', end=Ending.CUT), Unavailable),
    ],
)
def test_a_description_that_does_not_come_says_why(
    runners: Runners, runner: ScriptedProvider, reply: Reply, error: type[Exception]
) -> None:
    runner.script = lambda _: reply
    with pytest.raises(error):
        runners.describe(DIGEST, "onnx")


def test_a_load_tells_of_each_living_runner(runners: Runners, runner: ScriptedProvider) -> None:
    assert runners.load(DIGEST) == Loaded(refused={}, corrupt=False)
    runner.script = lambda _: said({"error": "too large"}, 507)
    assert runners.load(DIGEST) == Loaded(refused={"runner 2": "too large"}, corrupt=False)
    runner.script = lambda _: said({"error": "others"}, 500, **{"headway-reason": "corrupt"})
    assert runners.load(DIGEST) == Loaded(refused={"runner 2": "others"}, corrupt=True)


def test_a_model_whose_bytes_changed_must_be_sent_again_before_it_is_registered(
    runners: Runners, runner: ScriptedProvider
) -> None:
    fields = {"headway-outcome": "version", "headway-reason": "corrupt"}
    runner.script = lambda _: said({"error": "others"}, 500, **fields)
    with pytest.raises(Conflict, match=f"{DIGEST} are not those .* upload the right ones again"):
        runners.describe(DIGEST, "onnx")


def test_runners_tell_what_they_refused_for_its_bytes_when_they_are_told_what_to_keep(
    runners: Runners, runner: ScriptedProvider
) -> None:
    runner.script = lambda _: said({"corrupt": [DIGEST]})
    assert runners.pin([]) == {DIGEST}


def test_pins_reach_every_runner_that_lives(runners: Runners, runner: ScriptedProvider) -> None:
    runner.script = lambda _: said({"corrupt": []})
    assert runners.pin([DIGEST]) == frozenset()
    (asked,) = runner.requests
    assert (asked.path, asked.json) == ("/v2/repository/pins", {"digests": [DIGEST]})


def test_a_runner_that_starts_anew_is_told_from_the_one_before(folder: Path) -> None:
    runners = Runners([folder / "gone.sock", folder / "r.sock"])
    seen = []
    for _ in range(2):
        with ScriptedProvider(path=str(folder / "r.sock")):
            seen.append(runners.born())
            assert runners.born() == seen[-1]
        (folder / "r.sock").unlink(missing_ok=True)
    assert seen[0] != seen[1]
    assert runners.born() == (None, None)


def test_without_any_runner_nothing_can_be_loaded(folder: Path) -> None:
    with pytest.raises(Unavailable):
        Runners([folder / "gone.sock"]).load(DIGEST)
