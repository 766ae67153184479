"""Every option: `HEADWAY_*` in the environment, typed, read once, handed down as values.

Secrets of providers (`HEADWAY_SECRET_<NAME>`) are no options: `headway.adapters.outbound` reads
them, and never lets one go to a host that it is not bound to.
"""

import base64
import ipaddress
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from headway.kernel.errors import Refused

Bytes = Annotated[int, Field(ge=0)]


class WrongSettings(Refused):
    """What is wrong with which variable; never the value, which may be a secret."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HEADWAY_", extra="ignore", frozen=True)

    def __init__(self) -> None:
        """Read the environment, or raise `WrongSettings`."""
        try:
            super().__init__()
        except ValidationError as error:
            wrong = [
                f"HEADWAY_{str(fault['loc'][0]).upper()}: "
                + fault["msg"].removeprefix("Value error, ").replace("Input s", "s")
                for fault in error.errors()
            ]
            raise WrongSettings("; ".join(wrong)) from None

    data: Path = Field(
        default=Path("data"), description="Folder of the database, artifacts and keys."
    )
    database_url: str | None = Field(
        default=None,
        description="`postgresql+psycopg://…` or `sqlite:///…`; SQLite in `data` if unset.",
        repr=False,
    )
    run: Path | None = Field(
        default=None,
        description="Folder of the sockets, short and private; `<data>/run` if unset.",
    )
    host: str = Field(default="127.0.0.1", description="Address that the public port listens on.")
    port: int = Field(
        default=8000, ge=0, le=65_535, description="The public port; 0: any free one."
    )
    gateways: int = Field(
        default=2, ge=1, le=64, description="Gateway processes of `headway serve`."
    )
    threads: int = Field(default=16, ge=4, le=256, description="Threads of the control process.")
    environment: str = Field(
        default="production", description="Where a caller belongs whose key names no environment."
    )

    root_key: SecretStr | None = Field(default=None, description="The root key, 64 hex digits.")
    root_key_file: Path | None = Field(default=None, description="File that holds the root key.")
    admin_key: SecretStr | None = Field(
        default=None, description="The first admin key, from `headway keys generate`."
    )
    metrics_token: SecretStr | None = Field(
        default=None,
        description="A token with which scrapers may read `/metrics`, and nothing else.",
    )
    trusted_hosts: str = Field(
        default="",
        description="Host names that control answers to, separated by commas; empty: any.",
    )
    trusted_proxies: str = Field(
        default="", description="CIDRs whose X-Forwarded-For is believed, separated by commas."
    )

    outbound_allow: str = Field(
        default="",
        description="Private addresses that may be called: `10.20.0.0/16:8000, vllm:8000`.",
    )
    outbound_ca: Path | None = Field(
        default=None, description="Further roots for TLS, a PEM file."
    )

    body_limit: Bytes = Field(
        default=32 << 20, description="Largest body of a traffic request, bytes."
    )
    upload_limit: Bytes = Field(default=10 << 30, description="Largest artifact, bytes.")
    connections: int = Field(default=10_000, ge=16, description="Connections of one gateway.")
    drain_s: float = Field(
        default=30.0, ge=0, description="How long a stop waits for running requests."
    )

    runners: str = Field(
        default="",
        description="Sockets of runners elsewhere, separated by commas; empty: our own.",
    )
    runner_memory: Bytes = Field(
        default=4 << 30, description="Address space of the runner, bytes; 0: no limit."
    )
    runner_cache: Bytes = Field(default=1 << 30, description="Memory for loaded models, bytes.")
    runner_threads: int = Field(default=2, ge=1, le=64, description="Inferences at the same time.")

    feedback_window_s: int = Field(
        default=7 * 86_400, ge=60, description="How late feedback may come."
    )
    keep_minutes_s: int = Field(
        default=30 * 86_400, ge=3_600, description="How long measurements per minute are kept."
    )
    webhook_secret: SecretStr | None = Field(
        default=None, description="Signs webhooks (Standard Webhooks, `whsec_…`)."
    )
    page: str = Field(
        default="",
        description="Webhooks that are told of every failed rollback, separated by commas.",
    )
    log_level: str = Field(default="info", description="`debug`, `info`, `warning` or `error`.")

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value not in {"debug", "info", "warning", "error"}:
            raise ValueError("log level is debug, info, warning or error")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        try:
            for part in filter(None, map(str.strip, value.split(","))):
                ipaddress.ip_network(part, strict=False)
        except ValueError:
            raise ValueError("is a list of networks, such as 10.0.0.0/8, 192.0.2.7") from None
        return value

    @field_validator("outbound_ca")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("there is no such file")
        return value

    @field_validator("page")
    @classmethod
    def _urls(cls, value: str) -> str:
        for part in filter(None, map(str.strip, value.split(","))):
            url = urlsplit(part)
            if url.scheme not in {"https", "http"} or not url.hostname or "@" in url.netloc:
                raise ValueError("is a list of URLs, such as https://ops.example.com/page")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _base64(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                base64.b64decode(value.get_secret_value().removeprefix("whsec_"), validate=True)
            except ValueError:
                raise ValueError("is whsec_ and base64, as in Standard Webhooks") from None
        return value

    @property
    def pages(self) -> tuple[str, ...]:
        return tuple(filter(None, map(str.strip, self.page.split(","))))

    @property
    def run_folder(self) -> Path:
        return self.run or self.data / "run"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{(self.data / 'headway.db').absolute()}"

    @property
    def control_socket(self) -> Path:
        return self.run_folder / "control.sock"

    @property
    def runner_socket(self) -> Path:
        return self.run_folder / "runner.sock"

    @property
    def scribe_socket(self) -> Path:
        return self.run_folder / "scribe.sock"

    @property
    def view_file(self) -> Path:
        return self.run_folder / "view.json"
