"""Looks names up without making anybody wait who wants another name.

Each connection that is made looks its name up anew, so that a change is followed at once; those
who want the same name at the same time share one look-up. A look-up blocks a thread of its own:
the pools of asyncio and uvloop have four or six for all names, and one slow name would take them.
What was found last answers for a while where the resolver fails or dawdles.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Look: TypeAlias = Callable[[str, int], list[str]]
"""Returns the addresses of a name, or raises `OSError`. Blocks."""

MOST_AT_ONCE: Final = 64
"""Names that are being looked up; more fail at once."""
DAWDLES: Final = 1.0
"""Seconds after which the last addresses are taken, if there are any."""
REMEMBERED: Final = 300.0
"""Seconds for which addresses answer in place of a resolver that fails."""


def look_up(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(item[4][0]) for item in found]


@dataclass(slots=True)
class Resolver:
    """Lives on one loop's thread."""

    look: Look = look_up
    clock: Callable[[], float] = time.monotonic
    _asked: "dict[tuple[str, int], asyncio.Future[list[str]]]" = field(default_factory=dict)
    _found: dict[tuple[str, int], tuple[float, list[str]]] = field(default_factory=dict)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a name, or raise `OSError`."""
        wanted = (host, port)
        kept = self._kept(wanted)
        asked = self._asked.get(wanted) or self._ask(wanted)
        try:
            # Shielded: others may wait for the same.
            return await asyncio.wait_for(asyncio.shield(asked), DAWDLES if kept else None)
        except (OSError, TimeoutError):
            if kept is None:
                raise
            return kept

    def _kept(self, wanted: tuple[str, int]) -> list[str] | None:
        at, found = self._found.get(wanted, (0.0, None))
        return found if found and self.clock() - at < REMEMBERED else None

    def _ask(self, wanted: tuple[str, int]) -> "asyncio.Future[list[str]]":
        if len(self._asked) >= MOST_AT_ONCE:
            raise OSError("too many names are being looked up")
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[list[str]] = loop.create_future()
        self._asked[wanted] = asked

        def tell(found: Any) -> None:  # noqa: ANN401 - addresses or an error
            del self._asked[wanted]
            if isinstance(found, Exception):
                asked.set_exception(found)
                asked.exception()  # nobody may be waiting any more
            else:
                self._found[wanted] = (self.clock(), found)
                asked.set_result(found)

        def work() -> None:
            found: Any
            try:
                found = self.look(*wanted)
            except Exception as error:  # noqa: BLE001 - it belongs to who waits
                found = error if isinstance(error, OSError) else OSError(repr(error))
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(tell, found)

        # A daemon: one that hangs must not keep the process from ending.
        threading.Thread(target=work, name=f"resolve {wanted[0]}", daemon=True).start()
        return asked
