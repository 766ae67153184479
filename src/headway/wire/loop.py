"""Which event loop runs: uvloop where it exists, plain asyncio elsewhere."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(*, plain: bool = False) -> LoopFactory:
    """Return what makes an event loop; `plain` asks for asyncio's own in any case."""
    if not plain:
        try:
            import uvloop  # noqa: PLC0415 -- there is none on some platforms, and we do not need it
        except ImportError:
            pass
        else:
            return uvloop.new_event_loop
    return asyncio.new_event_loop


def run(main: Coroutine[Any, Any, T], *, plain: bool = False) -> T:
    """Run a coroutine to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=loop_factory(plain=plain)) as runner:
        return runner.run(main)
