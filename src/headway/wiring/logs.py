"""Logs: one JSON object a line on standard error, of allowed fields, with secrets struck out."""

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

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
        "outcome",
        "latency_ms",
        "first_ms",
        "input_tokens",
        "output_tokens",
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
_HOLDERS: Final = frozenset(
    {
        "HEADWAY_ADMIN_KEY",
        "HEADWAY_KEY",
        "HEADWAY_METRICS_TOKEN",
        "HEADWAY_ROOT_KEY",
        "HEADWAY_WEBHOOK_SECRET",
    }
)
_SHORTEST: Final = 8
"""Shorter values are in half of all words, and secrets of nobody."""


def hidden(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secrets that variables hold, the longest first; many look like any word."""
    found = set()
    for name, value in environment.items():
        if name in _HOLDERS or (
            name.startswith("HEADWAY_SECRET_") and not name.endswith("_HOSTS")
        ):
            found.add(value.strip())
    found.add(urlsplit(environment.get("HEADWAY_DATABASE_URL", "")).password or "")
    return tuple(sorted((v for v in found if len(v) >= _SHORTEST), key=len, reverse=True))


def redact(text: str, given: Sequence[str] = ()) -> str:
    """Strike out what looks like a secret, and the secrets that we were given."""
    for value in given:
        text = text.replace(value, STRUCK)
    return _SECRETS.sub(STRUCK, text)


def configure(process: str, level: str) -> None:
    """Have every logger of this process write such lines, the libraries' too."""
    # It would bring rich along, 5 MB for tracebacks in colours that nobody prints here.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None: it cannot be imported
    import structlog  # noqa: PLC0415 - what most gateways never need

    given = hidden(os.environ)

    def clean(
        _logger: object, _name: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        kept = {name: value for name, value in event.items() if name in FIELDS}
        return {
            name: redact(value, given) if isinstance(value, str) else value
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
    configure_libraries()


def configure_libraries() -> None:
    """Have the loggers of libraries write to standard error, with secrets struck out."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacting(hidden(os.environ)))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


@dataclass(slots=True)
class LateLog:
    """A log for a process that hardly ever writes one: it is configured by its first line."""

    process: str
    level: str
    _logger: Any = None

    def debug(self, event: str, **fields: object) -> None:
        self._made().debug(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        self._made().warning(event, **fields)

    def error(self, event: str, **fields: object) -> None:
        self._made().error(event, **fields)

    def _made(self) -> Any:  # noqa: ANN401 - structlog's loggers have no type of their own
        if self._logger is None:
            configure(self.process, self.level)  # first: it keeps structlog from loading rich
            import structlog  # noqa: PLC0415 - see `configure`

            self._logger = structlog.get_logger(f"headway.{self.process}")
        return self._logger


class _Redacting(logging.Formatter):
    def __init__(self, given: Sequence[str]) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._given = given

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self._given)
