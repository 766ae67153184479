"""What a gateway is told of the settings is what the settings say, and no secret."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headway.kernel.errors import Refused
from headway.settings import Settings
from headway.wiring.handing import hand_down
from headway.wiring.options import HANDED, GatewayOptions

KEY = "5a" * 32


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HEADWAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(HANDED, "")  # so that it is put back
    monkeypatch.setenv("HEADWAY_ROOT_KEY", "")
    monkeypatch.delenv("HEADWAY_ROOT_KEY")
    monkeypatch.setenv("HEADWAY_DATA", str(tmp_path))


def handed() -> GatewayOptions:
    hand_down(Settings(), port=8123)
    found = GatewayOptions.handed()
    assert found is not None
    return found


def test_a_gateway_is_told_what_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "ENVIRONMENT": "staging",
        "HOST": "0.0.0.0",  # noqa: S104 - nothing is bound
        "OUTBOUND_ALLOW": "10.20.0.0/16:8000",
        "TRUSTED_PROXIES": "10.0.0.0/8",
        "BODY_LIMIT": "1000",
        "CONNECTIONS": "50",
        "DRAIN_S": "2.5",
        "LOG_LEVEL": "debug",
        "RUN": str(tmp_path / "r"),
        "RUNNERS": "/a/one.sock, /a/two.sock",
    }.items():
        monkeypatch.setenv(f"HEADWAY_{name}", value)

    assert handed() == GatewayOptions(
        data=tmp_path,
        run_folder=tmp_path / "r",
        control_socket=tmp_path / "r" / "control.sock",
        scribe_socket=tmp_path / "r" / "scribe.sock",
        runner_socket=Path("/a/one.sock"),
        view_file=tmp_path / "r" / "view.json",
        root_key_file=tmp_path / "root.key",
        host="0.0.0.0",  # noqa: S104 - likewise
        port=8123,
        environment="staging",
        trusted_proxies="10.0.0.0/8",
        outbound_allow="10.20.0.0/16:8000",
        outbound_ca=None,
        body_limit=1000,
        connections=50,
        drain_s=2.5,
        log_level="debug",
    )


def test_no_secret_is_handed_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "HEADWAY_ADMIN_KEY": "hw_aaaaaaaa_admin",
        "HEADWAY_METRICS_TOKEN": "a-metrics-token",
        "HEADWAY_DATABASE_URL": f"sqlite:///{tmp_path}/elsewhere-password.db",
        "headway_root_key": KEY,
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    options = handed()
    assert not any(secret in os.environ[HANDED] for secret in secrets.values())
    assert options.root_key().text() == KEY


def test_the_root_key_is_made_once_and_read_by_every_gateway(tmp_path: Path) -> None:
    options = handed()
    assert options.root_key().text() == (tmp_path / "root.key").read_text("ascii").strip()
    assert handed().root_key() == options.root_key()


def test_a_root_key_that_is_gone_is_refused_in_words(tmp_path: Path) -> None:
    options = handed()
    (tmp_path / "root.key").unlink()
    with pytest.raises(Refused, match=r"root\.key cannot be read"):
        options.root_key()


def test_a_gateway_that_is_started_by_hand_reads_the_settings_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(HANDED)
    monkeypatch.setenv("HEADWAY_CONNECTIONS", "many")
    done = subprocess.run(
        [sys.executable, "-m", "headway.cli", "gateway"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 78
    assert "HEADWAY_CONNECTIONS" in done.stderr
    assert "Traceback" not in done.stderr
