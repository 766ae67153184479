"""Whether what speaks to the database is installed, known before anything is loaded."""

from importlib.util import find_spec
from typing import Final

from headway.kernel.errors import Refused
from headway.settings import Settings

_MISSING: Final = (
    "PostgreSQL needs an extra that is not installed: install headway[postgres], in the clone "
    "`pip install '.[postgres]'`"
)


def check_driver(settings: Settings) -> None:
    """Raise `Refused` where PostgreSQL is asked for and its driver is missing."""
    if settings.database.startswith("postgres") and find_spec("psycopg") is None:
        raise Refused(_MISSING)
