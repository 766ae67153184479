"""Loaded models: on first use, each once, the least recently used dropped, pinned ones never."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from headway.artifacts.artifact import Corrupt
from headway.kernel.errors import HeadwayError, NotFound
from headway.kernel.names import unknown_word
from headway.runner.blackbox import BlackBox
from headway.runner.ports import CannotLoad, CorruptBytes, Runtime, Session, Store

_REST: Final = 10
"""How many times as long as its load took a model rests that could not be loaded."""
_LOAD_SECONDS: Final = 125.0
"""A load of 120 s has not ended; 5 s later the runner does, since nothing else ends a load."""
_LONGEST_REST: Final = 60.0


class Quarantined(HeadwayError):
    """The model killed the runner twice: it is not loaded again for a while."""


@dataclass(slots=True)
class _Loading:
    """One load on its way; whoever else wants the same model waits for it."""

    done: threading.Event = field(default_factory=threading.Event)
    session: Session | None = None
    error: Exception | None = None


class Cache:
    """Called from several threads at a time; a load blocks only those who want that model."""

    def __init__(
        self,
        *,
        store: Store,
        runtimes: Mapping[str, Callable[[], Runtime]],
        limit: int,
        blackbox: BlackBox,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`limit`: bytes of all loaded models; the one just loaded may stand above it alone."""
        self._monotonic = monotonic
        self._store, self._factories, self._limit, self._blackbox = (
            store,
            runtimes,
            limit,
            blackbox,
        )
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._loading: dict[str, _Loading] = {}
        self._pinned: frozenset[str] = frozenset()
        self._runtimes: dict[str, Runtime] = {}
        self._corrupt: set[str] = set()
        self._resting: dict[str, tuple[float, CannotLoad]] = {}

    def ready(self, digest: str) -> Session | None:
        """Return a loaded model at once, or None."""
        with self._lock:
            session = self._sessions.get(digest)
            if session is not None:
                self._sessions.move_to_end(digest)
            return session

    def pin(self, digests: frozenset[str]) -> None:
        """Never drop these from now on, and any other when room is wanted."""
        with self._lock:
            self._pinned = digests

    def take_corrupt(self) -> tuple[str, ...]:
        """Return what was refused for its bytes since the last call; each is told once."""
        with self._lock:
            found, self._corrupt = tuple(self._corrupt), set()
        return found

    @property
    def loaded(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._sessions)

    def refusal(self, digest: str) -> CannotLoad | None:
        """Return why a model could not be loaded a moment ago: it would fail again.

        A load may take a minute of a processor. Were it tried for each request, a model that can
        never be loaded would keep others from being loaded.
        """
        with self._lock:
            until, error = self._resting.get(digest, (0.0, None))
            if error is not None and self._monotonic() >= until:
                del self._resting[digest]
                return None
            return error

    def load(self, digest: str, runtime: str = "onnx") -> Session:
        """Return the model, loading it from bytes that were hashed in this very call.

        Raise `CannotLoad` (`CorruptBytes`: the bytes are not what the digest says) or
        `Quarantined`.
        """
        if (session := self.ready(digest)) is not None:
            return session
        if self._blackbox.quarantined(digest):
            raise Quarantined(f"{digest} killed the runner twice and is not loaded for now")
        with self._lock:
            mine = digest not in self._loading
            loading = self._loading.setdefault(digest, _Loading())
        if not mine:
            loading.done.wait()
            if loading.session is None:
                raise loading.error or NotFound(digest)
            return loading.session
        began = self._monotonic()
        try:
            with self._blackbox.busy(digest, loading=True, within=_LOAD_SECONDS):
                loading.session = self._runtime(runtime).load(self._store.read(digest))
            self._keep(digest, loading.session)
        except (Corrupt, NotFound) as error:
            with self._lock:
                self._corrupt.add(digest)
            loading.error = CorruptBytes(str(error))
            raise loading.error from error
        except CannotLoad as error:
            loading.error = self._rest(digest, began, error)
            raise
        except MemoryError as error:
            words = f"{digest} wants more memory than the runner may use"
            loading.error = self._rest(digest, began, CannotLoad(words))
            raise loading.error from error
        except Exception as error:
            loading.error = error
            raise
        else:
            return loading.session
        finally:
            with self._lock:
                del self._loading[digest]
            loading.done.set()

    def _rest(self, digest: str, began: float, error: CannotLoad) -> CannotLoad:
        now = self._monotonic()
        rest = min(_REST * (now - began), _LONGEST_REST)
        with self._lock:
            self._resting[digest] = (now + rest, error)
        return error

    def _runtime(self, name: str) -> Runtime:
        if name not in self._factories:
            raise CannotLoad(unknown_word(name, self._factories, what="runtime"))
        with self._lock:
            if name not in self._runtimes:
                self._runtimes[name] = self._factories[name]()
            return self._runtimes[name]

    def _keep(self, digest: str, session: Session) -> None:
        with self._lock:
            self._sessions[digest] = session
            self._resting.pop(digest, None)
            held = sum(each.memory for each in self._sessions.values())
            for old in tuple(self._sessions):
                if held <= self._limit:
                    break
                if old not in self._pinned and old != digest:
                    held -= self._sessions.pop(old).memory
