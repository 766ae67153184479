"""The runner's side of the Open Inference Protocol, on a unix socket, for gateways and control.

    GET  /v2, /v2/health/live, /v2/health/ready
    GET  /v2/models/{digest}                     its inputs and outputs; loads it
    GET  /v2/models/{digest}/ready               200 if it is loaded
    POST /v2/models/{digest}/infer
    POST /v2/repository/models/{digest}/load     warm it
    POST /v2/repository/pins                     {"digests": [...]}: never drop these; answered by
                                                 {"corrupt": [...]}: refused for their bytes since

Who is at fault is told by the status: 400 the inputs do not fit, 500 with `Headway-Outcome:
version` the model failed, 503 we could not (not loaded in time, too much at once).
`Headway-Reason: corrupt` says that the stored bytes are not those that the digest names.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from threading import BoundedSemaphore
from typing import Final

import orjson

from headway.kernel.errors import HeadwayError, Refused
from headway.runner import open_inference
from headway.runner.blackbox import BlackBox
from headway.runner.cache import Cache, Quarantined
from headway.runner.ports import CannotLoad, CannotRun, CorruptBytes, OutOfTime, Session, Stop
from headway.wire.call import Call
from headway.wire.framing import FieldLines, write_fields

RUN_SECONDS: Final = 600.0
"""Where nobody says how long a version has."""
_GRACE_SECONDS: Final = 5.0
_WAITING: Final = 256
_WAITS_AT_MOST: Final = 0.9
"""Of its time; what is left is for the answer to come before the gateway's own end of it."""
_FAIR_PART: Final = 0.5
"""Of its time, that a model must have had to be the one that was too slow."""
_GONE: Final = "gone"
"""The context of a call that wants no answer any more."""
_MODELS: Final = "/v2/models/"
_REPOSITORY: Final = "/v2/repository/"
_SERVER: Final = orjson.dumps(
    {"name": "headway", "version": "2", "extensions": open_inference.EXTENSIONS}
)

_JSON: Final = write_fields([(b"content-type", b"application/json")])
_FAULT: Final = write_fields(
    [(b"content-type", b"application/json"), (b"headway-outcome", b"version")]
)
_CORRUPT: Final = write_fields(
    [
        (b"content-type", b"application/json"),
        (b"headway-outcome", b"version"),
        (b"headway-reason", b"corrupt"),
    ]
)
_BUSY: Final = write_fields([(b"content-type", b"application/json"), (b"retry-after", b"1")])

_Answer = tuple[int, FieldLines, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """The application behind the runner's socket."""

    cache: Cache
    blackbox: BlackBox
    work: Executor
    """Where models run."""
    loads: Executor
    """Where models are loaded: never in the way of those that run."""
    body_limit: int
    room: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_WAITING))
    """Requests that may run or wait for a thread; more are answered 503 at once."""
    awaited: dict[str, list[Callable[[_Answer], None]]] = field(default_factory=dict)
    """Who waits for a model that is being loaded: not one thread for each of them."""

    def on_head(self, call: Call) -> None:
        call.collect(self.body_limit, self._on_body)

    def watch(self, _now: float, *, die: Callable[[str], None]) -> None:
        """Die of a model that neither ends nor can be stopped; the supervisor starts us anew."""
        overdue = self.blackbox.overdue()
        if overdue is not None:
            self.blackbox.accuse(overdue)
            die(overdue)

    def _on_body(self, call: Call, body: bytes) -> None:
        path = call.path
        if call.method == "GET" and path in ("/v2/health/live", "/v2/health/ready"):
            key = b"live" if path.endswith("live") else b"ready"
            call.respond(200, _JSON, b'{"%b":true}' % key)
        elif call.method == "GET" and path in ("/v2", "/v2/"):
            call.respond(200, _JSON, _SERVER)
        elif path == _REPOSITORY + "pins" and call.method == "POST":
            self._finish(call, partial(self._pin, body))
        elif path.startswith(_MODELS):
            self._model(call, path.removeprefix(_MODELS), body)
        elif path.startswith(_REPOSITORY + "models/") and path.endswith("/load"):
            digest = path.removeprefix(_REPOSITORY + "models/").removesuffix("/load")
            self._later(call, partial(self._load, _digest(digest)))
        else:
            call.respond(404, _JSON, open_inference.error(f"nothing is at {path}"))

    def _model(self, call: Call, rest: str, body: bytes) -> None:
        name, _, what = rest.partition("/")
        digest = _digest(name)
        if what == "infer" and call.method == "POST":
            turn = _Turn(call)
            session = self.cache.ready(digest)
            if session is not None:
                self._infer(turn, digest, session, body=body)
            elif (refusal := self.cache.refusal(digest)) is not None:
                _respond(call, (500, _FAULT, open_inference.error(str(refusal))))
            else:
                then = partial(self._infer, turn, digest, body=body)
                loaded = partial(self._loaded, call, digest, then)
                self._later(call, partial(self._load, digest), loaded)
        elif what == "ready" and call.method == "GET":
            ready = self.cache.ready(digest) is not None
            call.respond(200 if ready else 503, _JSON, orjson.dumps({"ready": ready}))
        elif what == "" and call.method == "GET":
            then = partial(self._describe, call, digest)
            self._later(
                call, partial(self._load, digest), partial(self._loaded, call, digest, then)
            )
        else:
            call.respond(404, _JSON, open_inference.error(f"nothing is at {call.path}"))

    def _loaded(self, call: Call, digest: str, then: Callable[[Session], None]) -> None:
        session = self.cache.ready(digest)
        if session is None:
            dropped = open_inference.error("the model was dropped; try again")
            _respond(call, (503, _BUSY, dropped))
        else:
            then(session)

    def _infer(self, turn: "_Turn", digest: str, session: Session, *, body: bytes) -> None:
        call, stop = turn.call, turn.stop
        call.on_gone = lambda _call: stop.ask()
        model = (call.headers.get(b"headway-model") or digest.encode()).decode("latin-1")
        version = (call.headers.get(b"headway-model-version") or b"").decode("latin-1")
        said = call.headers.get(b"inference-header-content-length")
        loop = asyncio.get_running_loop()
        limit = turn.patience or RUN_SECONDS
        timer = loop.call_later(limit, stop.ask)

        def run() -> _Answer:
            try:
                if stop.asked:
                    raise OutOfTime("nobody waits for the answer any more")
                inference = open_inference.read(
                    body,
                    session.inputs,
                    session.outputs,
                    json_length=open_inference.json_length(said, body),
                )
                turn.began = time.monotonic()
                with self.blackbox.busy(digest, within=limit + _GRACE_SECONDS):
                    outputs = session.run(inference.inputs, inference.outputs, stop)
                text, length = open_inference.answer(inference, model, version, outputs)
                return 200, _JSON if length is None else _binary(length), text
            finally:
                loop.call_soon_threadsafe(timer.cancel)

        self._later(call, partial(self._apart, self.work, run))

    def _load(self, digest: str, done: Callable[[_Answer], None]) -> None:
        """Load a model on a thread of its own, once for all who wait for it."""
        if (waiting := self.awaited.get(digest)) is not None:
            waiting.append(done)
            return
        self.awaited[digest] = [done]

        def load() -> _Answer:
            self.cache.load(digest)
            return 200, _JSON, b"{}"

        def loaded(answer: _Answer) -> None:
            for each in self.awaited.pop(digest):
                each(answer)

        self._apart(self.loads, load, loaded)

    def _describe(self, call: Call, digest: str, session: Session) -> None:
        said = open_inference.description(digest, "", session.inputs, session.outputs)
        call.respond(200, _JSON, said)

    def _pin(self, body: bytes) -> _Answer:
        try:
            digests = open_inference.document(body).get("digests", [])
        except orjson.JSONDecodeError as error:
            raise Refused(f"the body is not JSON: {error}") from None
        self.cache.pin(frozenset(str(digest) for digest in digests))
        return 200, _JSON, orjson.dumps({"corrupt": self.cache.take_corrupt()})

    def _apart(
        self, executor: Executor, work: Callable[[], _Answer], done: Callable[[_Answer], None]
    ) -> None:
        """Work off the loop, and tell it on the loop."""
        loop = asyncio.get_running_loop()
        executor.submit(lambda: loop.call_soon_threadsafe(done, _answered(work)))

    def _later(
        self,
        call: Call,
        begin: Callable[[Callable[[_Answer], None]], None],
        then: Callable[[], None] | None = None,
    ) -> None:
        """Begin what takes time, and answer when it is done; `then` instead if it went well."""
        if not self.room.acquire(blocking=False):
            full = open_inference.error("too many requests wait; try again")
            _respond(call, (503, _BUSY, full))
            return
        gone = call.on_gone

        def done(answer: _Answer) -> None:
            self.room.release()
            if call.context is _GONE:
                return
            if then is not None and answer[0] == 200:
                then()
            else:
                _respond(call, answer)

        def left(call: Call) -> None:
            _end_turn(call)
            call.context = _GONE
            if gone is not None:
                gone(call)

        call.on_gone = left
        begin(done)

    def _finish(self, call: Call, work: Callable[[], _Answer]) -> None:
        call.respond(*_answered(work))


@dataclass(slots=True)
class _Turn:
    """An inference that waits for its model to be loaded and for a thread, and then runs.

    What it waits for is ours, or another model's doing. So one that gets no fair part of the time
    that its version has is given back (503) just before that is over: else the gateway would end
    it, and could only blame the version.
    """

    call: Call
    stop: Stop = field(default_factory=Stop)
    began: float | None = None
    """When the model began to run, seconds of the monotonic clock."""
    patience: float = 0.0
    """Seconds that the version has; 0: nobody said."""
    timer: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        said = self.call.headers.get(b"headway-patience-ms") or b"0"
        self.patience = int(said) / 1000 if said.isdigit() and len(said) <= 12 else 0.0
        if self.patience:
            self.call.context = self
            loop = asyncio.get_running_loop()
            self.timer = loop.call_later(_WAITS_AT_MOST * self.patience, self._give_back)

    def _give_back(self) -> None:
        call = self.call
        if call.context is not self:
            return
        if self.began is not None and time.monotonic() - self.began >= _FAIR_PART * self.patience:
            return
        self.stop.ask()
        late = open_inference.error("the model did not get its turn in time; try again")
        _respond(call, (503, _BUSY, late))
        call.context = _GONE


def _respond(call: Call, answer: _Answer) -> None:
    _end_turn(call)
    call.respond(*answer)


def _end_turn(call: Call) -> None:
    turn = call.context
    if isinstance(turn, _Turn) and turn.timer is not None:
        turn.timer.cancel()


def _binary(json_length: int) -> FieldLines:
    return FieldLines(
        b"content-type: application/octet-stream\r\n"
        b"inference-header-content-length: %d\r\n" % json_length
    )


def _digest(name: str) -> str:
    return name if name.startswith("sha256:") else f"sha256:{name}"


def _answered(work: Callable[[], _Answer]) -> _Answer:
    """Turn what goes wrong into an answer that says whose fault it is."""
    try:
        return work()
    except Refused as error:
        return 400, _JSON, open_inference.error(str(error))
    except CorruptBytes as error:
        return 500, _CORRUPT, open_inference.error(str(error))
    except OutOfTime:
        # As the gateway says it, which may be faster.
        return 504, _FAULT, open_inference.error("the model did not answer in time")
    except (CannotLoad, CannotRun, Quarantined) as error:
        return 500, _FAULT, open_inference.error(str(error))
    except MemoryError:
        return 500, _FAULT, open_inference.error("the model wants more memory than it may use")
    except HeadwayError as error:
        return 503, _BUSY, open_inference.error(str(error))
    except Exception as error:  # noqa: BLE001 - the last line: a request is always answered
        return 503, _BUSY, open_inference.error(f"the runner failed: {type(error).__name__}")
