"""What runners keep is told to them again and again, and to one that starts anew at once."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, cast

from tests.persistence.examples import NOON, artifact, model, route, version

from headway.adapters.runners import Runners
from headway.registry.target import LocalTarget
from headway.testing.memory import Store, begin
from headway.testing.provider import Reply, ScriptedProvider
from headway.wiring.pins import Pins

ARTIFACTS = {
    number: f"sha256:{letter * 64}" for number, letter in (("1.0.0", "a"), ("0.9.0", "b"))
}


class Told:
    """The pins of a route whose fallback is another version, and a clock that is set by hand."""

    def __init__(self, path: Path) -> None:
        work_of = partial(begin, Store(), lambda: NOON)
        with work_of() as work:
            work.models.add(model())
            for number, digest in ARTIFACTS.items():
                work.artifacts.add(artifact(digest))
                work.versions.add(version(number, target=LocalTarget("onnx", digest)))
            work.routes.add(route(1, serves="1.0.0", fallback="0.9.0"))
            work.commit()
        self.now = 100.0
        self._pins = Pins(
            work_of,
            Runners([path]),
            cast("Any", None),  # it is asked of what is corrupt alone
            corrupt=lambda _: None,
            monotonic=lambda: self.now,
        )

    def look(self, runner: ScriptedProvider) -> list[list[str]]:
        """Return what the runner is told at one look."""
        runner.script = lambda _: Reply(body=b'{"corrupt": []}')
        before = len(runner.requests)
        self._pins.look()
        return [each.json["digests"] for each in runner.requests[before:]]


def test_a_runner_is_told_every_five_seconds_and_at_once_when_it_is_new() -> None:
    kept = [sorted(ARTIFACTS.values())]
    with tempfile.TemporaryDirectory(prefix="hwp") as folder:  # a socket's path is short
        path = Path(folder) / "r.sock"
        told = Told(path)
        with ScriptedProvider(path=str(path)) as runner:
            assert told.look(runner) == kept
            told.now += 4.9
            assert told.look(runner) == []
            told.now += 0.1
            assert told.look(runner) == kept
        path.unlink(missing_ok=True)
        with ScriptedProvider(path=str(path)) as runner:
            assert told.look(runner) == kept
            assert told.look(runner) == []
