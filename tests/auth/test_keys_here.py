"""Keys made and revoked on the machine that holds database and root key: no server, no key."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headway.auth.key import Secret, digester
from headway.auth.policy import Caller
from headway.auth.rootkey import Purpose, RootKey
from headway.auth.service import KeyService
from headway.cli.main import main
from headway.kernel.clock import utc_now
from headway.kernel.errors import Unauthenticated
from headway.persistence.engine import open_database
from headway.persistence.work import begin


class Machine:
    """A folder of data, the command line on it, and what a server there would say of a key."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(main, ["keys", *words, "--here"])

    def made(self, *words: str) -> str:
        done = self.run("create", *words)
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    def who(self, key: str) -> Caller:
        root = RootKey.parse((self.data / "root.key").read_text())
        with open_database(f"sqlite:///{self.data / 'headway.db'}", pool_size=1) as database:
            digest = digester(root.sub_key(Purpose.KEY_HASH))
            return KeyService(lambda: begin(database), utc_now, digest).authenticate(key)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("HEADWAY_DATA", str(tmp_path))
    monkeypatch.delenv("HEADWAY_KEY", raising=False)
    return Machine(tmp_path)


def test_a_lost_admin_key_is_replaced_on_the_machine_and_the_old_one_revoked(
    machine: Machine,
) -> None:
    lost = machine.made("lost", "--role", "admin")
    found = machine.made("found", "--role", "admin")
    assert machine.who(lost).role == machine.who(found).role == "admin"

    done = machine.run("revoke", Secret.parse(lost).id)

    assert (done.exit_code, done.stdout) == (0, f"{Secret.parse(lost).id} revoked\n")
    with pytest.raises(Unauthenticated):
        machine.who(lost)
    assert machine.who(found).name == "found"


def test_the_last_admin_key_is_not_revoked_here_either(machine: Machine) -> None:
    only = machine.made("only", "--role", "admin")
    done = machine.run("revoke", Secret.parse(only).id)
    assert done.exit_code != 0
    assert "the last key that may manage keys" in done.stderr
    assert "revoked" not in done.stdout
    assert machine.who(only).role == "admin"


def test_a_key_that_is_not_there_is_said_in_one_line(machine: Machine) -> None:
    machine.made("only", "--role", "admin")
    done = machine.run("revoke", "hw000000")
    assert done.exit_code != 0
    assert done.stderr.splitlines() == ["headway: there is no key 'hw000000'"]
    assert done.stdout == ""


def test_a_key_made_here_reaches_no_further_than_it_was_asked_to(machine: Machine) -> None:
    machine.made("admin", "--role", "admin")
    narrow = machine.who(machine.made("narrow", "--model", "bot-*", "--environment", "staging"))
    assert (narrow.role, narrow.models, narrow.environments) == (
        "caller",
        ("bot-*",),
        ("staging",),
    )
    assert machine.run("create", "odd", "--model", "no name!").exit_code != 0


def test_another_root_key_makes_and_revokes_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = machine.made("admin", "--role", "admin")
    machine.made("second", "--role", "admin")
    monkeypatch.setenv("HEADWAY_ROOT_KEY", RootKey.generate().text())
    for done in (machine.run("create", "x"), machine.run("revoke", Secret.parse(key).id)):
        assert done.exit_code == 78
        assert "this root key is not the one" in done.stderr
    assert machine.who(key).name == "admin"
