"""What is not traffic goes to control and comes back, in constant memory and without pretence."""

import asyncio
import hashlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest

from headway.testing.gateway import HOP_SECRET, RunningGateway, document, key_entry
from headway.web.schemas import Problem
from headway.wire.call import Call
from headway.wire.server import Server, serve

from .conftest import prepare


class Control:
    """A control process as far as a gateway sees it: an application on a unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: list[dict[str, str]] = []
        self.answer: Callable[[Call, bytes], None] = self.echo
        self.hashed = hashlib.sha256()
        self.size = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._server: Server

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(self.path))
        self._server = self._loop.run_until_complete(serve(sock, self))
        self._ready.set()
        self._loop.run_forever()
        self._loop.close()

    def on_head(self, call: Call) -> None:
        self.calls.append(
            {"method": call.method, "target": call.target.decode()}
            | {name.decode(): value.decode() for name, value in call.headers}
        )
        if call.path == "/upload":
            call.stream(Upload(self, call))
        elif call.path == "/early":
            call.respond(413, [(b"content-type", b"text/plain")], b"too large")
        else:
            call.collect(1 << 20, self.answer)

    def echo(self, call: Call, body: bytes) -> None:
        fields = [
            (b"content-type", b"text/plain"),
            (b"set-cookie", b"a=1"),
            (b"set-cookie", b"b=2"),
            (b"connection", b"x-secret"),
            (b"x-secret", b"hidden"),
            (b"etag", b'"7"'),
        ]
        call.respond(201, fields, body)


class Upload:
    def __init__(self, control: Control, call: Call) -> None:
        self._control = control
        self._call = call

    def data(self, data: bytes) -> None:
        self._control.hashed.update(data)
        self._control.size += len(data)

    def end(self) -> None:
        self._call.respond(200, [], self._control.hashed.hexdigest().encode())


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with Control(tmp_path / "control.sock") as running:
        yield running


@pytest.fixture
def gateway(control: Control) -> Iterator[RunningGateway]:
    with RunningGateway(prepare=prepare(), control=str(control.path)) as running:
        running.adopt(
            document(keys=[key_entry(running.key, running.digest)], versions={}, routes=[])
        )
        yield running
        assert running.faults == []


def send(
    gateway: RunningGateway,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
    **headers: str,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(connection):
        connection.request(method, path, body, fields)
        with connection.getresponse() as answer:
            return answer.status, answer.headers, answer.read()


def test_request_and_answer_pass_both_ways(control: Control, gateway: RunningGateway) -> None:
    status, fields, body = send(
        gateway, "PUT", "/api/v1/models?a=%20b", b"hello", authorization="Bearer mine"
    )
    assert (status, body) == (201, b"hello")
    assert fields.get_all("set-cookie") == ["a=1", "b=2"]
    assert fields["etag"] == '"7"'
    assert fields["x-secret"] is None
    (call,) = control.calls
    assert (call["method"], call["target"]) == ("PUT", "/api/v1/models?a=%20b")
    assert call["authorization"] == "Bearer mine"
    assert call["headway-hop"] == HOP_SECRET
    assert call["headway-client-addr"] == "127.0.0.1"
    assert call["x-request-id"].startswith("req_")
    assert fields["x-request-id"] == call["x-request-id"]


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2/models/bot", "/v2/health/live"])
def test_below_v2_errors_are_as_open_inference_writes_them(
    gateway: RunningGateway, path: str
) -> None:
    status, _, body = send(gateway, "DELETE", path)
    assert status == 405
    assert list(json.loads(body)) == ["error"]


@pytest.mark.parametrize(
    ("path", "shape"),
    [("/v1/chat/completions", "error"), ("/v2/models/bot/infer", "error"), ("/v2other", "type")],
)
def test_a_body_that_breaks_is_told_as_callers_of_the_path_read_it(
    gateway: RunningGateway, path: str, shape: str
) -> None:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gateway.key}\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as sock:
        sock.sendall(f"{head}expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"  # the call is known by now
        sock.sendall(b"zz\r\n")
        with http.client.HTTPResponse(sock) as answer:
            answer.begin()
            told = json.loads(answer.read())

    assert answer.status == 400
    assert shape in told
    if shape == "type":
        assert told["type"] == "/docs/errors/unreadable"
        Problem.model_validate(told)


def test_what_the_engine_refuses_by_itself_has_a_page_in_the_docs(gateway: RunningGateway) -> None:
    status, fields, body = send(gateway, "GET", "/api/v1/models", expect="a miracle")
    told = Problem.model_validate_json(body)
    assert (status, told.status) == (417, 417)
    assert told.type == "/docs/errors/expectation"
    assert fields["content-type"] == "application/problem+json"


def test_nobody_pretends_to_be_a_gateway_or_somebody_else(
    control: Control, gateway: RunningGateway
) -> None:
    send(
        gateway,
        "GET",
        "/",
        headway_hop="forged",
        headway_client_addr="9.9.9.9",
        headway_check="1.0.0",
        x_forwarded_for="9.9.9.9",
        x_forwarded_host="evil",
        forwarded="for=9.9.9.9",
        x_real_ip="9.9.9.9",
        x_request_id="mine-7",
    )
    (call,) = control.calls
    assert call["headway-hop"] == HOP_SECRET
    assert call["headway-client-addr"] == "127.0.0.1"
    gone = {"x-forwarded-for", "x-forwarded-host", "forwarded", "x-real-ip", "headway-check"}
    assert not gone & call.keys()
    assert call["x-request-id"] == "mine-7"


def test_id_that_could_not_be_echoed_is_replaced(
    control: Control, gateway: RunningGateway
) -> None:
    send(gateway, "GET", "/", x_request_id="a b; drop")
    assert control.calls[0]["x-request-id"].startswith("req_")


def test_connection_is_kept_and_used_again(control: Control, gateway: RunningGateway) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    for method in ("GET", "HEAD", "POST", "DELETE"):
        connection.request(method, "/x", b"body" if method == "POST" else None)
        answer = connection.getresponse()
        assert answer.read() == (b"body" if method == "POST" else b"")
        assert answer.status == 201
    connection.close()
    assert len(control.calls) == 4


@pytest.mark.parametrize("chunked", [False, True])
def test_large_upload_arrives_whole(
    control: Control, gateway: RunningGateway, *, chunked: bool
) -> None:
    piece = bytes(range(256)) * 256
    body = iter([piece] * 320) if chunked else piece * 320
    status, _, answer = send(gateway, "POST", "/upload", body)
    assert status == 200
    assert answer.decode() == hashlib.sha256(piece * 320).hexdigest()
    assert control.size == 320 * 65_536


def test_slow_reader_of_a_large_answer_holds_control_back(
    control: Control, gateway: RunningGateway
) -> None:
    blob = b"x" * (64 << 20)
    control.answer = lambda call, _: call.respond(200, [], blob)
    with socket.create_connection(("127.0.0.1", gateway.port)) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        sock.recv(100)
        held = False
        for _ in range(20_000):
            held = gateway.on_loop(
                lambda: any(
                    connection._sending is not None and connection._sending._paused
                    for connection in gateway._pool._connections
                )
            )
            if held:
                break
        waiting = gateway.on_loop(
            lambda: sum(c.transport.get_write_buffer_size() for c in gateway.server.connections)
        )
        size = 0
        while data := sock.recv(1 << 20):
            size += len(data)
    assert held
    assert waiting < 4 << 20
    assert size > len(blob) - 100


def test_events_arrive_one_by_one(control: Control, gateway: RunningGateway) -> None:
    waiting: list[Call] = []

    def begin(call: Call, _body: bytes) -> None:
        waiting.append(call)
        call.start(200, [(b"content-type", b"text/event-stream")])

    control.answer = begin
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("GET", "/events")
    answer = connection.getresponse()
    for n in range(3):
        text = f"data: {n}\n\n".encode()
        control._loop.call_soon_threadsafe(waiting[0].write, text)
        assert answer.read1(100) == text
    control._loop.call_soon_threadsafe(waiting[0].finish)
    assert answer.read() == b""
    connection.close()


def test_answer_that_breaks_is_cut_for_the_caller_too(
    control: Control, gateway: RunningGateway
) -> None:
    def begin(call: Call, _body: bytes) -> None:
        call.start(200, [])
        call.write(b"half")
        call.abort()

    control.answer = begin
    with pytest.raises(http.client.IncompleteRead):
        send(gateway, "GET", "/half")


def test_answer_before_the_body_is_whole_reaches_the_caller(
    control: Control, gateway: RunningGateway
) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as sock:
        sock.sendall(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\nsome")
        answer = b""
        while data := sock.recv(4096):
            answer += data
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"too large")
    assert control.calls


def test_control_that_is_gone_is_a_503_and_traffic_paths_answer(tmp_path: Path) -> None:
    with RunningGateway(prepare=prepare(), control=str(tmp_path / "none.sock")) as gateway:
        status, fields, body = send(gateway, "GET", "/api/v1/models")
        assert (status, fields["retry-after"]) == (503, "1")
        assert fields["content-type"] == "application/problem+json"
        assert Problem.model_validate_json(body).request_id == fields["x-request-id"]
        status, _, _ = send(gateway, "POST", "/api/v1/models", b"x" * 100_000)
        assert status == 503
        assert send(gateway, "GET", "/livez")[0] == 200


def test_a_path_that_is_refused_before_control_sees_it_is_a_problem_of_the_api_too(
    control: Control, gateway: RunningGateway
) -> None:
    status, fields, body = send(gateway, "GET", "/api/v1/models/%00")

    assert (status, fields["content-type"]) == (400, "application/problem+json")
    assert Problem.model_validate_json(body).type == "/docs/errors/unreadable"
    assert not control.calls


def test_errors_of_the_engine_have_the_shape_of_their_path(gateway: RunningGateway) -> None:
    def refused(path: str) -> tuple[str, Any]:
        with socket.create_connection(("127.0.0.1", gateway.port)) as sock:
            head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {1 << 40}\r\n"
            sock.sendall(head.encode() + f"authorization: Bearer {gateway.key}\r\n\r\n".encode())
            answer = b""
            while data := sock.recv(4096):
                answer += data
        start, _, body = answer.partition(b"\r\n\r\n")
        assert start.startswith(b"HTTP/1.1 413 ")
        return start.decode().lower(), json.loads(body)

    _, chat = refused("/v1/chat/completions")
    assert chat["error"]["type"] == "invalid_request_error"
    _, inference = refused("/v2/models/m/infer")
    assert list(inference) == ["error"]
