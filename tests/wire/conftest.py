"""Every test of the engine runs on plain asyncio and on uvloop."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from tests.wire.peers import Run

from headway.wire.loop import run as run_on

T = TypeVar("T")


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on one of the two loops; hangs end after 20 seconds."""

    def within(main: Coroutine[Any, Any, T], /) -> T:
        async def limited() -> T:
            async with asyncio.timeout(20):
                return await main

        return run_on(limited(), plain=request.param == "asyncio")

    return within
