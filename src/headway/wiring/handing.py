"""Hands the settings down to the gateways that this process starts, or becomes."""

import os
from pathlib import Path

from headway.settings import Settings
from headway.wiring.options import HANDED, ROOT_KEY, GatewayOptions
from headway.wiring.rootkey import load_root_key


def hand_down(settings: Settings, *, port: int) -> None:
    """Put into the environment what gateways need. The root key is made if there is none."""
    load_root_key(settings)
    options = GatewayOptions(
        data=settings.data,
        run_folder=settings.run_folder,
        control_socket=settings.control_socket,
        scribe_socket=settings.scribe_socket,
        runner_socket=_runner(settings),
        view_file=settings.view_file,
        root_key_file=_root_key_file(settings),
        host=settings.host,
        port=port,
        environment=settings.environment,
        trusted_proxies=settings.trusted_proxies,
        outbound_allow=settings.outbound_allow,
        outbound_ca=settings.outbound_ca,
        body_limit=settings.body_limit,
        connections=settings.connections,
        drain_s=settings.drain_s,
        log_level=settings.log_level,
    )
    os.environ[HANDED] = options.written()


def _root_key_file(settings: Settings) -> Path | None:
    if settings.root_key_file is None and settings.root_key is not None:
        os.environ[ROOT_KEY] = settings.root_key.get_secret_value()  # however it was spelled
        return None
    return settings.root_key_file or settings.data / "root.key"


def _runner(settings: Settings) -> Path:
    named = [name.strip() for name in settings.runners.split(",") if name.strip()]
    return Path(named[0]) if named else settings.runner_socket
