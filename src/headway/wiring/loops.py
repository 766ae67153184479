"""The loops of the control process: leased, so that any number may run anywhere."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from headway.kernel.errors import HeadwayError

Warn = Callable[[str, Exception], None]
_AFTER_FAILURE: Final = 1.0


@dataclass(slots=True)
class Loops:
    """Threads that do something again and again until they are stopped."""

    warn: Warn
    """Told the name of a loop and what it met; the loop goes on."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, name: str, every: float, do: Callable[[], object]) -> None:
        """Do it now and then every so many seconds; a failure is told and outlived."""

        def run() -> None:
            pause = 0.0
            while not self._stop.wait(pause):
                try:
                    do()
                    pause = every
                except HeadwayError as error:
                    self.warn(name, error)
                    pause = max(every, _AFTER_FAILURE)
                except Exception as error:  # noqa: BLE001 - a loop outlives what nobody expected
                    self.warn(name, error)
                    pause = max(every, _AFTER_FAILURE)

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, patience: float = 5.0) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(patience)
