"""What a contender runs on: an event loop of one kind or another, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, TypeVar

import uvloop

from benchmarks.orders import blocking

T = TypeVar("T")


class Loop(StrEnum):
    """The kind of event loop; NONE is for synchronous code."""

    NONE = "none"
    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run to the end. With NONE the work must not wait for anything but by blocking."""
        if self is Loop.UVLOOP:
            uvloop.run(work)
        elif self is Loop.ASYNCIO:
            asyncio.run(work)
        else:
            blocking(work)

    async def aside(self, do: Callable[[], T]) -> T:
        """Have something done that blocks, while the loop, if there is one, goes on."""
        return do() if self is Loop.NONE else await asyncio.to_thread(do)
