"""hiredis on a bare asyncio protocol: the floor of an asynchronous client."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

import hiredis

from benchmarks.contenders import commands
from benchmarks.contenders.by_hand import ByHand


class Protocol(asyncio.Protocol):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has the methods and another base

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._waiting.popleft().set_result(reply)

    def call(self, packed: bytes) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(future)
        self.transport.write(packed)
        return future


class BareProtocol(ByHand):
    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        _, self._protocol = await loop.create_unix_connection(lambda: Protocol(loop), self.place.socket)
        await self._protocol.call(commands.create_group(self.place.mine))

    async def close(self) -> None:
        self._protocol.transport.close()

    async def add(self, body: bytes) -> None:
        await self._protocol.call(commands.add(self.place.theirs, body))

    async def get(self) -> bytes:
        return commands.body_of(await self._protocol.call(commands.get(self.place.mine)))
