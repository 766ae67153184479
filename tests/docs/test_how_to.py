"""What the how-tos and the README tell people to type works, typed as it stands."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.docs import test_code_of_pages
from tests.e2e.processes import free_port

from headway.demo.server import headway
from headway.testing.provider import ScriptedProvider

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
_PATIENCE_S = 240


@dataclass(frozen=True)
class Here:
    """A running Headway, a provider behind it, and what the pages call them."""

    url: str
    provider: str
    data: Path
    key: str

    def written(self, text: str) -> str:
        """Put the addresses of this run where the page has those of the reader."""
        return text.replace("http://127.0.0.1:11434/v1", self.provider).replace(
            "http://127.0.0.1:8000", self.url
        )

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if "HEADWAY" not in name}
        path = f"{Path(sys.executable).parent}:{kept['PATH']}"
        return kept | {
            "PATH": path,
            "HEADWAY_URL": self.url,
            "HEADWAY_KEY": self.key,
            "HEADWAY_DATA": str(self.data),
            **more,
        }


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    data = tmp_path_factory.mktemp("docs") / "data"
    with (
        pytest.MonkeyPatch.context() as patch,
        ScriptedProvider() as provider,
    ):
        patch.setenv("HEADWAY_TRUSTED_PROXIES", "127.0.0.1/32")
        with headway(data=data, port=free_port()) as url:
            key = (data / "admin.key").read_text("ascii").strip()
            yield Here(url, provider.url, data, key)


@pytest.fixture(scope="module")
def bot(here: Here, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have what the pages call `bot`: two versions that went out, one that is going out."""
    commands = """
        headway models create bot
        for number in 1.0.0 1.1.0 1.2.0; do
          headway versions create bot $number --base-url http://127.0.0.1:11434/v1
        done
        for number in 1.0.0 1.1.0; do
          echo "{model: bot, to: $number, strategy: direct, steps: [{send: 100%}]}" > plan.yaml
          headway deploy start plan.yaml --follow
        done
        steps='[{send: 5%, until: not 5x worse}, {send: 100%}]'
        echo "{model: bot, to: 1.2.0, steps: $steps}" > plan.yaml
        headway deploy start plan.yaml
    """
    typed(here.written(commands), tmp_path_factory.mktemp("bot"), here.environment())


def patiently(wanted: Callable[[], bool], *, what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not wanted():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {_PATIENCE_S} s: {what}")
        time.sleep(0.1)


def script(page: Path) -> str:
    """Return the page's commands as one script, in the order in which a reader types them."""
    blocks = re.findall(
        r"^```(sh|python)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert blocks, page
    return "\n".join(
        text if language == "sh" else f"python - <<'PYTHON'\n{text}PYTHON\n"
        for language, text in blocks
    )


def typed(commands: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Type it into a shell that stops at the first thing that fails; return what it said.

    It speaks into a file: what it leaves in the background would keep a pipe open.
    """
    told = folder / "told.txt"
    with (
        told.open("w", encoding="utf-8") as out,
        subprocess.Popen(
            ["/bin/bash", "-eu", "-o", "pipefail", "-c", commands],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        ) as shell,
    ):
        try:
            code = shell.wait(_PATIENCE_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
    said = told.read_text("utf-8")
    assert code == 0, said
    return said


@pytest.mark.usefixtures("bot")
@pytest.mark.parametrize(
    "name", ["chat-canary", "feedback", "keys", "limits", "prices", "roll-back"]
)
def test_the_commands_of_a_how_to_work(here: Here, tmp_path: Path, name: str) -> None:
    said = typed(here.written(script(HOW_TO / f"{name}.md")), tmp_path, here.environment())

    wanted = {
        "chat-canary": "1.0.0 is the stable version now",
        "feedback": "[True, True, True]",
        "keys": "rescue",
        "limits": "100,000 tpm, $50/month",
        "prices": "taken back",
        "roll-back": "1.1.0 answers again",
    }
    assert wanted[name] in said


@pytest.mark.usefixtures("bot")
def test_a_backup_is_a_whole_headway(here: Here, tmp_path: Path) -> None:
    typed(script(HOW_TO / "backup.md"), tmp_path, here.environment())

    with headway(data=tmp_path / "restored", port=free_port()) as url:
        look = "headway models show bot; headway routes show bot"
        was = typed(look, tmp_path, here.environment())
        assert typed(look, tmp_path, here.environment(HEADWAY_URL=url)) == was


def test_the_processes_can_be_started_one_by_one(here: Here, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = here.environment(
        HEADWAY_DATA=str(tmp_path / "data"), HEADWAY_PORT=str(port), HEADWAY_URL=url
    )
    commands = script(HOW_TO / "hosts.md").replace("http://127.0.0.1:8000", url)

    said = typed(commands, tmp_path, environment)

    assert '"status"' in said


def test_a_proxy_in_front_passes_traffic_and_pages(here: Here, tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("there is no nginx here")
    port = free_port()
    public = f"https://headway.example.com:{port}"
    page = (HOW_TO / "reverse-proxy.md").read_text("utf-8")
    (server,) = re.findall(r"^```nginx\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    server = here.written(server).replace("listen 443", f"listen 127.0.0.1:{port}")
    server = server.replace("/etc/ssl/", f"{tmp_path}/")
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/b;\n"
        f"proxy_temp_path {tmp_path}/p; fastcgi_temp_path {tmp_path}/f;\n"
        f"uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n{server}}}\n"
    )
    typed(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=headway.example.com "
        "-addext subjectAltName=DNS:headway.example.com -keyout headway.key -out headway.crt",
        tmp_path,
        here.environment(),
    )
    (tmp_path / ".curlrc").write_text(
        f'resolve = "headway.example.com:{port}:127.0.0.1"\ncacert = "{tmp_path}/headway.crt"\n'
    )
    with subprocess.Popen([nginx, "-p", tmp_path, "-c", tmp_path / "nginx.conf"]) as proxy:
        try:
            patiently(lambda: answers(port), what="nginx listens")
            commands = script(HOW_TO / "reverse-proxy.md")
            commands = commands.replace("https://headway.example.com", public)
            said = typed(
                f"{commands}\ncurl -sf {public}/login",
                tmp_path,
                here.environment(HOME=str(tmp_path)),
            )
        finally:
            proxy.terminate()
    assert '"object":"list"' in said.replace(" ", "")
    assert "Your key" in said


def answers(port: int) -> bool:
    with closing(socket.socket()) as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_every_how_to_is_tried_here_or_says_why_not() -> None:
    tried = set(re.findall(r'"([a-z-]+)(?:\.md)?"', Path(__file__).read_text("utf-8")))
    elsewhere = {"postgresql"}  # by the contract suites; its commands want servers of one's own
    elsewhere |= {page.removesuffix(".md") for page in test_code_of_pages.PAGES}

    assert {page.stem for page in HOW_TO.glob("*.md")} <= tried | elsewhere


def test_the_five_minutes_of_the_readme_work(here: Here, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text("utf-8").partition("## A first deployment")[2]
    page = tmp_path / "readme.md"
    page.write_text(readme.partition("\n## ")[0].replace("bot", "parcel-bot"))

    said = typed(here.written(script(page)), tmp_path, here.environment())

    assert "1.0.0 is the stable version now" in said
    assert "of 7: " in said
    assert "taken: helpful" in said
