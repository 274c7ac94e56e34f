"""FastStream over Redis Streams: a handler a side, whose answers a publisher takes away.

``reading``: "plain", a StreamSub as it comes (XREAD from now on); or "group", one with a group and without
acknowledging, as one reads by hand.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import uvloop
from faststream.redis import RedisBroker, StreamSub

from benchmarks.conversation import NAME, check, greeting
from benchmarks.orders import obey


class Side:
    def __init__(self, url: str, reading: str) -> None:
        self._broker = RedisBroker(url, logger=None)
        self._mine = uuid.uuid4().hex
        group: dict[str, Any] = {"group": "readers", "consumer": "1", "no_ack": True} if reading == "group" else {}
        self._reading = StreamSub(self._mine, **group)
        self._arrived: asyncio.Queue[str] = asyncio.Queue()

    async def open(self) -> str:
        @self._broker.subscriber(stream=self._reading)
        async def arrived(said: str) -> None:
            self._arrived.put_nowait(said)

        await self._broker.start()
        return self._mine

    def meet(self, theirs: str) -> None:
        self._theirs = theirs

    async def close(self) -> None:
        await self._broker.stop()

    async def ask(self) -> None:
        await self._broker.publish(NAME, stream=self._theirs)
        check(await self._arrived.get())

    async def answer(self) -> None:
        await self._broker.publish(greeting(await self._arrived.get()), stream=self._theirs)


def main(url: str, reading: str) -> None:
    async def side() -> None:
        await obey(Side(url, reading), asyncio.to_thread)

    uvloop.run(side())
