"""What goes wrong with providers, and what only looks so, each as a `Reply` by name.

@pytest.mark.parametrize("fault", FAULTS)
def test_my_client_raises(fault):
with ScriptedProvider(lambda _: FAULTS[fault]) as provider: ...
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from types import MappingProxyType
from typing import Final

from headway.testing.provider.reply import Ending, Framing, Reply, ToolCall

QUOTED: Final = "sk-quoted-by-the-provider"
"""Stands for a credential in the words of a provider that refuses it."""
_HTML: Final = b"<html><body><h1>502 Bad Gateway</h1>at 10.1.2.3:8000</body></html>"
_MALFORMED: Final = b'data: {"choices": [{"index": 0, "delta": {"content": "lo\n\n'
_REFUSED: Final = f"Incorrect API key provided: {QUOTED}"


def _limited(**headers: str) -> Reply:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=429, error="slow down", headers=fields)


FAULTS: Final[Mapping[str, Reply]] = MappingProxyType(
    {
        "cut": Reply(end=Ending.CUT),
        "cut before the first content": Reply(end=Ending.CUT, after=0),
        "cut within a length": Reply(end=Ending.CUT, framing=Framing.LENGTH),
        "polite end": Reply(end=Ending.POLITE, framing=Framing.CLOSE),
        "polite end before the first content": Reply(
            end=Ending.POLITE, framing=Framing.CLOSE, after=0
        ),
        "error within": Reply(end=Ending.ERROR_EVENT),
        "error before the first content": Reply(end=Ending.ERROR_EVENT, after=0),
        "closed without an answer": Reply(drop=True),
        "empty answer": Reply(body=b""),
        "empty stream": Reply(body=b"", content_type="text/event-stream"),
        "no content": Reply(status=204, body=b""),
        "HTML with 200": Reply(body=_HTML, content_type="text/html"),
        "HTML as a stream": Reply(body=_HTML, content_type="text/event-stream"),
        "HTML with 502": Reply(status=502, body=_HTML, content_type="text/html"),
        "gzip that was not asked for": Reply(coding="gzip"),
        "credential refused": Reply(status=401, error=_REFUSED, code="invalid_api_key"),
        "credential forbidden": Reply(status=403, error=_REFUSED, code="invalid_api_key"),
        "redirect": Reply(status=302, headers={"location": "http://169.254.169.254/"}),
        "429": _limited(),
        "429 with seconds": _limited(retry_after="7"),
        "429 with milliseconds": _limited(retry_after_ms="1500"),
        "429 with a date": _limited(
            retry_after=format_datetime(datetime(2199, 1, 1, tzinfo=UTC), usegmt=True)
        ),
        "429 with an absurd wait": _limited(retry_after="4000000"),
        "500": Reply(status=500, error="at 10.1.2.3:8000 line 7"),
        "503": Reply(status=503, error="busy"),
        "529": Reply(status=529, error="overloaded", code="overloaded_error"),
    }
)
"""Of any API, streaming or not; none of them waits for anything."""

SILENCES: Final[Mapping[str, Reply]] = MappingProxyType(
    {
        "slow head": Reply(delay_s=3600),
        "stall": Reply(end=Ending.STALL),
        "stall before the first content": Reply(end=Ending.STALL, after=0),
    }
)
"""Faults that only a time-out ends."""

BROKEN_STREAMS: Final[Mapping[str, Reply]] = MappingProxyType(
    {
        "malformed event": Reply(insert=_MALFORMED),
        "event that is no object": Reply(insert=b"data: [1, 2]\n\n"),
        "event that is no UTF-8": Reply(insert=b'data: {"text": "\xff\xfe"}\n\n'),
        "garbage": Reply(insert=b"\x00\x8a\xff\x17garbage\n\n"),
        "garbage before an event": Reply(insert=b"\x00\x8a\xff"),
        "HTML within": Reply(insert=_HTML + b"\n\n"),
        "polite end of a chunked body": Reply(end=Ending.POLITE),
        "cut within a call of a tool": Reply(
            text="", tools=(ToolCall("find", '{"id": 7}'),), end=Ending.CUT
        ),
        "lost last events": Reply(edit=lambda events: events[:-3]),
    }
)
"""Faults that only streams have. Those with `insert` go on to a good end."""

ODDITIES: Final[Mapping[str, Reply]] = MappingProxyType(
    {
        "CR LF": Reply(crlf=True),
        "slices of 1 byte": Reply(slice=1, text="Grüße, 世界 🙂!"),
        "slices of 7 bytes": Reply(slice=7, text="Grüße, 世界 🙂!"),
        "slices of 7 bytes with CR LF": Reply(slice=7, crlf=True),
        "comments": Reply(insert=b": keep-alive\n\n:\n\n"),
        "event of 1 MB": Reply(text="x" * 1_000_000),
        "byte order mark": Reply(edit=lambda events: [b"\xef\xbb\xbf" + events[0], *events[1:]]),
        "body with a length": Reply(framing=Framing.LENGTH),
        "body that ends by closing": Reply(framing=Framing.CLOSE),
        "event without its space": Reply(
            edit=lambda events: [event.replace(b"data: ", b"data:", 1) for event in events]
        ),
        "last event without its blank line": Reply(
            edit=lambda events: [*events[:-1], events[-1].rstrip(b"\n") + b"\n"]
        ),
    }
)
"""What is unusual, allowed, and must be understood."""
