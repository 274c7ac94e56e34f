"""Lanes on hiredis and bare protocols: the floor for many runs in Python."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from benchmarks.contenders import commands
from benchmarks.contenders.bare_protocol import Protocol
from benchmarks.contenders.crowd import CrowdByHand
from benchmarks.contenders.crowd_redis_py import WIDTH


class Lanes(CrowdByHand):
    async def prepare(self) -> None:
        streams = [self.mine(run) for run in range(self.runs)]
        self.sender = await self._connect()
        await asyncio.gather(*(self.sender.call(commands.create_group(stream)) for stream in streams))
        self.boxes: dict[bytes, asyncio.Queue[bytes]] = {stream.encode(): asyncio.Queue() for stream in streams}
        self.inboxes = list(self.boxes.values())
        self._background += [
            asyncio.create_task(self._read(streams[first : first + WIDTH])) for first in range(0, self.runs, WIDTH)
        ]

    async def close(self) -> None:
        await super().close()
        self.sender.transport.close()

    def add(self, stream: str, body: bytes) -> Awaitable[Any]:
        return self.sender.call(commands.add(stream, body))

    async def get(self, run: int) -> bytes:
        return await self.inboxes[run].get()

    async def _connect(self) -> Protocol:
        loop = asyncio.get_running_loop()
        return (await loop.create_unix_connection(lambda: Protocol(loop), self.place.socket))[1]

    async def _read(self, streams: list[str]) -> None:
        connection = await self._connect()
        read = commands.get(*streams)
        try:
            while True:
                for stream, entries in await connection.call(read) or ():
                    for _, (_, body) in entries:
                        self.boxes[stream].put_nowait(body)
        finally:
            connection.transport.close()
