"""A broken answer never looks complete: the official client raises, and the outcome says whose."""

import http.client
import json
import socket
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import Any

import openai
import pytest

from headway.gateway.truth import wait_of
from headway.routing.route import Ages, Epoch, Guard
from headway.testing.gateway import route_of
from headway.testing.provider import Ending, Framing, Received, Reply
from headway.tracking.measurement import Measurement

from .conftest import Traffic

HELLO: Any = [{"role": "user", "content": "hello there"}]
BAD = (openai.APIError, openai.APIConnectionError)


def drain(traffic: Traffic) -> list[Any]:
    with traffic.client().chat.completions.create(
        model="bot", messages=HELLO, stream=True
    ) as stream:
        return list(stream)


def ask(traffic: Traffic) -> Any:  # noqa: ANN401 - of the client
    return traffic.client().chat.completions.create(model="bot", messages=HELLO)


@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize("end", [Ending.CUT, Ending.POLITE, Ending.STALL, Ending.ERROR_EVENT])
@pytest.mark.parametrize("after", [0, 3])
def test_stream_that_breaks_raises_in_the_official_client(
    traffic: Traffic, framing: Framing, end: Ending, after: int
) -> None:
    traffic.provider.script = lambda _: Reply(framing=framing, end=end, after=after)
    with pytest.raises(BAD):
        drain(traffic)
    assert traffic.gateway.outcomes() == {"1.0.0": {"provider": 1}}


def test_broken_stream_ends_with_an_error_event_and_without_its_last_chunk(
    traffic: Traffic,
) -> None:
    traffic.provider.script = lambda _: Reply(end=Ending.CUT, after=3, gap_s=0.01)
    connection = http.client.HTTPConnection("127.0.0.1", traffic.gateway.port, timeout=10)
    body = json.dumps({"model": "bot", "messages": HELLO, "stream": True})
    connection.request(
        "POST",
        "/v1/chat/completions",
        body,
        {"authorization": f"Bearer {traffic.gateway.key}"},
    )
    with closing(connection), connection.getresponse() as answer:
        assert answer.status == 200
        with pytest.raises(http.client.IncompleteRead) as cut:
            answer.read()
    *_, last, _ = cut.value.partial.split(b"\n\n")
    assert json.loads(last.removeprefix(b"data: "))["error"]["type"] == "server_error"
    assert b"[DONE]" not in cut.value.partial


@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize("size", [0, 7])
def test_whole_stream_is_whole_however_it_is_framed(
    traffic: Traffic, framing: Framing, size: int
) -> None:
    traffic.provider.script = lambda _: Reply(framing=framing, slice=size)
    chunks = drain(traffic)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == Reply().text
    assert traffic.gateway.outcomes() == {"1.0.0": {"ok": 1}}


def test_finish_reason_with_a_framed_end_is_complete_and_one_by_close_is_not(
    traffic: Traffic,
) -> None:
    traffic.provider.script = lambda _: Reply(end=Ending.NO_DONE)
    assert len(drain(traffic)) > 2
    traffic.provider.script = lambda _: Reply(end=Ending.NO_DONE, framing=Framing.CLOSE)
    with pytest.raises(BAD):
        drain(traffic)
    assert traffic.gateway.outcomes() == {"1.0.0": {"ok": 1, "provider": 1}}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(end=Ending.CUT),
        Reply(end=Ending.POLITE, framing=Framing.CLOSE),
        Reply(end=Ending.STALL),
        Reply(end=Ending.ERROR_EVENT),
        Reply(drop=True),
        Reply(delay_s=3),
        Reply(body=b"<html>"),
        Reply(body=b""),
        Reply(body=b'{"choices": "none"}'),
        Reply(status=204, body=b""),
        Reply(status=302, headers={"location": "http://169.254.169.254/"}),
        Reply(headers={"content-encoding": "gzip"}),
    ],
)
def test_answer_that_breaks_raises_in_the_official_client(traffic: Traffic, reply: Reply) -> None:
    traffic.provider.script = lambda _: reply
    with pytest.raises(openai.APIStatusError) as failed:
        ask(traffic)
    assert failed.value.status_code in {502, 504}
    assert failed.value.request_id is not None
    assert traffic.gateway.outcomes() == {"1.0.0": {"provider": 1}}


def test_whole_answer_that_ends_by_close_is_good(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(framing=Framing.CLOSE)
    assert ask(traffic).choices[0].message.content == Reply().text


def test_answer_in_one_piece_to_who_asked_for_a_stream_is_a_failure(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(body=json.dumps({"choices": []}).encode())
    with pytest.raises(openai.APIStatusError):
        drain(traffic)
    assert traffic.gateway.outcomes() == {"1.0.0": {"provider": 1}}


@pytest.mark.parametrize(
    ("reply", "status", "outcome"),
    [
        (Reply(status=400, error="too long"), 400, "refused"),
        (Reply(status=404, error="gone"), 404, "refused"),
        (Reply(status=404, error="no", code="model_not_found"), 502, "version"),
        (Reply(status=413, error="big"), 413, "refused"),
        (Reply(status=422, error="odd"), 422, "refused"),
        (Reply(status=401, error="key sk-canary-test is wrong"), 502, "provider"),
        (Reply(status=403, error="key sk-canary-test is wrong"), 502, "provider"),
        (Reply(status=429, error="slow down"), 429, "provider"),
        (Reply(status=500, error="oops"), 500, "provider"),
        (Reply(status=503, body=b"<html>"), 503, "provider"),
        (Reply(status=418, error="tea"), 502, "provider"),
    ],
)
def test_errors_of_the_provider_are_told_and_counted(
    traffic: Traffic, reply: Reply, status: int, outcome: str
) -> None:
    traffic.provider.script = lambda _: reply
    for call in (ask, drain):
        with pytest.raises(openai.APIStatusError) as failed:
            call(traffic)
        assert failed.value.status_code == status
        assert "canary" not in str(failed.value)
    assert traffic.gateway.outcomes() == {"1.0.0": {outcome: 2}}


def test_message_of_a_refusal_reaches_the_caller(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(status=400, error="too long by 7 tokens")
    with pytest.raises(openai.BadRequestError, match="too long by 7 tokens"):
        ask(traffic)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({b"retry-after": b"3"}, 3),
        ({b"retry-after": b"0.2"}, 0.2),
        ({b"retry-after": b"4000000"}, 120),
        ({b"retry-after": b"inf"}, 120),
        ({b"retry-after": b"Wed, 21 Oct 2026 07:28:20 GMT"}, 20),
        ({b"retry-after": b"Wed, 21 Oct 2099 07:28:00 GMT"}, 120),
        ({b"retry-after-ms": b"1500"}, 1.5),
        ({b"retry-after-ms": b"99999999999"}, 120),
        ({b"retry-after-ms": b"250", b"retry-after": b"7"}, 0.25),
        ({b"retry-after-ms": b"soon", b"retry-after": b"7"}, 7),
        ({b"retry-after": b"Wed, 21 Oct 2026 07:27:00 GMT"}, None),
        *(({b"retry-after": word}, None) for word in (b"-1", b"0", b"nan", b"x", b"", b"\xff")),
        ({}, None),
    ],
)
def test_wait_is_read_in_every_form_capped_and_nonsense_left_out(
    headers: dict[bytes, bytes], seconds: float | None
) -> None:
    at = 1_792_567_680_000  # Wed, 21 Oct 2026 07:28:00 GMT
    assert wait_of(headers, at) == seconds


def test_head_of_the_provider_is_let_through_by_name_only(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(
        status=429,
        headers={
            "retry-after": "9999",
            "x-ratelimit-remaining-requests": "0",
            "set-cookie": "a=b",
            "server": "secretive",
            "location": "/x",
            "access-control-allow-origin": "*",
            "x-request-id": "bad id with blanks",
        },
    )
    with pytest.raises(openai.RateLimitError) as failed:
        ask(traffic)
    fields = failed.value.response.headers
    assert fields["retry-after"] == "120"
    assert fields["x-ratelimit-remaining-requests"] == "0"
    hidden = {
        "set-cookie",
        "server",
        "location",
        "access-control-allow-origin",
        "headway-upstream-request-id",
    }
    assert not hidden & set(fields)


def test_callers_patience_is_the_deadline(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(delay_s=3)
    traffic.serve(versions={("bot", "1.0.0"): traffic.target(timeouts={"first": "60s"})})
    body = json.dumps({"model": "bot", "messages": HELLO})
    connection = http.client.HTTPConnection("127.0.0.1", traffic.gateway.port, timeout=10)
    connection.request(
        "POST",
        "/v1/chat/completions",
        body,
        {
            "authorization": f"Bearer {traffic.gateway.key}",
            "x-stainless-read-timeout": "0.3",
        },
    )
    assert connection.getresponse().status == 504
    connection.close()


def test_caller_who_leaves_is_no_failure_and_what_it_cost_is_counted(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(gap_s=0.005, text="word " * 100)
    leave(traffic)
    measured = gone(traffic)
    assert measured.outcomes == {"gone": 1}
    assert measured.tokens == {"input": 2, "output": 101}


def gone(traffic: Traffic) -> Measurement:
    """Wait until a request is counted, and what was read on of its answer too."""
    pipeline = traffic.gateway.gateway.pipeline
    for _ in range(20_000):
        if found := traffic.gateway.taken().measurements:
            break
    while traffic.gateway.on_loop(lambda: pipeline.reading_on):
        pass
    tokens = Counter(found[0].tokens)
    for more in traffic.gateway.taken().measurements:
        assert more.outcomes == {}
        tokens += Counter(more.tokens)
    return replace(found[0], tokens=dict(tokens))


def leave(traffic: Traffic) -> None:
    """Read the first event of a stream, and leave."""
    with (
        pytest.raises(ZeroDivisionError),
        traffic.client().chat.completions.create(
            model="bot", messages=HELLO, stream=True
        ) as stream,
    ):
        next(iter(stream))
        raise ZeroDivisionError


def test_version_may_have_it_cancelled_instead(traffic: Traffic) -> None:
    traffic.serve(versions={("bot", "1.0.0"): traffic.target(when_left="cancel")})
    traffic.provider.script = lambda _: Reply(end=Ending.STALL, after=3)
    leave(traffic)
    measured = gone(traffic)
    assert (measured.outcomes, measured.tokens) == ({"gone": 1}, {})
    assert traffic.gateway.on_loop(lambda: traffic.gateway._pool.connections) == 0


def test_answer_in_one_piece_is_counted_too_when_its_caller_left(traffic: Traffic) -> None:
    answered = threading.Event()

    def script(_: Received) -> Reply:
        answered.wait(10)
        return Reply()

    traffic.provider.script = script
    sock = send(traffic, {"model": "bot", "messages": HELLO})
    while not traffic.provider.requests:
        pass
    sock.close()
    pipeline = traffic.gateway.gateway.pipeline
    for _ in range(20_000):
        if traffic.gateway.on_loop(lambda: pipeline.reading_on):
            break
    answered.set()
    measured = gone(traffic)
    assert measured.outcomes == {"gone": 1}
    assert measured.tokens == {"input": 2, "output": 8}


def test_slow_reader_who_leaves_holds_nothing_back_any_more(traffic: Traffic) -> None:
    text = " ".join(["x" * 10_000] * 3_000)
    traffic.provider.script = lambda _: Reply(text=text, output_tokens=7)
    sock = send(traffic, {"model": "bot", "messages": HELLO, "stream": True})
    sock.recv(100)
    assert paused(traffic)
    sock.close()
    measured = gone(traffic)
    assert measured.outcomes == {"gone": 1}
    assert measured.tokens == {"input": 2, "output": 7}


def test_caller_who_left_counts_at_once_and_the_tokens_when_they_are_known(
    traffic: Traffic,
) -> None:
    """How slow it was until then is due while the rest of the answer may take minutes yet."""
    route = route_of("bot", ARMS, epoch=replace(EPOCH, thresholds_ms={"p50": 1_000}))
    target = traffic.target(timeouts={"first": "9s", "idle": "9s", "total": "9s"})
    versions = {("bot", "1.0.0"): target, ("bot", "1.1.0"): target}
    traffic.serve(route, versions=versions)
    answered = threading.Event()

    def script(_: Received) -> Reply:
        answered.wait(10)
        return Reply()

    traffic.provider.script = script
    sock = send(traffic, {"model": "bot", "messages": HELLO})
    while not traffic.provider.requests:
        pass
    pipeline = traffic.gateway.gateway.pipeline
    late = traffic.gateway.on_loop(pipeline.monotonic) + 2
    pipeline.monotonic = lambda: late
    sock.close()
    batch = traffic.gateway.taken()
    for _ in range(20_000):
        if batch.measurements:
            break
        batch = traffic.gateway.taken()
    assert traffic.gateway.on_loop(lambda: pipeline.reading_on) == 1
    (measured,) = batch.measurements
    assert (measured.outcomes, measured.tokens) == ({"gone": 1}, {})
    assert [(count.metric, count.n) for count in batch.counts["dep_1"]] == [("latency.p50", 1)]
    assert sum(batch.key_counts.values()) == 1

    answered.set()
    while traffic.gateway.on_loop(lambda: pipeline.reading_on):
        pass
    batch = traffic.gateway.taken()
    (measured,) = batch.measurements
    assert (measured.outcomes, measured.tokens) == ({}, {"input": 2, "output": 8})
    assert batch.counts == {}


def send(traffic: Traffic, document: dict[str, Any]) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", traffic.gateway.port))
    body = json.dumps(document).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
        f"authorization: Bearer {traffic.gateway.key}\r\nconnection: close\r\n\r\n"
    )
    sock.sendall(head.encode() + body)
    return sock


def paused(traffic: Traffic) -> bool:
    """Say whether the provider comes to be held back, within half a minute."""
    patience = time.monotonic() + 30
    while time.monotonic() < patience:
        if traffic.gateway.on_loop(
            lambda: any(
                connection._sending is not None and connection._sending._paused
                for connection in traffic.gateway._pool._connections
            )
        ):
            return True
    return False


def test_what_nobody_waits_for_is_cancelled_beyond_so_many(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(gap_s=0.02, text="word " * 200)
    traffic.gateway.gateway.pipeline.most_reading_on = 0
    leave(traffic)
    measured = gone(traffic)
    assert measured.outcomes == {"gone": 1}
    assert measured.tokens == {}


def test_of_what_is_cancelled_counts_what_was_told_by_then(traffic: Traffic) -> None:
    """Anthropic's API tells at once what was asked, and only at the end what was answered."""
    target = traffic.target(provider="anthropic", when_left="cancel")
    traffic.serve(versions={("bot", "1.0.0"): target})
    traffic.provider.script = lambda _: Reply(gap_s=0.02, text="word " * 50, input_tokens=7)
    leave(traffic)
    measured = gone(traffic)
    assert (measured.outcomes, measured.tokens["input"]) == ({"gone": 1}, 7)
    assert measured.served_by != {}


def test_what_nobody_waits_for_ends_with_the_gateway(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(end=Ending.STALL, after=3)
    leave(traffic)
    pipeline = traffic.gateway.gateway.pipeline
    for _ in range(20_000):
        if traffic.gateway.on_loop(lambda: pipeline.reading_on):
            break
    traffic.gateway.on_loop(pipeline.leave_behind)
    assert gone(traffic).outcomes == {"gone": 1}
    assert traffic.gateway.on_loop(lambda: (pipeline.reading_on, pipeline.under_way)) == (0, set())
    assert traffic.gateway.on_loop(lambda: traffic.gateway._pool.connections) == 0


def test_slow_reader_holds_the_provider_back(traffic: Traffic) -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * 10_000)
    events = event * 3_000 + b"data: [DONE]\n\n"
    traffic.provider.script = lambda _: Reply(body=events, content_type="text/event-stream")
    sock = send(traffic, {"model": "bot", "messages": HELLO, "stream": True})
    sock.recv(100)
    held = paused(traffic)
    size = 0
    with sock:
        while data := sock.recv(1 << 20):
            size += len(data)
    assert held
    assert size > len(events)
    assert traffic.gateway.outcomes() == {"1.0.0": {"ok": 1}}


def test_done_is_passed_on_before_the_provider_ends_its_body(traffic: Traffic) -> None:
    events = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n'
    traffic.provider.script = lambda _: Reply(
        body=events * 2, content_type="text/event-stream", end=Ending.STALL
    )
    assert len(drain(traffic)) == 1
    assert traffic.gateway.outcomes() == {"1.0.0": {"ok": 1}}


ARMS = [("stable", "1.0.0", 5_000), ("candidate", "1.1.0", 5_000)]
EPOCH = Epoch(
    deployment="dep_1",
    step=1,
    alpha=0.01,
    first_gateway=1,
    ages={"errors": Ages(5_000, 10_000)},
)


def test_arm_whose_limit_is_hit_gets_nobody_and_the_veto_is_handed_over(traffic: Traffic) -> None:
    def script(request: Any) -> Reply:  # noqa: ANN401 - Received
        return Reply(status=500) if request.json["model"] == "new" else Reply()

    traffic.provider.script = script
    traffic.serve(
        route_of(
            "bot",
            [("stable", "1.0.0", 5_000), ("candidate", "1.1.0", 5_000)],
            epoch=EPOCH,
            guards=[Guard(arm="candidate", metric="errors", above=0.1)],
        ),
        versions={
            ("bot", "1.0.0"): traffic.target(model="old"),
            ("bot", "1.1.0"): traffic.target(model="new"),
        },
    )
    for _ in range(80):
        try:
            ask(traffic)
        except openai.InternalServerError:
            traffic.gateway.on_loop(lambda: traffic.gateway.gateway.sweep(0.0))
    before = len(traffic.provider.requests)
    for _ in range(20):
        ask(traffic)
    assert {r.json["model"] for r in traffic.provider.requests[before:]} == {"old"}
    batch = traffic.gateway.taken()
    (veto,) = batch.vetoes
    assert (veto.deployment, veto.arm, veto.metric) == ("dep_1", "candidate", "errors")
    failed = sum(m.outcomes.get("provider", 0) for m in batch.measurements)
    assert 4 <= failed <= 30


def test_outage_of_both_arms_vetoes_nobody(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(status=500)
    traffic.serve(
        route_of(
            "bot",
            [("stable", "1.0.0", 5_000), ("candidate", "1.1.0", 5_000)],
            epoch=EPOCH,
            guards=[Guard(arm="candidate", metric="errors", above=0.1)],
        ),
        versions={
            ("bot", "1.0.0"): traffic.target(model="old"),
            ("bot", "1.1.0"): traffic.target(model="new"),
        },
    )
    for _ in range(60):
        with pytest.raises(openai.InternalServerError):
            ask(traffic)
    traffic.gateway.on_loop(lambda: traffic.gateway.gateway.sweep(0.0))
    assert traffic.gateway.taken().vetoes == ()


def test_more_tokens_than_any_model_reads_are_not_believed(traffic: Traffic) -> None:
    """Sums of their cost would be more than a database holds, and nothing would be counted."""
    traffic.provider.script = lambda _: Reply(input_tokens=1 << 30, output_tokens=(1 << 30) - 1)
    ask(traffic)
    (measurement,) = traffic.gateway.taken().measurements
    assert measurement.tokens == {"output": (1 << 30) - 1}
