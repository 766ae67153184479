"""What a gateway answers by itself: lists of models, their descriptions, health."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from headway.artifacts.artifact import RESERVE
from headway.auth.policy import Caller
from headway.auth.role import Permission
from headway.gateway.dialects import ANTHROPIC_MESSAGES, OPENAI_CHAT
from headway.gateway.exchange import NotAnswered, Prepared, Problem, Release, split_pin
from headway.gateway.formats.open_inference import EXTENSIONS
from headway.gateway.heads import naming, said_with
from headway.gateway.pipeline import CONTROL, Pipeline, unrouted
from headway.gateway.view import Served
from headway.kernel.clock import SECOND
from headway.registry.target import LocalTarget
from headway.registry.version import SemVer
from headway.tracking.measurement import Outcome
from headway.wire.call import Call
from headway.wire.framing import FieldLines, Headers
from headway.wire.origin import Origin
from headway.wire.sending import Deadlines, Failure

JSON: Final = FieldLines(b"content-type: application/json\r\n")
PROBLEM: Final = FieldLines(b"content-type: application/problem+json\r\n")
_PATIENCE: Final = Deadlines(connect=1.0, first_byte=2.0, idle=2.0, total=3.0)
_LOAD_PATIENCE: Final = Deadlines(connect=1.0, first_byte=130.0, idle=10.0, total=150.0)
_PATIENCE_WITH_OTHERS: Final = 30.0
_LARGEST: Final = 1 << 20
"""Bytes of an answer to a small question; what is larger is none."""
_MOST_LISTED: Final = 1_000
Told = Callable[[int, bytes], None]
"""Takes the status and the body of an answer; status 0: there was none."""


class Asked:
    """A small question to one of our own processes, or about a model (`Receiver`)."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._status = 0
        self._parts: list[bytes] = []
        self._size = 0

    def on_head(self, status: int, headers: Headers) -> None:  # noqa: ARG002 - a port
        self._status = status

    def on_data(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= _LARGEST:
            self._parts.append(data)

    def on_complete(self, *, by_close: bool) -> None:  # noqa: ARG002 - a port
        whole = self._size <= _LARGEST
        self._told(self._status if whole else 0, b"".join(self._parts))

    def on_failure(self, failure: Failure) -> None:  # noqa: ARG002 - a port
        self._told(0, b"")


def question(path: str, hop_secret: str = "") -> bytes:
    """Write the request of a small question; control wants to see the hop secret."""
    hop = b"headway-hop: %b\r\n" % hop_secret.encode("ascii") if hop_secret else b""
    return b"GET %b HTTP/1.1\r\nhost: headway\r\n%b\r\n" % (path.encode("ascii"), hop)


class Models:
    """Lists and descriptions of what a caller may call."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def answer(self, call: Call, name: str | None) -> None:
        """Answer `GET /v1/models` or one of them, in the shape that the caller's client reads."""
        anthropic = call.headers.get(b"anthropic-version") is not None
        try:
            headers = call.headers.first()
            caller = self._pipeline.identify(call, headers, Permission.TRAFFIC_LIST)
            environment = self._pipeline.environment_of(caller, headers)
            if name is None:
                listed = self._visible(caller, environment)
                document = _page(call, listed) if anthropic else _list(listed)
            else:
                document = _entry(self._one(caller, environment, name), name, anthropic=anthropic)
        except NotAnswered as refused:
            spoken = ANTHROPIC_MESSAGES if anthropic else OPENAI_CHAT
            self._refuse(call, refused.problem, spoken.fault)
            return
        call.respond(200, JSON, orjson.dumps(document))

    def _refuse(self, call: Call, problem: Problem, fault: Callable[[Problem], bytes]) -> None:
        self._pipeline.accumulator.unrouted(problem.outcome)
        self._respond(call, problem, fault)

    def _respond(self, call: Call, problem: Problem, fault: Callable[[Problem], bytes]) -> None:
        request_id = self._pipeline.stamp_of_no_route().encode("ascii")
        lines = FieldLines(JSON + said_with(problem) + naming(request_id))
        call.respond(problem.status, lines, fault(problem))

    def _one(self, caller: Caller, environment: str, name: str) -> Served:
        model, ref = split_pin(name)
        served = self._pipeline.find(caller, environment, model)
        if ref is not None and self._pipeline.view.release(model, ref) is None:
            raise NotAnswered(_no_version(model, ref))
        return served

    def _visible(self, caller: Caller, environment: str) -> list[Served]:
        return [
            served
            for served in self._pipeline.view.models(environment)
            if served.route.enabled and caller.sees_model(served.route.model)
        ]

    def describe(self, call: Call, model: str, ref: str | None) -> None:
        """Answer `GET /v2/models/{model}[/versions/{version}]`: its inputs and outputs."""
        pipeline = self._pipeline
        try:
            served, release, prepared = self._release(call, model, ref)
        except NotAnswered as refused:
            self._refuse(call, refused.problem, inference_fault)
            return
        numbers = _numbers(pipeline.view.releases.get(served.route.model.lower(), {}))
        names = {
            "name": served.route.model,
            "versions": numbers if ref is None else [release.version],
        }
        if not prepared.metadata:
            target = release.target
            platform = "" if isinstance(target, LocalTarget) else target.provider
            document = {**names, "platform": platform, "inputs": [], "outputs": []}
            call.respond(200, JSON, orjson.dumps(document))
            return

        def told(status: int, body: bytes) -> None:
            described = _described(body) if status == 200 else None
            if described is None:
                problem = _undescribed(status, local=prepared.local)
                self._respond(call, problem, inference_fault)
            else:
                call.respond(200, JSON, orjson.dumps({**names, **described}))

        patience = _LOAD_PATIENCE if prepared.local else _short(prepared.deadlines)
        pipeline.pool.send(prepared.origin, prepared.metadata, b"", Asked(told), patience)

    def ready(self, call: Call, model: str, ref: str | None) -> None:
        """Answer `GET /v2/models/{model}[/versions/{version}]/ready`; clients read the status."""
        try:
            served, _, prepared = self._release(call, model, ref)
        except NotAnswered as refused:
            self._refuse(call, refused.problem, inference_fault)
            return

        def answer(*, ready: bool) -> None:
            document = {"name": served.route.model, "ready": ready}
            call.respond(200 if ready else 503, JSON, orjson.dumps(document))

        if not served.route.enabled or prepared.fault:
            answer(ready=False)
        elif not prepared.readiness:
            answer(ready=True)
        else:
            self._pipeline.pool.send(
                prepared.origin,
                prepared.readiness,
                b"",
                Asked(lambda status, body: answer(ready=status == 200 and not _denies(body))),
                _short(prepared.deadlines),
            )

    def _release(
        self, call: Call, model: str, ref: str | None
    ) -> tuple[Served, Release, Prepared]:
        pipeline = self._pipeline
        headers = call.headers.first()
        caller = pipeline.identify(call, headers, Permission.TRAFFIC_LIST)
        environment = pipeline.environment_of(caller, headers)
        if caller is CONTROL and ref is not None:  # a check is of that version, routed or not
            checked = pipeline.view.release(model, ref)
            if checked is None:
                raise NotAnswered(_no_version(model, ref))
            return unrouted(checked[0], environment), *checked
        served = pipeline.find(caller, environment, model)
        found = pipeline.view.release(model, ref or served.route.stable.version)
        if found is None:
            raise NotAnswered(_no_version(model, ref or "stable"))
        return served, *found


def _short(deadlines: Deadlines) -> Deadlines:
    """Return a version's time-outs for a question about it, which nobody waits for very long."""
    return replace(deadlines, total=min(deadlines.total, _PATIENCE_WITH_OTHERS))


def _described(body: bytes) -> dict[str, Any] | None:
    """Return what a server says of a model's tensors; None: nothing that can be understood."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if type(document) is not dict:
        return None
    found = {key: document.get(key, []) for key in ("inputs", "outputs")}
    if not all(type(tensors) is list for tensors in found.values()):
        return None
    return {"platform": str(document.get("platform", ""))[:128], **found}


def _undescribed(status: int, *, local: bool) -> Problem:
    if local:
        return Problem(
            503,
            "the process that runs this model does not describe it now",
            Outcome.GATEWAY,
            "runner_unavailable",
            retry_after=1,
        )
    words = "does not know it" if status == 404 else "does not describe it now"
    return Problem(
        502, f"the server that runs this model {words}", Outcome.PROVIDER, "upstream_error"
    )


def _denies(body: bytes) -> bool:
    """Say whether an answer with a good status says that a model is not ready."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False  # only the status counts, and some servers say nothing else
    return type(document) is dict and document.get("ready") is False


def _no_version(model: str, ref: str) -> Problem:
    return Problem(
        404, f"{model} has no version {ref[:128]!r}", Outcome.CALLER, "model_not_found", "model"
    )


def _list(listed: Sequence[Served]) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [_entry(served, served.route.model, anthropic=False) for served in listed],
    }


def _entry(served: Served, name: str, *, anthropic: bool) -> dict[str, Any]:
    route = served.route
    seconds = route.created_at // SECOND
    if not anthropic:
        return {"id": name, "object": "model", "created": seconds, "owned_by": "headway"}
    created = datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": created,
        "lifecycle": _lifecycle(served),
    }


def _lifecycle(served: Served) -> str:
    stable = served.route.stable
    states = [arm.release.state for arm in served.arms if arm.release.version == stable.version]
    return states[0] if states and states[0] in {"deprecated", "retired"} else "active"


def _page(call: Call, listed: Sequence[Served]) -> dict[str, Any]:
    """Return one page as Anthropic's clients read them: `limit`, `after_id`, `before_id`."""
    query = dict(parse_qsl(call.query.decode("latin-1")))
    text = query.get("limit", "20")
    if (
        not (text.isascii() and text.isdigit())
        or len(text) > 4
        or not 1 <= int(text) <= _MOST_LISTED
    ):
        raise NotAnswered(
            Problem(
                400,
                f"`limit` must be a number from 1 to {_MOST_LISTED}",
                Outcome.CALLER,
                "invalid_value",
                "limit",
            )
        )
    limit = int(text)
    entries = [_entry(served, served.route.model, anthropic=True) for served in listed]
    if (state := query.get("lifecycle")) is not None:
        entries = [entry for entry in entries if entry["lifecycle"] == state]
    ids = [entry["id"] for entry in entries]
    if (after := query.get("after_id")) in ids:
        entries = entries[ids.index(after) + 1 :]
        page = entries[:limit]
    elif (before := query.get("before_id")) in ids:
        entries = entries[: ids.index(before)]
        page = entries[-limit:]
    else:
        page = entries[:limit]
    return {
        "data": page,
        "has_more": len(page) < len(entries),
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def inference_fault(problem: Problem) -> bytes:
    """Write a problem as Open Inference's clients read it."""
    return orjson.dumps({"error": problem.detail})


class Health:
    """`/readyz`: each part and its state. 200 while traffic can be answered.

    A balancer must not empty all hosts when the database fails over: what a gateway cannot answer
    without is a view, and nothing else.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        parts: Mapping[str, tuple[Origin, str]],
        database: Callable[[], Mapping[str, Any]],
        space: Callable[[], int],
    ) -> None:
        """`parts`: by name, whom to ask and at which path. `database`: what the reporter knows.

        `space`: the bytes that are free where the data are; may raise `OSError`.
        """
        self._pipeline = pipeline
        self._parts = parts
        self._database = database
        self._space = space

    def answer(self, call: Call) -> None:
        """Ask the other processes, and answer when all have."""
        waiting = set(self._parts)
        states: dict[str, str] = {}

        def told(name: str) -> Told:
            def heard(status: int, _body: bytes) -> None:
                waiting.discard(name)
                states[name] = "ok" if status == 200 else "down"
                if not waiting:
                    self._respond(call, states)

            return heard

        pipeline = self._pipeline
        for name, (origin, path) in self._parts.items():
            asked = question(path, pipeline.hop_secret)
            pipeline.pool.send(origin, asked, b"", Asked(told(name)), _PATIENCE)
        if not self._parts:
            self._respond(call, states)

    def _respond(self, call: Call, states: Mapping[str, str]) -> None:
        view = self._pipeline.view
        ready = view.generation >= 0
        now = self._pipeline.clock()
        database = self._database()
        disk = self._disk()
        degraded = not database["ok"] or any(
            state != "ok" for state in (disk["state"], *states.values())
        )
        routes = ("degraded" if view.problems else "ok") if ready else "starting"
        document = {
            "status": ("degraded" if degraded else "ready") if ready else "starting",
            "parts": {
                "routes": {
                    "state": routes,
                    "generation": view.generation,
                    "age_ms": max(0, now - view.at) if ready else None,
                    "problems": list(view.problems)[:20],
                },
                "database": {**database, "state": "ok" if database["ok"] else "down"},
                "disk": disk,
                **{name: {"state": state} for name, state in states.items()},
            },
        }
        call.respond(200 if ready else 503, JSON, orjson.dumps(document))

    def _disk(self) -> dict[str, Any]:
        try:
            free = self._space()
        except OSError:
            return {"state": "down", "free_bytes": None}
        return {"state": "ok" if free >= RESERVE else "low", "free_bytes": free}


def server_metadata() -> bytes:
    """Return the answer of `GET /v2`."""
    return orjson.dumps(
        {"name": "headway", "version": version_of("headway"), "extensions": EXTENSIONS}
    )


def _numbers(releases: Mapping[str, tuple[Release, Prepared]]) -> list[str]:
    """Return the versions of a model, lowest first."""
    return sorted((found[0].version for found in releases.values()), key=SemVer.parse)
