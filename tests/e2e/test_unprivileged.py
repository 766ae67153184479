"""Headway needs no rights of its own, and lets nobody else read what it keeps."""

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.processes import processes_of
from tests.e2e.test_secrets import serving

import headway

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
_NOBODY = 65_534
_WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""For where nobody may not even read the program: root without any of root's rights."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder that is reached by everybody; pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="hwu") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def read_by_all(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in path.parents)


def test_nobody_can_run_it_and_nobody_else_can_read_it(folder: Path, tmp_path: Path) -> None:
    data = folder / "d"
    data.mkdir(mode=0o700)
    me, user = os.geteuid(), None
    before: tuple[str, ...] = ()
    if me == 0:
        program = (Path(sys.executable), Path(sys.executable).resolve(), Path(headway.__file__))
        if all(map(read_by_all, program)):
            me = user = _NOBODY
            os.chown(data, me, me)
        else:
            before = _WITHOUT_RIGHTS
    with serving(data, {}, tmp_path / "log", user=user, before=before) as served:
        assert served.call("POST", "/api/v1/models", {"name": "bot"})[0] == 201
        bytes_ = served.call("POST", "/api/v1/artifacts", b"\x08\x09\x12\x07headway" * 100)
        assert bytes_[0] == 201
        served.until("GET", "/readyz", wanted=200)
        for kind in ("control", "scribe", "gateway", "runner"):
            (process,) = processes_of(data, kind)
            told = dict(
                line.split(":\t", 1)
                for line in Path(f"/proc/{process}/status").read_text().splitlines()
                if ":\t" in line
            )
            assert told["Uid"].split() == [str(me)] * 4
            assert int(told["CapEff"], 16) == 0
        found = {path: path.lstat() for path in [data, *data.rglob("*")]}
    assert {info.st_uid for info in found.values()} == {me}
    names = {path.name for path in found}
    assert {"headway.db", "headway.db-wal", "root.key", "admin.key", "control.sock"} <= names
    open_to_others = {
        str(path.relative_to(data)): stat.filemode(info.st_mode)
        for path, info in found.items()
        if info.st_mode & 0o077
    }
    assert open_to_others == {}
