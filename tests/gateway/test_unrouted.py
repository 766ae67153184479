"""What ends before it is known which version it is for is counted all the same, once."""

import http.client
import json
import socket
import time

import pytest

from headway.auth.key import Secret
from headway.testing.gateway import key_entry, route_of

from .conftest import Traffic

CHAT = "/v1/chat/completions"
GOOD = json.dumps({"model": "bot", "messages": [{"role": "user", "content": "hi"}]}).encode()


def counted(traffic: Traffic) -> dict[str, int]:
    """Return what came to no version since the last time, and see that no version was blamed."""
    batch = traffic.gateway.taken()
    assert batch.measurements == ()
    return dict(batch.unrouted)


def send(
    traffic: Traffic, method: str, path: str, body: bytes | None = None, **fields: str
) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", traffic.gateway.port, timeout=10)
    fields = {"authorization": f"Bearer {traffic.gateway.key}"} | fields
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    connection.request(method, path, body, named)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize(
    ("method", "path", "body", "fields", "status", "outcome"),
    [
        ("POST", CHAT, b"{", {}, 400, "caller"),
        ("POST", CHAT, b"[" * 100 + b"]" * 100, {}, 400, "caller"),
        ("POST", CHAT, GOOD.replace(b"bot", b"bott"), {}, 404, "caller"),
        ("POST", CHAT, GOOD.replace(b"bot", b"bot@9.0.0"), {}, 404, "caller"),
        ("POST", CHAT, GOOD, {"content_encoding": "gzip"}, 415, "caller"),
        ("POST", CHAT, b" " * 2_000, {}, 413, "caller"),
        ("POST", "/v2/models/bot/infer", b"nonsense", {}, 400, "caller"),
        ("GET", CHAT, None, {}, 405, "caller"),
        ("GET", "/v1/nothing", None, {}, 404, "caller"),
        ("POST", CHAT, GOOD, {"authorization": "Bearer no"}, 401, "policy"),
        ("GET", "/v1/models", None, {"authorization": "Bearer no"}, 401, "policy"),
        ("GET", "/v2/models/bot", None, {"authorization": "Bearer no"}, 401, "policy"),
        ("GET", "/v2/models/bot/ready", None, {"authorization": "Bearer no"}, 401, "policy"),
        ("GET", "/v1/models/bott", None, {}, 404, "caller"),
    ],
)
def test_a_request_that_comes_to_no_version_is_counted_once(
    traffic: Traffic,
    method: str,
    path: str,
    body: bytes | None,
    fields: dict[str, str],
    status: int,
    outcome: str,
) -> None:
    traffic.gateway.gateway.pipeline.body_limit = 1_000
    assert send(traffic, method, path, body, **fields) == status
    assert counted(traffic) == {outcome: 1}


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"GET {CHAT}", b"405"),
        ("GET /v1/nothing", b"404"),
        ("GET /v1/models/bott", b"404"),
        ("GET /v2/models/bott", b"404"),
        ("PUT /v2/health/live", b"405"),
        ("PUT /livez", b"405"),
        (f"POST {CHAT}%00", b"400"),
        ("GET /api/%00", b"400"),
    ],
)
def test_a_refusal_that_no_route_gave_has_a_name_of_its_own(
    traffic: Traffic, line: str, status: bytes
) -> None:
    names = []
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", traffic.gateway.port), timeout=10) as caller:
            key = traffic.gateway.key
            head = f"{line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
            caller.sendall(f"{head}Connection: close\r\n\r\n".encode())
            answer = caller.makefile("rb").read()
        head_, _, body = answer.partition(b"\r\n\r\n")
        assert head_[9:12] == status
        fields = dict(each.split(b": ", 1) for each in head_.split(b"\r\n")[1:])
        assert fields[b"x-request-id"] == fields[b"request-id"]
        if fields[b"content-type"] == b"application/problem+json":
            assert json.loads(body)["request_id"].encode() == fields[b"x-request-id"]
        names.append(fields[b"x-request-id"])
    assert len(set(names)) == 2
    assert all(name.startswith(b"req_") for name in names)


def test_a_key_that_may_not_call_is_counted_as_our_refusal(traffic: Traffic) -> None:
    viewer = Secret.generate().text
    traffic.serve(
        route_of("bot", [("stable", "1.0.0", 10_000)]),
        keys=[key_entry(viewer, traffic.gateway.digest, role="viewer")],
    )
    assert send(traffic, "POST", CHAT, GOOD, authorization=f"Bearer {viewer}") == 403
    assert counted(traffic) == {"policy": 1}


def test_guesses_are_counted_also_when_they_are_no_longer_looked_at(traffic: Traffic) -> None:
    statuses = [send(traffic, "POST", CHAT, GOOD, authorization="Bearer no") for _ in range(25)]
    assert statuses.count(429) == 5
    assert counted(traffic) == {"policy": 25}


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"GET /\r\n\r\n"])
def test_what_is_no_request_at_all_is_counted(traffic: Traffic, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", traffic.gateway.port), timeout=10) as caller:
        caller.sendall(head)
        assert caller.recv(65_536)[9:12] in {b"400", b"505"}
    assert counted(traffic) == {"caller": 1}


def test_a_caller_that_leaves_within_its_body_is_counted_as_gone(traffic: Traffic) -> None:
    with socket.create_connection(("127.0.0.1", traffic.gateway.port), timeout=10) as caller:
        caller.sendall(
            f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {traffic.gateway.key}\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
    deadline = time.monotonic() + 5
    while not (found := counted(traffic)) and time.monotonic() < deadline:
        pass
    assert found == {"gone": 1}


def test_what_came_to_a_version_is_counted_there_alone(traffic: Traffic) -> None:
    assert send(traffic, "POST", CHAT, GOOD) == 200
    assert send(traffic, "GET", "/v1/models") == 200
    batch = traffic.gateway.taken()
    assert dict(batch.unrouted) == {}
    assert sum(sum(one.outcomes.values()) for one in batch.measurements) == 1
