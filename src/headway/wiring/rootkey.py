"""Where the root key comes from: a file, the environment, or made once beside the data."""

import os
from contextlib import suppress
from pathlib import Path

from headway.auth.rootkey import RootKey
from headway.kernel.errors import Refused
from headway.settings import Settings
from headway.wiring.folders import private_folder


def load_root_key(settings: Settings) -> RootKey:
    """Return the installation's root key; on one machine it is made when there is none."""
    if settings.root_key_file is not None:
        try:
            return RootKey.parse(settings.root_key_file.read_text("utf-8", "replace"))
        except OSError as error:
            raise Refused(f"HEADWAY_ROOT_KEY_FILE cannot be read: {error.strerror}") from error
    if settings.root_key is not None:
        return RootKey.parse(settings.root_key.get_secret_value())
    path = private_folder(settings.data) / "root.key"
    with suppress(FileNotFoundError):
        return RootKey.parse(path.read_text("utf-8", "replace"))
    if settings.database_url is not None and not settings.database_url.startswith("sqlite"):
        raise Refused(
            "a database that several machines share needs one root key for all of them: set "
            "HEADWAY_ROOT_KEY_FILE or HEADWAY_ROOT_KEY (64 hex digits)"
        )
    _make(path)
    return RootKey.parse(path.read_text("ascii"))


def _make(path: Path) -> None:
    """Write a new key under its name at once: of several processes one wins, all read the same."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(RootKey.generate().text() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
