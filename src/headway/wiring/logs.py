"""Logs: one JSON object a line on standard error, of allowed fields, with secrets struck out."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

FIELDS: Final = frozenset(
    {
        "event",
        "level",
        "timestamp",
        "process",
        "request_id",
        "method",
        "path",
        "status",
        "key",
        "loop",
        "error",
        "detail",
        "deployment",
        "model",
        "environment",
        "version",
        "generation",
        "address",
        "sqlite",
        "count",
        "operation",
        "where",
    }
)
"""What a line may hold; anything else is left out. Never bodies, never query strings."""
_SECRETS: Final = re.compile(
    r"hw_[0-9A-Za-z]{8}_[0-9A-Za-z]{8,}"
    r"|whsec_[0-9A-Za-z+/=]+"
    r"|sk-[0-9A-Za-z_-]{8,}"
    r"|(?i:bearer)\s+[^\s\"']+"
    r"|(?<=://)[^/\s@]*:[^/\s@]*(?=@)"
)
STRUCK: Final = "[secret]"


def redact(text: str) -> str:
    """Strike out what looks like a secret."""
    return _SECRETS.sub(STRUCK, text)


def configure(process: str, level: str) -> None:
    """Have every logger of this process write such lines, the libraries' too."""

    def clean(
        _logger: object, _name: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        kept = {name: value for name, value in event.items() if name in FIELDS}
        return {
            name: redact(value) if isinstance(value, str) else value
            for name, value in kept.items()
        } | {"process": process}

    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            clean,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacting("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
