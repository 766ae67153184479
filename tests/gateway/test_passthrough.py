"""A provider's other paths, used through a gateway by OpenAI's own client."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

import anthropic
import openai
import pytest

from headway.auth.key import Secret
from headway.routing.route import Ages, Epoch
from headway.testing.gateway import key_entry, route_of
from headway.testing.provider import Ending, Framing, Received, Reply

from .conftest import Traffic

PASSES = ["audio/speech", "audio/transcriptions", "batches", "files", "images/generations"]
FILE = {
    "id": "file-7",
    "object": "file",
    "bytes": 3,
    "created_at": 1,
    "filename": "a.jsonl",
    "purpose": "batch",
    "status": "processed",
}


EPOCH = Epoch(
    deployment="dep_1",
    step=1,
    alpha=0.01,
    first_gateway=1,
    ages={"errors": Ages(5_000, 10_000)},
)


class Passing:
    """A model `bot` whose version passes paths, and one `shut` whose version does not."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.provider = traffic.provider
        self.serve()

    def serve(self, keys: list[Any] | None = None, **more: Any) -> None:  # noqa: ANN401 - whatever the test says
        self.traffic.serve(
            route_of(
                "bot", [("stable", "1.0.0", 5_000), ("candidate", "1.1.0", 5_000)], epoch=EPOCH
            ),
            route_of("shut", [("stable", "1.0.0", 10_000)], revision=2),
            versions={
                ("bot", "1.0.0"): self.traffic.target(passes=PASSES, **more),
                ("bot", "1.1.0"): self.traffic.target(passes=["files"], model="newer"),
                ("shut", "1.0.0"): self.traffic.target(),
            },
            keys=keys,
        )

    @property
    def client(self) -> openai.OpenAI:
        return self.traffic.client().with_options(default_headers={"Headway-Model": "bot"})

    def answers(self, document: object, **more: Any) -> None:  # noqa: ANN401 - whatever the test says
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.provider.script = lambda _: Reply(body=body, **more)

    @property
    def received(self) -> Received:
        (request,) = self.provider.requests
        return request

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - whatever the test says
        **fields: str,
    ) -> tuple[int, dict[str, str], bytes]:
        gateway = self.traffic.gateway
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        headers = {"authorization": f"Bearer {gateway.key}", "headway-model": "bot"}
        headers |= {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, path, body, {k: v for k, v in headers.items() if v})
        with closing(connection), connection.getresponse() as answer:
            said = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, said


@pytest.fixture
def passing(traffic: Traffic) -> Passing:
    return Passing(traffic)


def test_a_file_of_megabytes_is_uploaded(passing: Passing) -> None:
    passing.answers(FILE)
    content = b"line of a file\n" * 400_000
    found = passing.client.files.create(file=("a.jsonl", content), purpose="batch")
    assert found.id == "file-7"
    received = passing.received
    assert (received.method, received.path) == ("POST", "/v1/files")
    assert received.headers["authorization"] == "Bearer sk-canary-test"
    assert received.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert content in received.body
    assert not [name for name in received.headers if name.startswith(("headway-", "x-stainless"))]


def test_what_came_is_measured_for_the_stable_version_and_is_never_evidence(
    passing: Passing,
) -> None:
    passing.answers(FILE)
    raw = passing.client.files.with_raw_response.create(file=("a", b"abc"), purpose="batch")
    assert raw.headers["headway-version"] == "1.0.0"
    assert raw.headers["headway-route-revision"] == "1"
    stamp = passing.traffic.gateway.stamper.read(raw.headers["x-request-id"])
    assert stamp is not None
    batch = passing.traffic.gateway.taken()
    (measurement,) = batch.measurements
    assert (measurement.version, measurement.outcomes) == ("1.0.0", {"ok": 1})
    assert (batch.counts, batch.firsts) == ({}, {})
    # Such counts there would be of a request that the route draws.
    passing.provider.script = lambda _: Reply()
    passing.traffic.client().chat.completions.create(
        model="bot", messages=[{"role": "user", "content": "?"}]
    )
    assert passing.traffic.gateway.taken().counts != {}


def test_lists_pages_and_deletions_pass_with_their_query(passing: Passing) -> None:
    passing.answers({"object": "list", "data": [], "has_more": False})
    list(passing.client.batches.list(limit=7, after="batch/1 ä"))
    assert (passing.received.method, passing.received.path) == (
        "GET", "/v1/batches?after=batch%2F1+%C3%A4&limit=7",
    )  # fmt: skip
    passing.answers({"id": "file-7", "object": "file", "deleted": True})
    assert passing.client.files.delete("file-7").deleted
    request = passing.provider.requests[-1]
    assert (request.method, request.path) == ("DELETE", "/v1/files/file-7")


def test_an_image_is_made_by_the_model_that_the_body_names(passing: Passing) -> None:
    passing.answers({"created": 1, "data": [{"b64_json": "aGk="}]})
    found = passing.traffic.client().images.generate(model="bot", prompt="a cat", n=1)
    assert found.data is not None
    assert found.data[0].b64_json == "aGk="
    assert passing.received.json == {"model": "gpt-upstream", "prompt": "a cat", "n": 1}
    costs = passing.traffic.gateway.taken().costs
    assert costs == {("bot", "production", "1.0.0", "unpriced"): 1}


def test_only_the_models_name_changes_in_a_json_body(passing: Passing) -> None:
    passing.answers({})
    body = b'{ "n": 12345678901234567890123,\t"model" : "bot", "x": 1.10 }'
    status, _, _ = passing.send(
        "POST", "/v1/images/generations", body, content_type="application/json; charset=utf-8"
    )
    assert status == 200
    assert passing.received.body == body.replace(b'"bot"', b'"gpt-upstream"')
    assert passing.received.headers["content-length"] == str(len(passing.received.body))


def test_speech_comes_back_as_bytes(passing: Passing) -> None:
    sound = bytes(range(256)) * 20_000
    passing.answers(
        sound,
        content_type="audio/mpeg",
        headers={
            "content-disposition": "attachment; filename=a.mp3",
            "set-cookie": "a=b",
            "server": "theirs",
            "openai-organization": "org-ours",
            "x-request-id": "theirs-1",
        },
    )
    raw = passing.traffic.client().audio.speech.with_raw_response.create(
        model="bot", voice="alloy", input="hello"
    )
    assert raw.content == sound
    assert raw.headers["content-type"] == "audio/mpeg"
    assert raw.headers["content-disposition"] == "attachment; filename=a.mp3"
    assert raw.headers["content-length"] == str(len(sound))
    assert raw.headers["headway-upstream-request-id"] == "theirs-1"
    assert not {"set-cookie", "server", "openai-organization"} & raw.headers.keys()


def test_a_stream_passes_as_it_comes(passing: Passing) -> None:
    passing.answers(
        b"data: 1\n\ndata: 2\n\n", content_type="text/event-stream", framing=Framing.LENGTH
    )
    status, fields, said = passing.send(
        "POST", "/v1/audio/speech", b'{"model": "bot"}', content_type="application/json"
    )
    assert (status, said) == (200, b"data: 1\n\ndata: 2\n\n")
    assert fields["content-type"] == "text/event-stream"


def test_a_version_may_be_named(passing: Passing) -> None:
    passing.answers({"object": "list", "data": []})
    status, fields, _ = passing.send("GET", "/v1/files", headway_model="bot@1.1.0")
    assert (status, fields["headway-version"]) == (200, "1.1.0")
    status, fields, _ = passing.send("GET", "/v1/files?model=bot%401.1.0&x=1", headway_model="")
    assert (status, fields["headway-version"]) == (200, "1.1.0")
    assert passing.provider.requests[-1].path == "/v1/files?model=newer&x=1"
    status, kept, _ = passing.send("GET", "/v1/files", headway_pin=fields["headway-pin"])
    assert (status, kept["headway-version"]) == (200, "1.1.0")


@pytest.mark.parametrize(
    ("path", "model", "status", "words"),
    [
        ("/v1/files", "shut", 404, "has 'files' in `passes`"),
        ("/v1/images/edits", "bot", 404, "has 'images' in `passes`"),
        ("/v1/filesystem", "bot", 404, "has 'filesystem' in `passes`"),
        ("/v1/moderations", "bot", 404, "has 'moderations' in `passes`"),
        ("/v1/batches", "bot@1.1.0", 404, "has 'batches' in `passes`"),
        ("/v1/files", "nobody", 404, "there is no model"),
        ("/v1/files", "bot@9.0.0", 404, "has no version"),
        ("/v1/files", "", 400, "Headway-Model"),
    ],
)
def test_what_is_not_allowed_is_refused_in_words(
    passing: Passing, path: str, model: str, status: int, words: str
) -> None:
    found, _, said = passing.send("GET", path, headway_model=model)
    assert found == status
    assert words in json.loads(said)["error"]["message"]
    assert passing.provider.requests == []


def test_claudes_client_reads_refusals_too(passing: Passing) -> None:
    gateway = passing.traffic.gateway
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client,
        pytest.raises(anthropic.NotFoundError, match="does not pass /v1/files through"),
    ):
        client.beta.files.list(extra_headers={"Headway-Model": "shut"})


def form_of(received: Received) -> dict[str, bytes]:
    """Read a form as a provider does: by the standard library, not by what is tested."""
    head = f"Content-Type: {received.headers['content-type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + received.body, policy=HTTP).iter_parts()
    form: dict[str, bytes] = {}
    for part in parts:
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        form[str(part.get_param("name", header="content-disposition"))] = content
    return form


def test_a_sound_is_transcribed_by_the_model_that_the_form_names(passing: Passing) -> None:
    passing.answers({"text": "good evening"})
    sound = bytes(range(256)) * 4_000
    found = passing.traffic.client().audio.transcriptions.create(
        model="bot", file=("a.wav", sound), language="en"
    )
    assert found.text == "good evening"
    assert passing.received.headers["content-length"] == str(len(passing.received.body))
    form = form_of(passing.received)
    assert form == {"model": b"gpt-upstream", "language": b"en", "file": sound}
    assert passing.traffic.gateway.outcomes() == {"1.0.0": {"ok": 1}}


def test_a_form_may_name_a_version_and_a_header_another_model(passing: Passing) -> None:
    passing.answers({"text": "?"})
    client = passing.traffic.client()
    client.audio.transcriptions.create(model="bot@1.0.0", file=("a.wav", b"abc"))
    headers = {"Headway-Model": "bot"}
    client.audio.transcriptions.create(
        model="gpt-upstream", file=("a.wav", b"abc"), extra_headers=headers
    )
    forms = [form_of(request) for request in passing.provider.requests]
    assert forms == [{"model": b"gpt-upstream", "file": b"abc"}] * 2


FORM = "multipart/form-data; boundary=b0"
FILE_PART = b'--b0\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n'
MODEL_PART = b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n'


@pytest.mark.parametrize("chunked", ["whole", "chunks"])
def test_a_form_may_name_its_model_behind_its_files(passing: Passing, chunked: str) -> None:
    """As `curl -F file=@a.wav -F model=bot` writes it."""
    passing.answers({"text": "?"})
    body = FILE_PART % (b"x" * 300_000) + MODEL_PART % b"bot" + b"--b0--\r\n"
    sent = body if chunked == "whole" else iter([body[:200_000], body[200_000:]])
    status, _, _ = passing.send(
        "POST", "/v1/audio/transcriptions", sent, content_type=FORM, headway_model=""
    )
    assert status == 200
    assert form_of(passing.received) == {"file": b"x" * 300_000, "model": b"gpt-upstream"}


def test_a_form_in_small_chunks_is_passed_to_its_last(passing: Passing) -> None:
    passing.answers({"text": "?"})
    body = MODEL_PART % b"bot" + FILE_PART % b"\r\n\r\n-- x" + b"--b0--\r\n"
    pieces = iter([body[i : i + 3] for i in range(0, len(body), 3)])
    gateway = passing.traffic.gateway
    head_ = (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {gateway.key}\r\n"
        f"Content-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port)) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        caller.sendall(head_.encode())
        for piece in pieces:
            caller.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            for _ in range(3):  # each is read alone
                gateway.on_loop(lambda: None)
        caller.sendall(b"0\r\n\r\n")
        caller.settimeout(10)
        assert caller.recv(65_536).startswith(b"HTTP/1.1 200")
    assert form_of(passing.received) == {"model": b"gpt-upstream", "file": b"\r\n\r\n-- x"}


@pytest.mark.parametrize(
    ("body", "fields", "status", "code"),
    [
        (FILE_PART % b"x", {"headway_model": ""}, 400, "model_missing"),
        (MODEL_PART % b"", {"headway_model": ""}, 400, "model_missing"),
        (MODEL_PART % b"nobody", {"headway_model": ""}, 404, "model_not_found"),
        (MODEL_PART % b"shut", {"headway_model": ""}, 404, "path_not_passed"),
        (MODEL_PART % b"a" + MODEL_PART % b"b", {}, 400, "invalid_value"),
        (FILE_PART % (b"x" * 2_000_000) + MODEL_PART % b"bot", {}, 400, "wrong_order"),
    ],
)
def test_odd_forms_are_refused_in_words(
    passing: Passing, body: bytes, fields: dict[str, str], status: int, code: str
) -> None:
    passing.answers({})
    found, _, said = passing.send(
        "POST", "/v1/audio/transcriptions", body + b"--b0--\r\n", content_type=FORM, **fields
    )
    assert (found, json.loads(said)["error"]["code"]) == (status, code)


def test_a_large_form_that_names_no_model_is_not_held_for_ever(passing: Passing) -> None:
    gateway = passing.traffic.gateway
    gateway.on_loop(lambda: setattr(gateway.gateway.pipeline, "body_limit", 100_000))
    body = FILE_PART % (b"x" * 400_000) + MODEL_PART % b"bot" + b"--b0--\r\n"
    status, _, said = passing.send(
        "POST", "/v1/audio/transcriptions", body, content_type=FORM, headway_model=""
    )
    assert (status, json.loads(said)["error"]["code"]) == (400, "model_missing")
    assert passing.provider.requests == []


def test_breaker_that_passed_requests_opened_spares_the_provider_all_others(
    passing: Passing,
) -> None:
    passing.traffic.serve(
        route_of("bot", [("stable", "1.0.0", 10_000)]),
        versions={("bot", "1.0.0"): passing.traffic.target(passes=PASSES)},
    )
    pipeline = passing.traffic.gateway.gateway.pipeline
    now = passing.traffic.gateway.on_loop(pipeline.monotonic)
    pipeline.monotonic = lambda: now
    passing.provider.script = lambda _: Reply(status=500, error="the engine fell over")
    for _ in range(5):
        assert passing.send("GET", "/v1/files")[0] == 500
    status, fields, said = passing.send("GET", "/v1/files")
    assert (status, fields["retry-after"]) == (503, "1")
    assert json.loads(said)["error"]["code"] == "circuit_open"
    with pytest.raises(openai.InternalServerError, match="failed again and again"):
        passing.traffic.client().chat.completions.create(
            model="bot", messages=[{"role": "user", "content": "?"}]
        )
    assert len(passing.provider.requests) == 5
    assert passing.traffic.gateway.outcomes() == {"1.0.0": {"provider": 7}}

    passing.answers({})
    pipeline.monotonic = lambda: now + 2
    assert [passing.send("GET", "/v1/files")[0] for _ in range(2)] == [200, 200]


def test_files_that_are_not_there_open_no_breaker(passing: Passing) -> None:
    passing.traffic.serve(versions={("bot", "1.0.0"): passing.traffic.target(passes=PASSES)})
    passing.provider.script = lambda _: Reply(status=404, error="No such File object")
    assert [passing.send("GET", "/v1/files/x")[0] for _ in range(8)] == [404] * 8


RESPONSE = {
    "id": "resp_7", "object": "response", "created_at": 1, "model": "gpt-upstream",
    "status": "completed", "output": [], "parallel_tool_calls": True, "tool_choice": "auto",
    "tools": [],
}  # fmt: skip


def test_a_response_that_the_provider_keeps_is_had_from_the_version_that_made_it(
    passing: Passing,
) -> None:
    target = passing.traffic.target(passes=["responses"], apis=["responses"])
    newer = passing.traffic.target(passes=["responses"], apis=["responses"], model="newer")
    passing.traffic.serve(
        route_of("bot", [("stable", "1.0.0", 10_000)]),
        versions={("bot", "1.0.0"): target, ("bot", "1.1.0"): newer},
    )
    passing.answers(RESPONSE)
    client = passing.traffic.client()
    made = client.responses.with_raw_response.create(model="bot@1.1.0", input="?")
    version = made.headers["headway-version"]
    by = {"Headway-Model": f"bot@{version}"}
    id_ = made.parse().id
    kept = client.responses.with_raw_response.retrieve(id_, extra_headers=by)
    assert (kept.parse().id, kept.headers["headway-version"]) == (id_, "1.1.0")
    passing.traffic.gateway.taken()
    client.responses.cancel(id_, extra_headers=by)
    assert passing.traffic.gateway.taken().costs == {}  # nothing was made, nothing is unpriced
    client.responses.delete(id_, extra_headers=by)
    passing.answers({"object": "list", "data": [], "has_more": False})
    assert client.responses.input_items.list(id_, extra_headers=by).data == []
    assert [(each.method, each.path) for each in passing.provider.requests[1:]] == [
        ("GET", "/v1/responses/resp_7"),
        ("POST", "/v1/responses/resp_7/cancel"),
        ("DELETE", "/v1/responses/resp_7"),
        ("GET", "/v1/responses/resp_7/input_items"),
    ]
    # What follows on it is an ordinary request, which the provider understands.
    passing.answers(RESPONSE)
    client.responses.create(model=f"bot@{version}", input="And?", previous_response_id=id_)
    sent = passing.provider.requests[-1].json
    assert (sent["model"], sent["previous_response_id"]) == ("newer", "resp_7")


def test_whoever_asks_for_a_kept_response_is_told_how(passing: Passing) -> None:
    client = passing.traffic.client()
    with pytest.raises(openai.NotFoundError, match="has 'responses' in `passes`"):
        client.responses.retrieve("resp_7")
    passing.traffic.serve(
        versions={("bot", "1.0.0"): passing.traffic.target(passes=["responses"])}
    )
    with pytest.raises(openai.BadRequestError, match="Headway-Model") as raised:
        client.responses.retrieve("resp_7")
    assert raised.value.code == "model_missing"
    passing.answers({})
    with pytest.raises(openai.NotFoundError, match="no model 'nobody'"):
        client.responses.retrieve("resp_7", extra_headers={"Headway-Model": "nobody"})
    assert passing.provider.requests == []


def test_batches_of_claudes_messages_pass(passing: Passing) -> None:
    target = passing.traffic.target(
        provider="anthropic", base_url=passing.provider.root, passes=["messages/batches"]
    )
    passing.traffic.serve(versions={("bot", "1.0.0"): target})
    passing.answers({"data": [], "has_more": False})
    gateway = passing.traffic.gateway
    with anthropic.Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client:
        found = client.messages.batches.list(extra_headers={"Headway-Model": "bot"})
    assert found.data == []
    assert passing.received.path.startswith("/v1/messages/batches")


def test_claudes_files_pass(passing: Passing) -> None:
    target = passing.traffic.target(
        provider="anthropic", base_url=passing.provider.root, passes=["files"]
    )
    passing.traffic.serve(versions={("bot", "1.0.0"): target})
    passing.answers({"data": [], "has_more": False})
    gateway = passing.traffic.gateway
    with anthropic.Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client:
        headers = {"Headway-Model": "bot", "anthropic-beta": "files-api-2026-01-01"}
        assert client.beta.files.list(extra_headers=headers).data == []
    received = passing.received
    assert received.path.startswith("/v1/files")
    assert received.headers["x-api-key"] == "sk-canary-test"
    assert "authorization" not in received.headers
    assert received.headers["anthropic-beta"] == "files-api-2026-01-01"
    assert received.headers["anthropic-version"] == "2026-10-21"


def test_a_key_is_needed_that_may_call_the_model_and_the_path(passing: Passing) -> None:
    gateway = passing.traffic.gateway
    assert passing.send("GET", "/v1/files", authorization="Bearer no")[0] == 401
    secret = Secret.generate().text
    passing.serve(keys=[key_entry(secret, gateway.digest, role="caller", models=["shut"])])
    status, _, _ = passing.send("GET", "/v1/files", authorization=f"Bearer {secret}")
    assert status == 404
    passing.serve(keys=[key_entry(secret, gateway.digest, role="viewer")])
    status, _, _ = passing.send("GET", "/v1/files", authorization=f"Bearer {secret}")
    assert status == 403
    assert passing.provider.requests == []


@pytest.mark.parametrize(
    ("reply", "status", "outcome"),
    [
        (Reply(status=400, error="no such purpose"), 400, "refused"),
        (Reply(status=404, error="No such File object: file-7"), 404, "refused"),
        (Reply(status=401, error="wrong key sk-canary-test"), 502, "provider"),
        (Reply(status=403, error="not for you"), 502, "provider"),
        (Reply(status=400, error="sk-canary-test is odd"), 400, "refused"),
        (
            Reply(status=400, body=b'{"error": {"message": "sk\\u002dcanary-test is odd"}}'),
            400,
            "refused",
        ),
        (Reply(status=429, error="slow down", headers={"retry-after": "7"}), 429, "provider"),
        (Reply(status=500, body=b"<html>secret.internal</html>"), 500, "provider"),
        (Reply(status=400, body=b"x" * 300_000), 400, "refused"),
        (Reply(status=302, headers={"location": "http://x/"}, body=b""), 502, "provider"),
        (Reply(coding="gzip", body=b"{}"), 502, "provider"),
        (Reply(drop=True), 502, "provider"),
        (Reply(delay_s=3), 504, "provider"),
    ],
)
def test_what_goes_wrong_is_told_as_what_it_is(
    passing: Passing, reply: Reply, status: int, outcome: str
) -> None:
    passing.provider.script = lambda _: reply
    with pytest.raises(openai.APIStatusError) as raised:
        passing.client.files.list()
    assert raised.value.status_code == status
    text = raised.value.response.text
    assert "canary" not in text
    assert "secret.internal" not in text
    assert "location" not in raised.value.response.headers
    if status == 404:
        assert "No such File object" in str(raised.value)
    if status == 429:
        assert raised.value.response.headers["retry-after"] == "7"
    assert passing.traffic.gateway.outcomes() == {"1.0.0": {outcome: 1}}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"x" * 100_000, end=Ending.CUT),
        Reply(body=b"x" * 100_000, framing=Framing.CLOSE),
        Reply(body=b"x" * 100_000, end=Ending.STALL),
    ],
)
def test_an_answer_that_breaks_off_never_looks_whole(passing: Passing, reply: Reply) -> None:
    passing.provider.script = lambda _: reply
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        passing.send("GET", "/v1/files/file-7/content")
    assert passing.traffic.gateway.outcomes() == {"1.0.0": {"provider": 1}}


def test_a_body_in_chunks_stays_one(passing: Passing) -> None:
    passing.answers(FILE)
    status, _, _ = passing.send(
        "POST", "/v1/files", iter([b"abc", b"defg"]), content_type="text/plain"
    )
    assert status == 200
    assert passing.received.headers["transfer-encoding"] == "chunked"
    assert passing.received.body == b"abcdefg"


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        ({"content_type": "application/json"}, b"{", 400),
        ({"content_type": "application/json"}, b"[" * 70 + b"]" * 70, 200),
        ({"content_type": "application/json"}, b'{"a":' * 70 + b"1" + b"}" * 70, 400),
        ({"content_type": "application/json"}, b"[1, 2]", 200),
        ({"content_type": "application/json"}, b"", 200),
        ({"content_encoding": "gzip"}, b"xx", 415),
    ],
)
def test_odd_bodies(passing: Passing, fields: dict[str, str], body: bytes, status: int) -> None:
    passing.answers({})
    assert passing.send("POST", "/v1/files", body, **fields)[0] == status
    assert [request.body for request in passing.provider.requests] == (
        [body] if status == 200 else []
    )


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "text/json", "application/vnd.api+json", "application/octet-stream"]
)
def test_json_names_our_model_whatever_its_content_type_says(passing: Passing, kind: str) -> None:
    passing.answers({})
    body = b' \r\n{"model": "gpt-expensive", "x": 1.00}'
    for sent in (body, iter([body[:2], body[2:9], body[9:]])):
        assert passing.send("POST", "/v1/files", sent, content_type=kind)[0] == 200
    received = passing.provider.requests
    assert [each.body for each in received] == [b' \r\n{"model": "gpt-upstream", "x": 1.00}'] * 2


def test_json_of_another_type_says_which_model_it_is_for(passing: Passing) -> None:
    passing.answers({})
    body = b'{"model": "bot"}'
    assert passing.send("POST", "/v1/files", body, headway_model="")[0] == 200
    assert passing.received.body == b'{"model": "gpt-upstream"}'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b'{"model": "a", "t": NaN}'),
        ("text/plain", b'{"model": "a"}\n{"model": "b"}'),
        ("text/plain", b'\xef\xbb\xbf{"model": "a"}'),
        ("text/plain", '{"model": "a"}'.encode("utf-16")),
        ("text/plain", '{"model": "a"}'.encode("utf-16-be")),
        ("text/plain", '{"model": "a"}'.encode("utf-32-be")),
        ("text/plain", b" " * 2_000),
        ("application/x-www-form-urlencoded", b"model=a"),
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/mixed; boundary=x", b"--x\r\n"),
    ],
)
def test_body_in_which_a_provider_could_find_another_model_is_refused(
    passing: Passing, kind: str, body: bytes
) -> None:
    passing.answers({})
    assert passing.send("POST", "/v1/files", body, content_type=kind)[0] == 400
    assert passing.provider.requests == []


@pytest.mark.parametrize("body", [b"", b"[1]", b"\0" * 300_000, b"RIFF{", b"\n--"])
def test_what_is_no_object_passes_as_it_is(passing: Passing, body: bytes) -> None:
    passing.answers({})
    assert passing.send("POST", "/v1/files", body, content_type="audio/wav")[0] == 200
    assert passing.received.body == body


def test_json_of_another_type_is_held_up_to_the_limit_of_bodies(passing: Passing) -> None:
    passing.answers({})
    gateway = passing.traffic.gateway
    gateway.on_loop(lambda: setattr(gateway.gateway.pipeline, "body_limit", 1_000))
    body = b"{" + b" " * 1_000
    assert passing.send("POST", "/v1/files", body, content_type="text/plain")[0] == 413
    assert passing.provider.requests == []


def test_path_is_written_anew_and_checked(passing: Passing) -> None:
    passing.answers({})
    assert passing.send("GET", "/v1/%66iles/a%20b")[0] == 200
    assert passing.received.path == "/v1/files/a%20b"
    for odd in ("/v1/files/../models", "/v1/files/%2e%2e/models", "/v1/files/a%2fb"):
        assert passing.send("GET", odd)[0] == 400
    assert passing.send("OPTIONS", "/v1/files")[0] == 405
    assert len(passing.provider.requests) == 1


def test_azures_version_of_its_api_stands_in_the_query_once(passing: Passing) -> None:
    passing.serve(api_version="2024-10-21")
    passing.answers({})
    assert passing.send("GET", "/v1/files?api-version=evil&limit=1")[0] == 200
    assert passing.received.path == "/v1/files?api-version=2024-10-21&limit=1"


class Slow:
    """An upstream that reads and answers when it is told."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.go_on = threading.Event()
        self.read = 0
        self.written = 0

    def take(self, length: int) -> None:
        """Take one request with a body of a length, once told to."""
        peer, _ = self.listener.accept()
        assert self.go_on.wait(20)
        head = b""
        while b"\r\n\r\n" not in head:
            head += peer.recv(65_536)
        self.read = len(head.partition(b"\r\n\r\n")[2])
        while self.read < length:
            self.read += len(peer.recv(1 << 20))
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        peer.close()

    def give(self, length: int) -> None:
        """Answer one request with so many bytes."""
        peer, _ = self.listener.accept()
        peer.recv(65_536)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
        while self.written < length:
            self.written += peer.send(bytes(min(1 << 20, length - self.written)))
        peer.close()


@pytest.fixture
def slow(passing: Passing) -> Iterator[Slow]:
    found = Slow()
    timeouts = {"first": "20s", "idle": "20s"}
    passing.serve(base_url=f"http://127.0.0.1:{found.port}/v1", timeouts=timeouts)
    yield found
    found.listener.close()


LARGE = 128 << 20
BOUND = 48 << 20
"""Buffers of two sockets' kernels and of the gateway; far below `LARGE`."""


def head(passing: Passing, method: str, length: int, kind: str = "text/plain") -> bytes:
    key = passing.traffic.gateway.key
    return (
        f"{method} /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Headway-Model: bot\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def test_an_upload_waits_for_a_provider_that_does_not_read(passing: Passing, slow: Slow) -> None:
    server = threading.Thread(target=slow.take, args=(LARGE,))
    server.start()
    with socket.create_connection(("127.0.0.1", passing.traffic.gateway.port)) as caller:
        caller.sendall(head(passing, "POST", LARGE))
        caller.settimeout(0.5)
        sent = 0
        piece = memoryview(bytes(1 << 20))
        try:
            while sent < LARGE:
                sent += caller.send(piece[: LARGE - sent])
        except TimeoutError:
            pass
        assert sent < BOUND
        slow.go_on.set()
        caller.settimeout(20)
        while sent < LARGE:
            sent += caller.send(piece[: LARGE - sent])
        assert caller.recv(65_536).startswith(b"HTTP/1.1 200")
    server.join(20)
    assert slow.read == LARGE


def test_a_form_passes_in_bounded_memory(passing: Passing, slow: Slow) -> None:
    """Its model is renamed at its beginning; its file waits for the provider like any other."""
    passing.serve(base_url=f"http://127.0.0.1:{slow.port}/v1", timeouts={"idle": "20s"})
    ours = MODEL_PART % b"gpt-upstream" + FILE_PART % bytes(LARGE) + b"--b0--\r\n"
    theirs = MODEL_PART % b"bot" + FILE_PART % bytes(LARGE) + b"--b0--\r\n"
    server = threading.Thread(target=slow.take, args=(len(ours),))
    server.start()
    with socket.create_connection(("127.0.0.1", passing.traffic.gateway.port)) as caller:
        caller.sendall(head(passing, "POST", len(theirs), FORM))
        caller.settimeout(0.5)
        rest = memoryview(theirs)
        try:
            while rest:
                rest = rest[caller.send(rest[: 1 << 20]) :]
        except TimeoutError:
            pass
        assert len(theirs) - len(rest) < BOUND
        slow.go_on.set()
        caller.settimeout(20)
        while rest:
            rest = rest[caller.send(rest[: 1 << 20]) :]
        assert caller.recv(65_536).startswith(b"HTTP/1.1 200")
    server.join(20)
    assert slow.read == len(ours)


def test_a_download_waits_for_a_caller_who_does_not_read(passing: Passing, slow: Slow) -> None:
    server = threading.Thread(target=slow.give, args=(LARGE,))
    server.start()
    with socket.create_connection(("127.0.0.1", passing.traffic.gateway.port)) as caller:
        caller.settimeout(20)
        caller.sendall(head(passing, "GET", 0))
        got = len(caller.recv(1024))
        server.join(0.5)
        assert server.is_alive()
        assert slow.written < BOUND
        while got < LARGE:
            got += len(caller.recv(1 << 20))
    server.join(20)
    assert slow.written == LARGE


def test_a_caller_who_leaves_within_an_upload_ends_it_upstream(
    passing: Passing, slow: Slow
) -> None:
    with socket.create_connection(("127.0.0.1", passing.traffic.gateway.port)) as caller:
        caller.sendall(head(passing, "POST", 100) + b"x" * 10)
        upstream, _ = slow.listener.accept()
        upstream.settimeout(10)
        got = b""
        while not got.endswith(b"x" * 10):
            got += upstream.recv(65_536)
    with upstream:
        assert upstream.recv(65_536) == b""
    assert passing.traffic.gateway.outcomes() == {"1.0.0": {"gone": 1}}


def test_limits_and_paths_of_a_key_hold_here_too(passing: Passing) -> None:
    passing.answers({})
    secret, digest = Secret.generate().text, passing.traffic.gateway.digest
    limits = {"requests": 2, "concurrent": 1}
    passing.serve(keys=[key_entry(secret, digest, role="caller", limits=limits)])

    def status() -> int:
        return passing.send("GET", "/v1/files", authorization=f"Bearer {secret}")[0]

    assert [status() for _ in range(3)] == [200, 200, 429]
    counts = passing.traffic.gateway.taken().key_counts
    assert sorted((key[2], n) for key, n in counts.items()) == [("ok", 2), ("policy", 1)]
    passing.serve(keys=[key_entry(secret, digest, role="caller", paths=["/v1/chat/*"])])
    assert status() == 403
    passing.serve(keys=[key_entry(secret, digest, role="caller", paths=["/v1/files"])])
    assert status() == 200


def test_the_log_is_told_of_the_path_what_the_version_says_of_it(passing: Passing) -> None:
    told: list[Any] = []
    gateway = passing.traffic.gateway
    gateway.on_loop(lambda: setattr(gateway.gateway.pipeline, "access", told.append))
    passing.answers({})
    passing.send("GET", "/v1/files/secret-name/content?after=secret")
    (line,) = told
    assert (line["path"], line["status"], line["outcome"]) == ("/v1/files", 200, "ok")
    assert (line["model"], line["version"]) == ("bot", "1.0.0")
    assert "secret" not in str(line)


def broken(*_: object, **__: object) -> None:
    raise ArithmeticError("a fault of ours")


@pytest.mark.parametrize(
    ("place", "reply"),
    [("_kind", Reply(body=b"{}")), ("truth.of_refusal", Reply(status=400, error="no"))],
)
def test_a_fault_of_ours_is_an_answer_and_keeps_nobody_waiting(
    passing: Passing, monkeypatch: pytest.MonkeyPatch, place: str, reply: Reply
) -> None:
    monkeypatch.setattr(f"headway.gateway.passthrough.{place}", broken)
    passing.provider.script = lambda _: reply
    status, _, said = passing.send("GET", "/v1/files")
    assert (status, json.loads(said)["error"]["code"]) == (500, "internal_error")
    assert [str(error) for error in passing.traffic.gateway.faults] == ["a fault of ours"]
    passing.traffic.gateway.faults.clear()
