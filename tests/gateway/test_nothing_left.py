"""When all requests are over nothing of them is left, however they ended."""

import contextlib
import gc
import itertools
import json
import socket

import openai
import pytest
from tests.chaos.running import until
from tests.gateway.conftest import Traffic
from tests.gateway.test_chat_traffic import HELLO, chat

from headway.gateway.passage import Passage
from headway.testing.provider import BROKEN_STREAMS, FAULTS, Reply


def alive() -> int:
    gc.collect()
    return sum(isinstance(each, Passage) for each in gc.get_objects())


def leave(traffic: Traffic) -> None:
    """Ask for a stream and go after its first bytes."""
    body = json.dumps({"model": "bot", "messages": HELLO, "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", traffic.gateway.port), timeout=10) as caller:
        caller.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\n"
            b"content-length: %d\r\n\r\n%b" % (traffic.gateway.key.encode(), len(body), body)
        )
        assert caller.recv(100)


@pytest.mark.parametrize("kind", ["whole", "refused", "broken", "left"])
def test_no_request_is_held_after_its_end(traffic: Traffic, kind: str) -> None:
    before = alive()
    replies = itertools.cycle([*FAULTS.values(), *BROKEN_STREAMS.values()])
    if kind == "broken":
        traffic.provider.script = lambda _: next(replies)
    if kind == "left":
        traffic.provider.script = lambda _: Reply(text="word " * 40, gap_s=0.02)
    for _ in range(len(FAULTS) + len(BROKEN_STREAMS)):
        if kind == "left":
            leave(traffic)
        elif kind == "broken":
            with contextlib.suppress(openai.APIError):
                list(
                    traffic.client().chat.completions.create(
                        model="bot", messages=HELLO, stream=True
                    )
                )
        else:
            chat(traffic, "bot" if kind == "whole" else "nope")

    until(lambda: not traffic.gateway.gateway.pipeline.under_way, seconds=20, what="the end")
    until(lambda: alive() == before, seconds=20, what="no request is held")
