"""What a gateway is told of the settings: plain values, read and checked by who starts it.

To read them takes pydantic: 10 MB that each gateway would hold for as long as it lives.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from headway.auth.rootkey import RootKey
from headway.kernel.errors import Refused

HANDED: Final = "HEADWAY_HANDED"
"""The variable of the environment that holds them; no secret is among them."""
ROOT_KEY: Final = "HEADWAY_ROOT_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """See `headway.settings` for what each of them means."""

    data: Path
    run_folder: Path
    control_socket: Path
    scribe_socket: Path
    runner_socket: Path
    view_file: Path
    root_key_file: Path | None
    """None: the environment holds the root key itself."""
    host: str
    port: int
    environment: str
    trusted_proxies: str
    outbound_allow: str
    outbound_ca: Path | None
    body_limit: int
    connections: int
    drain_s: float
    log_level: str

    def written(self) -> str:
        """Return the text that `read` reads."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `written` wrote."""
        values = json.loads(text)
        for name in cls.__dataclass_fields__:
            if cls.__annotations__[name] in {Path, Path | None} and values[name] is not None:
                values[name] = Path(values[name])
        return cls(**values)

    @classmethod
    def handed(cls) -> Self | None:
        """Return those that this process was started with, if somebody read them for it."""
        text = os.environ.get(HANDED)
        return cls.read(text) if text is not None else None

    def root_key(self) -> RootKey:
        """Read the root key; raise `Refused` if it is not there or is none."""
        if self.root_key_file is None:
            return RootKey.parse(os.environ[ROOT_KEY])
        try:
            return RootKey.parse(self.root_key_file.read_text("utf-8", "replace"))
        except OSError as error:
            raise Refused(f"{self.root_key_file} cannot be read: {error.strerror}") from error
