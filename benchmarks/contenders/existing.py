"""Runs that exist, and nobody receives in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import redis.asyncio

from benchmarks.contenders.by_hand import packed
from benchmarks.conversation import Place
from flowchan import flow, receive_input, send_input

_AT_ONCE = 500
_A_WHILE = 0.2


@flow
async def existing() -> None:
    """A run that does nothing: what is left is its record."""


class Typed:
    """Each call makes runs that there have not been."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._made = 0

    async def spoken_to(self, count: int) -> None:
        """Send one message to each."""

        async def send(run: str) -> None:
            await send_input("andrew", run)

        await self._each(count, send)

    async def left(self, count: int) -> None:
        """Have each wait for a message, and go."""

        async def leave(run: str) -> None:
            async with receive_input(str, flow_run_id=run, timeout=_A_WHILE, raise_timeout_error=False) as names:
                async for _ in names:
                    raise AssertionError("Somebody spoke.")

        await self._each(count, leave)

    async def executed(self, count: int) -> None:
        """Run a flow."""

        async def execute(_: str) -> None:
            await existing()

        await self._each(count, execute)

    async def by_hand(self, count: int) -> None:
        """Store one entry for each, without flowchan."""
        client: Any = redis.asyncio.Redis(unix_socket_path=self._place.socket)
        for _ in range(0, count, _AT_ONCE):
            pipe = client.pipeline(transaction=False)
            for run in self._names():
                pipe.xadd(run, {"v": packed("andrew")})
            await pipe.execute()
        await client.aclose()

    async def _each(self, count: int, do: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        for _ in range(0, count, _AT_ONCE):
            await asyncio.gather(*map(do, self._names()))

    def _names(self) -> list[str]:
        self._made += _AT_ONCE
        return [f"{self._place.mine}-{number}" for number in range(self._made - _AT_ONCE, self._made)]
