"""The gateway: what the engine hands its calls to, and which way each of them goes.

/v1/chat/completions, /v2/models/…/infer ── Passage ── a provider or the runner
/v1/models…, /v2…, /livez, /readyz ──────── answered here
everything else ─────────────────────────── Passing ── control
"""

from collections.abc import Callable, Mapping
from typing import Final

import orjson

from headway.gateway.dialects import ANTHROPIC_MESSAGES, OPEN_INFERENCE, OPENAI_CHAT, PATHS
from headway.gateway.exchange import Format, Problem
from headway.gateway.heads import is_id, naming
from headway.gateway.own import (
    JSON,
    PROBLEM,
    Health,
    Models,
    inference_fault,
    server_metadata,
)
from headway.gateway.passage import Passage
from headway.gateway.passing import Passing, problem_body
from headway.gateway.passthrough import Through, passing_words
from headway.gateway.pipeline import Pipeline
from headway.gateway.view import View
from headway.kernel.names import nearest
from headway.registry.target import passed_by
from headway.tracking.measurement import Outcome
from headway.wire.call import Call
from headway.wire.framing import FieldLines

_ALIVE: Final = b'{"status":"ok"}'
_PATHS_V1: Final = (*PATHS, "/v1/models")
_READS: Final = frozenset({"GET", "HEAD"})


class Gateway:
    """The application of one gateway process (`wire.server.Application`)."""

    def __init__(self, pipeline: Pipeline, passing: Passing, health: Health) -> None:
        self.pipeline = pipeline
        self._passing = passing
        self._models = Models(pipeline)
        self._health = health
        self._exact: Mapping[str, Callable[[Call], None]] = {
            **dict.fromkeys(PATHS, self._asked),
            "/v1/models": self._list,
            "/v2": self._server,
            "/v2/": self._server,
            "/v2/health/live": self._live,
            "/v2/health/ready": self._ready,
            "/livez": self._alive,
            "/readyz": self._parts,
        }

    @property
    def applied_generation(self) -> int:
        """The generation of the view by which requests are answered now."""
        return self.pipeline.view.generation

    def adopt(self, view: View) -> None:
        """Swap the whole view. On the loop's thread."""
        self.pipeline.adopt(view)

    def sweep(self, now: float) -> None:
        """Look at requests under way and at the limits: the server's `on_sweep`."""
        self.pipeline.sweep(now)

    def on_head(self, call: Call) -> None:
        """Choose the way of a call (`Application`)."""
        path = call.path
        exact = self._exact.get(path)
        if exact is not None:
            exact(call)
        elif path.startswith("/v2/"):
            self._inference(call, path)
        elif path.startswith("/v1/models/"):
            self._only(call, _READS, lambda call: self._models.answer(call, path[11:]))
        elif path.startswith("/v1/"):
            if self.pipeline.view.passes(path[4:]):
                Through(self.pipeline, call, _format_v1(call)).take()
            else:
                self._unknown(call, path)
        else:
            self._pass_on(call)

    def error_body(self, status: int, detail: str, call: Call | None) -> tuple[FieldLines, bytes]:
        """Shape an error of the engine's own as callers of that path read it (`ErrorBody`)."""
        if call is None:
            # Nobody else will ever hear of it: no head was understood, or there is no room.
            self.pipeline.accumulator.unrouted(Outcome.POLICY if status == 503 else Outcome.CALLER)
        return self._said(call, Problem(status, detail, Outcome.CALLER, "bad_request"))

    def _said(self, call: Call | None, problem: Problem) -> tuple[FieldLines, bytes]:
        """Return a problem as callers of that path read it, after lines that name the request."""
        request_id = self.pipeline.stamp_of_no_route()
        named = naming(request_id.encode("ascii"))
        if call is not None and call.path.startswith("/v1/"):
            return FieldLines(JSON + named), _format_v1(call).fault(problem)
        if call is not None and _is_inference(call.path):
            return FieldLines(JSON + named), inference_fault(problem)
        body = problem_body(problem.status, problem.detail, request_id)
        return FieldLines(PROBLEM + named), body

    # The ways

    def _asked(self, call: Call) -> None:
        self._traffic(call, PATHS[call.path], None)

    def _traffic(self, call: Call, format_: Format, model: str | None) -> None:
        if call.method != "POST":
            self._refuse_method(call, "POST")
        else:
            Passage(self.pipeline, call, format_, model).take()

    def _inference(self, call: Call, path: str) -> None:
        """Take `/v2/models/{model}[/versions/{version}][/ready|/infer]`."""
        parts = path[4:].split("/")
        if parts[0] != "models" or len(parts) < 2 or not parts[1]:
            self._unknown(call, path)
            return
        _, model, *rest = parts
        ref: str | None = None
        if len(rest) >= 2 and rest[0] == "versions":
            ref, rest = rest[1], rest[2:]
        elif "@" in model:
            model, _, ref = model.partition("@")
        if rest == ["infer"]:
            self._traffic(call, OPEN_INFERENCE, model if ref is None else f"{model}@{ref}")
        elif not rest:
            self._only(call, _READS, lambda call: self._models.describe(call, model, ref))
        elif rest == ["ready"]:
            self._only(call, _READS, lambda call: self._models.ready(call, model, ref))
        else:
            self._unknown(call, path)

    def _list(self, call: Call) -> None:
        self._only(call, _READS, lambda call: self._models.answer(call, None))

    def _server(self, call: Call) -> None:
        self._only(call, _READS, lambda call: call.respond(200, JSON, server_metadata()))

    def _live(self, call: Call) -> None:
        self._only(call, _READS, lambda call: call.respond(200, JSON, b'{"live":true}'))

    def _ready(self, call: Call) -> None:
        ready = self.pipeline.view.generation >= 0
        body = orjson.dumps({"ready": ready})
        self._only(call, _READS, lambda call: call.respond(200 if ready else 503, JSON, body))

    def _alive(self, call: Call) -> None:
        self._only(call, _READS, lambda call: call.respond(200, JSON, _ALIVE))

    def _parts(self, call: Call) -> None:
        self._only(call, _READS, self._health.answer)

    def _only(self, call: Call, methods: frozenset[str], answer: Callable[[Call], None]) -> None:
        if call.method in methods:
            answer(call)
        else:
            self._refuse_method(call, "GET")

    def _unknown(self, call: Call, path: str) -> None:
        guess = nearest(path[:128], _PATHS_V1) if path.startswith("/v1/") else None
        hint = f"; did you mean {guess}?" if guess else ""
        if path.startswith("/v1/") and passed_by(path[4:]) is not None:
            hint += f"{'' if guess else ';'} {passing_words(path)}"
        problem = Problem(404, f"nothing is at {path[:128]}{hint}", Outcome.CALLER, "unknown_path")
        self._refuse(call, problem)

    def _pass_on(self, call: Call) -> None:
        pipeline = self.pipeline
        own = call.headers.get(b"x-request-id")
        if own is None or not is_id(own):
            own = pipeline.stamp_of_no_route().encode("ascii")
        self._passing.pass_on(
            call, address=pipeline.addresses.of(call.peer, call.headers), request_id=own
        )

    def _refuse_method(self, call: Call, allowed: str) -> None:
        problem = Problem(
            405,
            f"{call.method} is not taken here, but {allowed}",
            Outcome.CALLER,
            "method_not_allowed",
        )
        self._refuse(call, problem, b"allow: %b\r\n" % allowed.encode("ascii"))

    def _refuse(self, call: Call, problem: Problem, more: bytes = b"") -> None:
        """Answer with a problem; `more` are lines for its head."""
        self.pipeline.accumulator.unrouted(problem.outcome)
        lines, body = self._said(call, problem)
        call.respond(problem.status, FieldLines(lines + more), body)


def _format_v1(call: Call) -> Format:
    """Return how the caller of a path below /v1 reads what goes wrong."""
    format_ = PATHS.get(call.path)
    if format_ is not None:
        return format_
    if call.headers.get(b"anthropic-version") is not None:
        return ANTHROPIC_MESSAGES
    return OPENAI_CHAT


def _is_inference(path: str) -> bool:
    """Say whether a path is Open Inference's: its clients read errors in their own shape."""
    return path == "/v2" or path.startswith("/v2/")
