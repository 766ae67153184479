"""The program whose writes are recorded: it creates, and says after each answer what was answered.

    python -m tests.chaos.writing [DATA ROUNDS MUTANT]...

One child after the other works on its data; each line on standard output is one answer that a
caller heard, after the first one, which names the data.
"""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from headway.adapters.stores import local
from headway.artifacts.service import ArtifactService
from headway.gateway import view
from headway.kernel.clock import utc_now
from headway.outbox.actor import Actor
from headway.persistence.engine import Database, checkpoint, open_database
from headway.persistence.work import begin
from headway.registry.service import RegistryService

MODEL: Final = "bot"
_ADA: Final = Actor("ada", "person")

NORMAL: Final = "synchronous=NORMAL"
NO_FOLDER: Final = "the folder of an artifact is not synced"
NO_FILE: Final = "the bytes of an artifact are not synced"
ROW_FIRST: Final = "the row of an artifact comes before its name"
TORN_VIEW: Final = "the view file is not synced"
VIEW_IN_PLACE: Final = "the view file is written over"
MUTANTS: Final = (NORMAL, NO_FOLDER, NO_FILE, VIEW_IN_PLACE, TORN_VIEW, ROW_FIRST)


def tell(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def content(number: int) -> bytes:
    """Return bytes that fill several sectors, other ones for each number."""
    return (b"%07d\n" % number) * 1_700


def document(number: int) -> dict[str, Any]:
    return {"generation": number, "text": f"{number:07d} " * 1_200}


def infect(mutant: str, database: Database) -> None:
    """Build one thing wrongly."""
    patched: Any = local
    match mutant:
        case "synchronous=NORMAL":

            def hurry(connection: Any, _record: object) -> None:  # noqa: ANN401 - a driver's own
                connection.execute("PRAGMA synchronous=NORMAL")

            sa.event.listen(database.engine, "connect", hurry)
        case "the folder of an artifact is not synced":
            patched._sync_folder = lambda _: None
        case "the bytes of an artifact are not synced":
            sync = local._sync
            patched._sync = lambda fd: sync(fd) if Path(f"/proc/self/fd/{fd}").is_dir() else None
        case "the row of an artifact comes before its name":
            rename = Path.rename
            late: list[partial[Path]] = []

            def postponed(self: Path, target: Path) -> Path:
                for one in late:
                    one()
                late[:] = [partial(rename, self, target)]
                return target

            patched.Path.rename = postponed
            patched.LocalStore.exists = lambda _self, _digest: True
        case "the view file is not synced":
            viewed: Any = view
            viewed.os = _Unsynced()
        case "the view file is written over":

            def save(self: view.ViewFile, document: Any, *, number: int) -> None:  # noqa: ANN401 - whatever the test says
                path = self.path
                self.path = path.with_name("aside")  # type: ignore[misc]
                view.ViewFile._save(self, document, number=number)  # type: ignore[attr-defined]
                self.path = path  # type: ignore[misc]
                with path.open("r+b" if path.exists() else "wb") as file:
                    file.write(path.with_name("aside").read_bytes())
                    file.flush()
                    os.fsync(file.fileno())

            changed: Any = view.ViewFile
            changed._save, changed.save = changed.save, save
        case _:
            assert not mutant, mutant


class _Unsynced:
    """The module `os`, but for one call."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module has
        return (lambda _: None) if name == "fsync" else getattr(os, name)


def live(data: Path, rounds: int, mutant: str) -> None:
    """Be a child."""
    file = view.ViewFile(data / "run" / "view.json")
    with open_database(f"sqlite:///{data}/headway.db", pool_size=2) as database:
        infect(mutant, database)
        work = partial(begin, database)
        registry = RegistryService(work, utc_now)
        store = local.LocalStore(data / "artifacts")
        artifacts = ArtifactService(work, store, utc_now, reserve=0)
        tell("begun", data)
        for number in range(rounds):
            target = {"provider": "openai", "base_url": "https://api.example.com/v1", "model": "m"}
            release = registry.release({"version": f"1.{number}.0", "target": target})
            made = registry.register_version(MODEL, release, actor=_ADA).version
            tell("version", made.number, made.digest)
            bytes_ = content(number)
            stored = artifacts.upload([bytes_[:5_000], bytes_[5_000:]], actor=_ADA)
            tell("artifact", stored.artifact.digest)
            file.save(document(number), number=number)
            tell("view", number)
            if number % 4 == 3:
                checkpoint(database)


def main() -> None:
    orders = iter(sys.argv[1:])
    for data, rounds, mutant in zip(orders, orders, orders, strict=True):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                live(Path(data), int(rounds), mutant)
                code = 0
            except BaseException as error:  # noqa: BLE001 - told, and never goes on
                sys.stderr.write(f"{mutant}: {error!r}\n")
                sys.stderr.flush()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(1)


if __name__ == "__main__":
    main()
