"""Every command does what it says, in a table or in JSON, and says in one line why it does not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import click
import httpx2
import pytest
from click.testing import CliRunner
from tests.cli.conftest import Shell
from tests.persistence.examples import batch
from tests.web.world import World

from headway.cli.client import Client
from headway.cli.main import main

TARGET = "--base-url https://api.example.com/v1 --upstream-model"


def every_command(command: click.Command, words: str) -> Iterator[str]:
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from every_command(found, f"{words} {name}".strip())


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(option: str) -> None:
    every = list(every_command(main, ""))
    assert len(every) > 50
    for words in every:
        answer = CliRunner().invoke(main, [*words.split(), option], prog_name="headway")
        assert answer.exit_code == 0, words
        assert answer.stdout.startswith(f"Usage: headway {words}".rstrip()), words
        assert answer.stderr == "", words


@pytest.fixture
def lived_in(shell: Shell, tmp_path: Path) -> Shell:
    """Have a model of two versions, a deployment that is under way, a price, a file."""
    shell.done("models create bot --tag team=search")
    shell.done(f"versions create bot 1.0.0 {TARGET} a")
    shell.done(f"versions create bot 1.1.0 {TARGET} b")
    plan = tmp_path / "plan.yaml"
    plan.write_text("{model: bot, to: 1.0.0, strategy: direct}")
    shell.done(f"deploy start {plan}")
    shell.done("prices set a --in 1 --out 2")
    return shell


READS = [
    "models list",
    "models show bot",
    "versions list bot",
    "versions show bot latest",
    "versions compare bot 1.0.0 1.1.0",
    "deploy list",
    "deploy show",
    "deploy why bot",
    "rollback list",
    "measurements bot",
    "prices list",
    "prices show bot 1.0.0",
    "keys list",
]


def test_what_is_shown_is_a_table_or_json(lived_in: Shell) -> None:
    for words in READS:
        table = lived_in.done(words)
        found = json.loads(lived_in.done(f"{words} -o json"))

        assert table.strip(), words
        assert not table.lstrip().startswith(("{", "[")), words
        assert isinstance(found, list if " list" in words or " why" in words else dict), words


def test_prices_are_written_out_however_large_or_small(shell: Shell) -> None:
    told = shell.done("prices set a --in 1000000 --out 0.000001 --cached 0 --cache-write 0.25")

    assert told == "a at *: input $1,000,000, output $0.000001, cached $0, cache_write $0.25\n"


def test_a_version_that_is_there_is_not_said_to_be_registered_anew(shell: Shell) -> None:
    shell.done("models create bot")
    first = shell.done(f"versions create bot 1.0.0 {TARGET} a")
    again = shell.done(f"versions create bot 1.0.0 {TARGET} a")
    digest = json.loads(shell.done("versions show bot 1.0.0 -o json"))["digest"][:19]

    assert first.startswith(f"bot 1.0.0 registered, {digest}\n")
    assert again.startswith(f"bot 1.0.0 was there already, the very same, {digest}\n")


def test_a_route_that_is_off_says_so(shell: Shell) -> None:
    shell.done("models create bot")
    shell.done(f"versions create bot 1.0.0 {TARGET} a")
    arms = [{"key": "stable", "version": "1.0.0", "share_bp": 10_000}]
    body = {"rules": [{"arms": arms}]}
    with closing(Client(shell.url, shell.key)) as client:
        client.call("PUT", "/routes/bot/production", json=body, headers={"If-Match": "*"})

    assert "off" not in shell.done("routes show bot")
    assert shell.done("routes disable bot --why maintenance") == "bot/production is off\n"
    assert "off, nobody is answered: " in shell.done("routes show bot")
    assert json.loads(shell.done("routes show bot -o json"))["enabled"] is False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("models show bto", "404: "),
        ("versions create bot 1.x --base-url http://a", "MAJOR.MINOR.PATCH"),
        ("deploy list --state runing", "did you mean 'running'?"),
        ("routes explain bot ada --at yesterday", "2026-12-01T09:00:00Z"),
        ("keys create x --model a/b", "/models/0: 'a/b' cannot name a model"),
        ("measurements bot --step 5x", "'5x' is no duration"),
        ("feedback nothing* correct=1", "is no id of a request"),
    ],
)
def test_what_the_server_refuses_is_told_in_one_line(
    lived_in: Shell, words: str, said: str
) -> None:
    answer = lived_in(words)

    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith("Error: ")
    assert len(answer.stderr.splitlines()) == 1
    assert said in answer.stderr


def test_a_part_of_a_path_never_becomes_another_path(lived_in: Shell) -> None:
    for name in ("../keys", "bot?limit=1", "bot#x", "a/b", "..", ""):
        words = ["models", "show", name]
        answer = CliRunner().invoke(main, words, env=lived_in.variables)
        assert answer.exit_code == 1, name


@pytest.mark.parametrize("text", ['{"a":', "[1]", "\udcff"])
def test_a_file_that_is_no_version_is_told_in_one_line(
    shell: Shell, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "version.json"
    file.write_text(text, "utf-8", "surrogateescape")
    answer = shell(f"versions create bot 1.0.0 --file {file}")

    assert answer.exit_code == 2
    assert len(answer.stderr.splitlines()) == 1
    assert f"{file} is no " in answer.stderr


def test_a_file_that_cannot_be_written_is_told_in_one_line(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"bytes")
    digest = shell.done(f"artifacts upload {tmp_path / 'f'}").strip()
    answer = shell(f"artifacts fetch {digest} {tmp_path / 'nowhere' / 'g'}")

    assert answer.exit_code == 2
    assert "No such file or directory" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_a_disk_that_is_full_is_told_in_one_line(lived_in: Shell) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "headway.cli", "models", "list"],
            env=os.environ | lived_in.variables,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "Error: No space left on device\n"


def test_who_reads_only_the_beginning_gets_no_complaint(lived_in: Shell) -> None:
    command = f"{sys.executable} -m headway.cli models list -o json"
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command} | true"],
        env=os.environ | lived_in.variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "columns"),
    [
        ("deploy list", 30),
        ("deploy list", 60),
        ("deploy list", 100),
        ("models list", 40),
        ("keys list", 40),
        ("keys list", 80),
    ],
)
def test_a_narrow_screen_loses_nothing(lived_in: Shell, words: str, columns: int) -> None:
    said = lived_in.on_a_screen(words, columns=columns, NO_COLOR="1")
    together = "".join(said.split())

    for row in json.loads(lived_in.done(f"{words} -o json")):
        for field in ("id", "name", "state", "role", "version"):
            assert str(row.get(field, "")) in together, field
        if columns >= 40 and words != "keys list":
            assert row["created_at"][:19].replace("T", " ") in said
    assert max(map(len, said.splitlines())) <= columns


def test_without_colour_there_is_none(lived_in: Shell) -> None:
    assert "\x1b" in lived_in.on_a_screen("models list", columns=100)
    assert "\x1b" not in lived_in.on_a_screen("models list", columns=100, NO_COLOR="1")
    assert "\x1b" not in lived_in.done("models list")


@pytest.mark.parametrize("key", ["hw_a b", "hw_a\nb", "schlüssel"])
def test_a_key_that_is_none_is_not_shown(shell: Shell, key: str) -> None:
    answer = shell("models list", HEADWAY_KEY=key)

    assert answer.exit_code == 2
    assert "HEADWAY_KEY" in answer.stderr
    assert key.split(maxsplit=1)[0] not in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "address",
    ["http://", "http://127.0.0.1:99999", "http://me:CANARY@127.0.0.1", "foo", "http://[::1"],
)
def test_an_address_that_is_none_is_told_before_anybody_is_asked(
    shell: Shell, address: str
) -> None:
    answer = shell("models list", HEADWAY_URL=address)

    assert answer.exit_code == 2
    assert "HEADWAY_URL" in answer.stderr
    assert "CANARY" not in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


class Other(BaseHTTPRequestHandler):
    """Another server than Headway."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>hello")

    def log_message(self, *_: object) -> None:
        pass


def test_another_server_is_told_from_headway(shell: Shell) -> None:
    with HTTPServer(("127.0.0.1", 0), Other) as server:
        Thread(target=server.serve_forever).start()
        answer = shell("models list", HEADWAY_URL=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()

    assert answer.exit_code == 3
    assert "is no Headway" in answer.stderr


def test_a_role_that_does_not_suffice_is_told_with_what_it_lacks(
    types: Callable[[str], Shell],
) -> None:
    answer = types("viewer")("models create bot")

    assert answer.exit_code == 1
    assert "403" in answer.stderr
    assert "models.write" in answer.stderr


def test_a_key_is_waited_for_until_every_gateway_knows_it(
    shell: Shell, world: World, asked: list[Callable[[str], None]]
) -> None:
    with world.begin() as work:
        work.gateways.start(boot="b1", host="h", pid=1)
        work.commit()
    looks: list[str] = []

    def follow(what: str) -> None:
        """Be a gateway that follows at the second look."""
        if what.startswith("GET /api/v1/keys/"):
            looks.append(what)
            if len(looks) % 2 == 0:
                with world.begin() as work:
                    generation = work.source.generation()
                    seq = len(looks) // 2
                    work.gateways.flush(batch(seq, boot="b1", applied_generation=generation))
                    work.commit()

    asked.append(follow)
    made = shell.done("keys create shop")
    assert made.startswith("hw_")
    assert world.keys.in_force()
    assert shell.done(f"keys change {made[3:11]} --rpm 5") == f"{made[3:11]}: 5 rpm\n"
    assert world.keys.in_force()
    assert shell.done(f"keys revoke {made[3:11]}") == f"{made[3:11]} revoked\n"
    assert world.keys.in_force()
    assert len(looks) == 6


def test_a_gateway_that_does_not_follow_is_not_waited_for_for_ever(
    shell: Shell, world: World
) -> None:
    with world.begin() as work:
        work.gateways.start(boot="b1", host="h", pid=1)
        work.commit()
    answer = shell("keys create shop")

    assert answer.exit_code == 0
    assert answer.stdout.startswith("hw_")
    assert "it is not known that every gateway follows that yet" in answer.stderr


def test_a_key_for_a_model_that_is_not_there_is_made_with_a_warning(shell: Shell) -> None:
    shell.done("models create bot")
    answer = shell("keys create shop --model bot --model nope --model no*")

    assert answer.exit_code == 0
    assert answer.stdout.startswith("hw_")
    assert answer.stderr.count("there is no model") == 1
    assert "there is no model nope" in answer.stderr


def test_a_price_that_no_version_pays_is_kept_with_a_warning(shell: Shell) -> None:
    shell.done("models create bot")
    shell.done("versions create bot 1.0.0 --base-url http://127.0.0.1:9/v1 --upstream-model llama")
    told = "no version calls a model of that name at that host"

    assert told in shell("prices set bot --host 127.0.0.1 --in 1").stderr
    assert shell("prices set llama --host 127.0.0.1 --in 1").stderr == ""
    assert told in shell("prices set llama --host api.openai.com --in 1").stderr
    assert "no version calls a model of that name anywhere" in shell("prices set b --in 1").stderr


def test_a_rollback_to_nothing_is_told_without_a_pointer_into_what_nobody_wrote(
    shell: Shell,
) -> None:
    shell.done("models create bot")
    shell.done(f"versions create bot 1.0.0 {TARGET} a")
    arms = [{"key": "stable", "version": "1.0.0", "share_bp": 10_000}]
    httpx2.put(
        f"{shell.url}/api/v1/routes/bot/production",
        json={"rules": [{"arms": arms}]},
        headers={"Authorization": f"Bearer {shell.key}"},
    ).raise_for_status()

    answer = shell("rollback start bot --why because")

    assert answer.exit_code == 1
    assert answer.stderr.startswith("Error: 422: bot")
    assert "has nothing before it: name a version instead" in answer.stderr
