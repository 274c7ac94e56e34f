"""NATS JetStream: a stream a side on disk, publishes whose acknowledgement is awaited, an ordered push consumer.

The ordered consumer is what NATS recommends for reading a stream from one place: nothing is acknowledged, a gap is
noticed and read again. With a callback, for next_msg takes two tasks a message; fetching (pull) is slower by a half.
"""

from __future__ import annotations

import asyncio
import uuid

import nats
import uvloop
from nats.aio.msg import Msg

from benchmarks.conversation import NAME, check, greeting
from benchmarks.orders import obey


class Side:
    def __init__(self, url: str) -> None:
        self._url = url

    async def open(self) -> str:
        self._connection = await nats.connect(self._url)
        self._stream = self._connection.jetstream()
        mine = uuid.uuid4().hex
        await self._stream.add_stream(name=mine, subjects=[mine])  # in a file, as it comes
        self._arrived: asyncio.Queue[str] = asyncio.Queue()

        async def arrived(message: Msg) -> None:
            self._arrived.put_nowait(message.data.decode())

        await self._stream.subscribe(mine, cb=arrived, ordered_consumer=True)
        return mine

    def meet(self, theirs: str) -> None:
        self._theirs = theirs

    async def close(self) -> None:
        await self._connection.close()

    async def ask(self) -> None:
        await self._stream.publish(self._theirs, NAME.encode())
        check(await self._arrived.get())

    async def answer(self) -> None:
        await self._stream.publish(self._theirs, greeting(await self._arrived.get()).encode())


def main(url: str) -> None:
    uvloop.run(obey(Side(url), asyncio.to_thread))
