"""What the runner needs from the outside: bytes by digest, and runtimes that run them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headway.kernel.errors import HeadwayError


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: its name, Open Inference datatype, and shape (-1: any)."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """Values of one size each as bytes, little-endian and row by row."""

    bytes: "bytes | memoryview"


@dataclass(frozen=True, slots=True)
class Tensor:
    """Values of one input or output, flat, in row-major order.

    Texts are never packed; BF16, which Python has not, always is when it comes out of a model.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any] | Packed


class CannotLoad(HeadwayError):
    """The bytes are no model that this runtime takes: the version's fault."""


class CorruptBytes(CannotLoad):
    """The stored bytes are not those that the digest names, or are gone: others must be sent."""


class CannotRun(HeadwayError):
    """The model failed on inputs that fit its description: the version's fault."""


class OutOfTime(HeadwayError):
    """The deadline passed and the run was stopped."""


class Session(Protocol):
    """A loaded model. `run` is called from several threads at a time."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def memory(self) -> int:
        """Return about how many bytes it holds."""

    def run(
        self, inputs: Sequence[Tensor], outputs: Sequence[str], stop: "Stop"
    ) -> Sequence[Tensor]:
        """Return the outputs asked for (all, if none are named).

        Raise `CannotRun`, or `OutOfTime` if `stop` asked it to end.
        """


class Runtime(Protocol):
    """Turns bytes into a session."""

    def load(self, model: bytes) -> Session:
        """Load from these very bytes, or raise `CannotLoad`."""


@dataclass(slots=True)
class Stop:
    """How a run is asked to end: at its deadline, or when the caller left, also before it began.

    Asked on one thread and heard on another; whichever comes second calls `end`.
    """

    end: Callable[[], None] | None = None
    asked: bool = False

    def when_asked(self, end: Callable[[], None]) -> None:
        """Let `end` be called when somebody asks, and at once if somebody has asked already."""
        self.end = end
        if self.asked:
            end()

    def ask(self) -> None:
        self.asked = True
        if self.end is not None:
            self.end()


class Store(Protocol):
    def read(self, digest: str) -> bytes:
        """Return bytes whose SHA-256 is the digest; `NotFound`, or `Corrupt` if they are not."""
