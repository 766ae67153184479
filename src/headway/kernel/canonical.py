"""One text per value, so that equal things have equal digests (RFC 8785)."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import rfc8785

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


def canonical(value: Json) -> str:
    """Return the canonical JSON text of a value.

    Raises `ValueError` for what RFC 8785 cannot write: NaN, infinity, integers beyond 2^53.
    """
    return bytes(rfc8785.dumps(value)).decode()


def digest(value: Json) -> str:
    """Return `sha256:<64 hex digits>` of the canonical text of a value."""
    return f"sha256:{hashlib.sha256(canonical(value).encode()).hexdigest()}"
