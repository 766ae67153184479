"""What the how-tos and the README tell people to type works, typed as it stands."""

import json
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
from headway.testing.provider import Received, Reply, ScriptedProvider, ToolCall

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
_PATIENCE_S = 240


@dataclass(frozen=True)
class Here:
    """A running Headway, a provider behind it, and what the pages call them."""

    url: str
    provider: ScriptedProvider
    data: Path
    key: str

    def written(self, text: str) -> str:
        """Put the addresses of this run where the page has those of the reader."""
        addresses = {
            "http://127.0.0.1:11434/v1": self.provider.url,
            "https://api.openai.com/v1": self.provider.url,
            "https://api.anthropic.com": self.provider.root,
            "https://my-resource.openai.azure.com": self.provider.root,
            "http://127.0.0.1:9000": self.provider.root,
            "http://127.0.0.1:8000": self.url,
            '"127.0.0.1:8000"': f'"{self.url.removeprefix("http://")}"',
        }
        for readers, ours in addresses.items():
            text = text.replace(readers, ours)
        return text

    def asked(self, path: str) -> Received:
        """Return the newest request that the provider got on a path."""
        return next(each for each in reversed(self.provider.requests) if each.path == path)

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


OTHER_PATHS: Mapping[str, object] = {
    "/v1/images/generations": {"created": 1, "data": [{"b64_json": "aGk="}]},
    "/v1/files": {
        "id": "file-7",
        "object": "file",
        "bytes": 3,
        "created_at": 1,
        "filename": "a.jsonl",
        "purpose": "batch",
        "status": "processed",
    },
    "/v1/batches": {
        "id": "batch-7",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-7",
        "completion_window": "24h",
        "created_at": 1,
        "status": "validating",
    },
    "/v1/audio/speech": {"this": "would be sound"},
    "/v1/audio/transcriptions": {"text": "good evening"},
}


def capable(request: Received) -> Reply:
    """Answer as a model that calls the tool it is given, and writes the JSON that it is asked."""
    if request.path in OTHER_PATHS:
        return Reply(body=json.dumps(OTHER_PATHS[request.path]).encode())
    asked = json.dumps(request.json)
    if re.search(r'"(json_schema|output_config)"', asked):
        return Reply(text='{"order": 7, "late": true}')
    if request.json.get("tools") and not re.search(r'"(tool|tool_result)"', asked):
        return Reply(tools=(ToolCall("find_order", '{"order": 7}'),))
    return Reply(text=f"An answer by {request.json.get('model')}.")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    data = tmp_path_factory.mktemp("docs") / "data"
    with (
        pytest.MonkeyPatch.context() as patch,
        ScriptedProvider(capable) as provider,
    ):
        patch.setenv("HEADWAY_TRUSTED_PROXIES", "127.0.0.1/32")
        for name in ("OPENAI", "ANTHROPIC", "AZURE"):
            patch.setenv(f"HEADWAY_SECRET_{name}", f"secret-of-{name.lower()}")
            patch.setenv(f"HEADWAY_SECRET_{name}_HOSTS", "127.0.0.1")
        with headway(data=data, port=free_port()) as url:
            key = (data / "admin.key").read_text("ascii").strip()
            yield Here(url, provider, data, key)


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


@pytest.fixture(scope="module")
def claude(here: Here, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Serve `claude` as its page says, and return what was said."""
    page = here.written(script(HOW_TO / "model-at-anthropic.md"))
    return typed(page, tmp_path_factory.mktemp("claude"), here.environment())


def test_a_model_at_anthropic_is_called_with_its_own_key(here: Here, claude: str) -> None:
    assert "gateways need HEADWAY_SECRET_ANTHROPIC in their environment" in claude
    assert "1.0.0 is the stable version now" in claude
    assert claude.count("An answer by claude-sonnet-4-5.") == 2
    asked = here.asked("/v1/messages")
    assert asked.headers["x-api-key"] == "secret-of-anthropic"
    assert "authorization" not in asked.headers
    assert asked.json["max_tokens"] == 2_000
    assert asked.system == "Answer in one sentence."


@pytest.mark.usefixtures("bot", "claude")
def test_programs_with_anthropics_sdk_work(here: Here, tmp_path: Path) -> None:
    page = here.written(script(HOW_TO / "call-with-anthropic-sdk.md"))

    said = typed(page, tmp_path, here.environment())

    assert said.count("An answer by bot.") == 3
    assert "end_turn" in said
    assert "find_order {'order': 7}" in said
    assert " tokens\n" in said
    assert "is not called like this" in said


@pytest.mark.usefixtures("bot")
def test_programs_with_openais_sdk_work(here: Here, tmp_path: Path) -> None:
    page = here.written(script(HOW_TO / "call-with-openai-sdk.md"))

    said = typed(page, tmp_path, here.environment())

    assert said.count("An answer by bot.") == 5
    assert 'find_order {"order": 7} An answer' in said
    assert "order=7 late=True" in said
    assert said.count("An answer by llama3.2.") == 2
    assert "2 vectors of" in said
    asked = next(each for each in reversed(here.provider.requests) if "of Acme" in each.system)
    assert asked.system == "You answer customers of Acme, in one sentence."
    assert asked.json["temperature"] == 0.2


@pytest.mark.usefixtures("bot")
def test_calls_by_hand_work(here: Here, tmp_path: Path) -> None:
    said = typed(here.written(script(HOW_TO / "call-with-curl.md")), tmp_path, here.environment())

    assert said.count("An answer by bot.") == 3
    assert "data: [DONE]" in said
    assert "headway-version: 1." in said.lower()


def test_a_model_at_openai_is_called_in_three_apis(here: Here, tmp_path: Path) -> None:
    said = typed(here.written(script(HOW_TO / "model-at-openai.md")), tmp_path, here.environment())

    assert said.count("1.0.0 is the stable version now") == 2
    assert said.count("An answer by gpt-5-mini.") == 2
    asked = here.asked("/v1/chat/completions")
    assert asked.headers["authorization"] == "Bearer secret-of-openai"
    assert asked.json["reasoning_effort"] == "low"
    assert here.asked("/v1/embeddings").json["model"] == "text-embedding-3-small"


def test_a_model_at_azure_is_called_in_both_forms(here: Here, tmp_path: Path) -> None:
    said = typed(here.written(script(HOW_TO / "model-at-azure.md")), tmp_path, here.environment())

    assert said.count("An answer by my-deployment.") == 2
    assert here.asked("/openai/v1/chat/completions")
    path = "/openai/deployments/my-deployment/chat/completions?api-version=2024-10-21"
    assert here.asked(path)


def test_a_model_at_any_compatible_endpoint_is_called(here: Here, tmp_path: Path) -> None:
    page = here.written(script(HOW_TO / "model-at-compatible-endpoint.md"))

    said = typed(page, tmp_path, here.environment())

    assert "An answer by llama3.2." in said
    assert 'HEADWAY_OUTBOUND_ALLOW="10.20.0.7:8000"' in said
    assert "not yet" in said


def test_a_model_at_an_inference_server_is_called_by_its_clients(
    here: Here, tmp_path: Path
) -> None:
    page = here.written(script(HOW_TO / "model-at-inference-server.md"))

    said = typed(page, tmp_path, here.environment())

    assert "scorer 1.0.0\nready: True" in said
    assert '"data":[0.5,1.5]' in said.replace(" ", "")
    assert here.asked("/v2/models/scorer/infer").json["inputs"][0]["name"] == "x"


def test_other_paths_of_a_provider_are_used(here: Here, tmp_path: Path) -> None:
    page = here.written(script(HOW_TO / "other-provider-paths.md"))

    said = typed(page, tmp_path, here.environment())

    assert "aGk= batch-7 26 good evening" in said
    assert here.asked("/v1/images/generations").json["model"] == "gpt-image-1"
    assert b"questions.jsonl" in here.asked("/v1/files").body
    assert here.asked("/v1/audio/speech").json["model"] == "gpt-image-1"
    assert b'name="model"\r\n\r\ngpt-image-1\r\n' in here.asked("/v1/audio/transcriptions").body


def test_callers_change_nothing_when_their_model_goes_from_gpt_to_claude(
    here: Here, tmp_path: Path
) -> None:
    page = here.written(script(HOW_TO / "from-gpt-to-claude.md"))

    said = typed(page, tmp_path, here.environment())

    assert "('1.0.0', 'gpt-5-mini')" in said
    assert "('2.0.0', 'claude-sonnet-4-5')" in said
    assert here.asked("/v1/messages").system == "You answer customers of Acme."


def test_a_deployment_that_fails_says_why_and_ends_its_pipeline(
    here: Here, tmp_path: Path
) -> None:
    commands = """
        headway models create hasty
        headway versions create hasty 1.0.0 --base-url http://127.0.0.1:11434/v1 \\
          --credential nowhere
        steps='[{check: [smoke], within: 3s}, {send: 100%}]'
        echo "{model: hasty, to: 1.0.0, steps: $steps}" > plan.yaml
        headway deploy start plan.yaml --follow || echo "ended with $?"
        headway versions create hasty 1.1.0 --base-url http://127.0.0.1:9000
    """

    said = typed(here.written(commands), tmp_path, here.environment())

    assert "set HEADWAY_SECRET_NOWHERE" in said
    assert "ended with 1" in said
    assert "the base URL has no path" in said


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
    assert " of 7: " in said
    assert "taken: helpful" in said

    def shown() -> str:
        return typed(here.written("headway deploy show parcel-bot"), tmp_path, here.environment())

    # The check passes, and there it stays: one question proves nothing.
    first_share = "running, step 2 of 7: send 1% until not 20x worse"
    patiently(lambda: first_share in shown(), what=first_share)

    # The way out that it ends with.
    out = "headway deploy abort bot"
    assert out in readme
    typed(here.written(out.replace("bot", "parcel-bot")), tmp_path, here.environment())
    patiently(lambda: "rolled back" in shown(), what="everybody is back")
