"""What a disk may hold after a power cut: a recording of a program's writes, and their fates.

`record` runs a program under strace. `Disk` plays the recording back on a model that is stricter
than most file systems: what was not synced may be lost, kept or torn, each write for itself and in
any order; a name (of a new file, a renamed one, one that was removed) lasts only once its folder
was synced. The map that SQLite shares between processes (`-shm`) never lasts.

`Kept` is also what a `kill -9` leaves: all that was handed to the kernel.
"""

import random
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_CALLS: Final = (
    "openat,creat,write,pwrite64,writev,pwritev,pwritev2,lseek,fsync,fdatasync,sync_file_range,"
    "rename,renameat,renameat2,ftruncate,truncate,fallocate,unlink,unlinkat,mkdir,mkdirat,rmdir,"
    "link,linkat,symlink,symlinkat,mmap,copy_file_range,sendfile"
)
_LINE: Final = re.compile(r"(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+)(.*)")
_TEXT: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FILE: Final = re.compile(r"(\d+)<((?:\\x[0-9a-f]{2})*)>")
_HARMLESS: Final = frozenset({"sync_file_range"})


class NoStrace(Exception):
    """strace is not there, or may not look into other programs."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the recorded program that touched its data, or told somebody something."""

    name: str
    path: str
    """Below the data; empty for what was told."""
    data: bytes = b""
    number: int = 0
    """An offset or a length."""
    to: str = ""
    """The new name."""


def record(
    command: Sequence[str], *, roots: Sequence[Path], log: Path, cwd: Path
) -> list[list[Call]]:
    """Run it to its end; return what its children did below each root and told, in order.

    One child works below one root, and names it in the first words that it tells.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise NoStrace("strace is not installed")
    done = subprocess.run(
        [
            *(strace, "-f", "-y", "-xx", "-s", "100000000", "--seccomp-bpf"),
            *("-e", f"trace={_CALLS}", "-e", "signal=none", "-o", str(log), *command),
        ],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    if "ptrace" in done.stderr:
        raise NoStrace(f"strace may not trace here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr[-2_000:]
    children: dict[str, list[str]] = {}
    with log.open(encoding="ascii") as lines:
        for line in lines:
            child, _, call = line.partition(" ")
            children.setdefault(child, []).append(call.lstrip())
    return [_of(root, children.values()) for root in map(str, roots)]


def _of(root: str, children: Iterable[Sequence[str]]) -> list[Call]:
    for lines in children:
        calls = list(_calls(lines, root))
        told = next((call.data.decode().split() for call in calls if call.name == "told"), [])
        if told[-1:] == [root]:
            return calls
    raise AssertionError(f"nobody worked below {root}")


def _calls(lines: Sequence[str], root: str) -> Iterator[Call]:
    at: dict[int, int] = {}
    for line in lines:
        assert "unfinished" not in line, f"two threads at once cannot be replayed: {line[:200]}"
        found = _LINE.match(line)
        if found is None or found[3].startswith("-"):
            continue  # a signal, an end, or a call that failed
        name, arguments, result = found[1], found[2], int(found[3], 0)
        texts = [_bytes(text) for text in _TEXT.findall(arguments)]
        open_ = _FILE.match(arguments)
        number = int(open_[1]) if open_ else -1
        path = _bytes(open_[2]).decode() if open_ else ""
        inside = path == root or path.startswith(root + "/")
        below = path[len(root) + 1 :] if inside else ""
        match name:
            case "write" if number == 1:
                yield Call("told", "", texts[0])
            case "write" if inside:
                yield Call("write", below, texts[0][:result], at[number])
                at[number] += result
            case "pwrite64" if inside:
                offset = int(arguments.rsplit(", ", 1)[1])
                yield Call("write", below, texts[0][:result], offset)
            case "lseek" if inside:
                at[number] = result
            case "fsync" | "fdatasync" if inside:
                yield Call("sync", below)
            case "ftruncate" if inside:
                yield Call("cut", below, number=int(arguments.rsplit(", ", 1)[1]))
            case "openat":
                opened = texts[0].decode()
                at[result] = 0
                assert "O_APPEND" not in arguments or not opened.startswith(root)
                if opened.startswith(root + "/") and "O_CREAT" in arguments:
                    yield Call("create", opened[len(root) + 1 :])
                if opened.startswith(root + "/") and "O_TRUNC" in arguments:
                    yield Call("cut", opened[len(root) + 1 :])
            case "rename" | "renameat" | "renameat2" | "link" | "linkat":
                old, new = (text.decode() for text in texts)
                if new.startswith(root + "/"):
                    verb = "rename" if name.startswith("rename") else "link"
                    yield Call(verb, old[len(root) + 1 :], to=new[len(root) + 1 :])
            case "unlink" | "unlinkat" | "mkdir" | "mkdirat":
                named = texts[0].decode()
                if named.startswith(root + "/"):
                    yield Call("remove" if "unlink" in name else "folder", named[len(root) + 1 :])
            case "mmap" if inside:
                private = "MAP_PRIVATE" in arguments or "PROT_WRITE" not in arguments
                assert private or below.endswith("-shm"), line[:300]
            case _:
                touched = inside or any(text.startswith(root.encode() + b"/") for text in texts)
                assert not touched or name in _HARMLESS, f"cannot be replayed: {line[:300]}"


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


# ── what survives ────────────────────────────────────────────────────────────────────────────


class Fate:
    """What becomes of what was not synced. This one: all of it is lost."""

    name = "lost"

    def names(self, several: int) -> int:
        """Return how many of so many changes of one folder last, in their order."""
        return 0 * several

    def cut(self) -> bool:
        """Say whether a file that was shortened stays short."""
        return False

    def pieces(self, data: bytes) -> Iterator[tuple[int, bytes]]:  # noqa: ARG002 - none of it
        """Return the pieces of one write that last, with where in it they begin."""
        yield from ()


class Kept(Fate):
    """All of it lasts: what a killed process leaves."""

    name = "kept"

    def names(self, several: int) -> int:
        return several

    def cut(self) -> bool:
        return True

    def pieces(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        yield 0, data


class OnlyNames(Kept):
    """Files are called as they should be, and hold nothing new."""

    name = "only names"

    def pieces(self, data: bytes) -> Iterator[tuple[int, bytes]]:  # noqa: ARG002 - see above
        yield from ()


class OnlyBytes(Kept):
    """Bytes last, and names do not."""

    name = "only bytes"

    def names(self, several: int) -> int:
        return 0 * several


class Torn(Fate):
    """Chance decides of each name and of each sector."""

    def __init__(self, sector: int, chance: random.Random) -> None:
        self.name = f"torn at {sector}"
        self._sector = sector
        self._chance = chance

    def names(self, several: int) -> int:
        return self._chance.randint(0, several)

    def cut(self) -> bool:
        return self._chance.random() < 0.5

    def pieces(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        share = self._chance.choice([0.0, 0.5, 1.0, 1.0])
        for start in range(0, len(data), self._sector):
            if self._chance.random() < share:
                yield start, data[start : start + self._sector]


# ── the disk ─────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _File:
    synced: bytes = b""
    late: list[tuple[bytes, int] | int] = field(default_factory=list)
    """Writes (bytes, offset) and lengths that it was cut to."""

    def content(self, fate: Fate) -> bytes:
        content = bytearray(self.synced)
        for one in self.late:
            if isinstance(one, int):
                if fate.cut():
                    _stretch(content, one)
                    del content[one:]
                continue
            data, offset = one
            for start, piece in fate.pieces(data):
                _stretch(content, offset + start)
                content[offset + start : offset + start + len(piece)] = piece
        return bytes(content)

    def sync(self) -> None:
        self.synced = self.content(Kept())
        self.late.clear()


def _stretch(content: bytearray, length: int) -> None:
    content.extend(bytes(max(0, length - len(content))))


@dataclass(slots=True)
class _Folder:
    synced: dict[str, "_File | _Folder"] = field(default_factory=dict)
    late: list[tuple[str, "_File | _Folder | None"]] = field(default_factory=list)
    """Changes of names: what each stands for now, None if for nothing."""

    def entries(self, fate: Fate) -> dict[str, "_File | _Folder"]:
        entries = dict(self.synced)
        for name, stands_for in self.late[: fate.names(len(self.late))]:
            if stands_for is None:
                entries.pop(name, None)
            else:
                entries[name] = stands_for
        return entries

    def sync(self) -> None:
        self.synced = self.entries(Kept())
        self.late.clear()


class Disk:
    """A disk on which a recording is played back, call by call."""

    def __init__(self, root: Path) -> None:
        """Begin with what stands below `root`, all of it synced."""
        self._root = _Folder()
        for path in sorted(root.rglob("*")):
            inside = str(path.relative_to(root))
            made = _Folder() if path.is_dir() else _File(path.read_bytes())
            self._parent(inside).synced[path.name] = made

    def play(self, call: Call) -> None:
        match call.name:
            case "create" if self._find(call.path) is None:
                self._name(call.path, _File())
            case "folder":
                self._name(call.path, _Folder())
            case "write":
                self._file(call.path).late.append((call.data, call.number))
            case "cut":
                self._file(call.path).late.append(call.number)
            case "sync":
                found = self._find(call.path)
                assert found is not None, call.path
                found.sync()
            case "rename":
                moved = self._file(call.path)
                self._name(call.path, None)
                self._name(call.to, moved)
            case "link":
                self._name(call.to, self._file(call.path))
            case "remove":
                self._name(call.path, None)
            case _:  # a file that is there is opened
                pass

    def after(self, fate: Fate) -> dict[str, bytes]:
        """Return each file that is found when the power is back."""
        return dict(_files(self._root, fate, ""))

    def _find(self, path: str) -> _File | _Folder | None:
        found: _File | _Folder | None = self._root
        for name in filter(None, path.split("/")):
            assert isinstance(found, _Folder), path
            found = found.entries(Kept()).get(name)
        return found

    def _file(self, path: str) -> _File:
        found = self._find(path)
        assert isinstance(found, _File), path
        return found

    def _parent(self, path: str) -> _Folder:
        found = self._find(path.rpartition("/")[0])
        assert isinstance(found, _Folder), path
        return found

    def _name(self, path: str, stands_for: _File | _Folder | None) -> None:
        self._parent(path).late.append((path.rpartition("/")[2], stands_for))


def _files(folder: _Folder, fate: Fate, before: str) -> Iterator[tuple[str, bytes]]:
    for name, found in folder.entries(fate).items():
        path = f"{before}{name}"
        if isinstance(found, _Folder):
            yield from _files(found, fate, f"{path}/")
        elif not name.endswith("-shm"):
            yield path, found.content(fate)


def lay_out(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files of a disk below a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
