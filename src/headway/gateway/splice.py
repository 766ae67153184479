"""A request in which only the model's name changes: the bytes are cut and joined."""

import re
from typing import Final

import orjson

from headway.gateway.exchange import Ask

_KEY: Final = b'"model"'
_MEMBER: Final = re.compile(rb'("model"\s*:\s*)"[^"\\]*"')


def splice_model(ask: Ask, model: str, more: bytes = b"") -> bytes | None:
    r"""Return the caller's bytes with another model's name, None if they must be written anew.

    The bytes `"model"` stand once in the body, and no key is written with an escape that could
    spell it; since the parsed object has that key at its top, this is the one. (Within a text they
    would read `\"model\"`.) `more` are members written behind it.
    """
    body = ask.body
    start = body.find(_KEY)
    # From both ends: much faster than counting in a long body.
    if ask.document is None or start < 0 or body.rfind(_KEY) != start:
        return None
    if b"\\" in body and body.rfind(b"\\u006") >= 0:
        return None
    member = _MEMBER.match(body, start)
    if member is None:
        return None
    ours = member[1] + orjson.dumps(model)
    return body.replace(member[0], b"%b,%b" % (ours, more) if more else ours, 1)
