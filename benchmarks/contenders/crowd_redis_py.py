"""redis-py's asyncio client for many runs: a blocking connection a receiver, or lanes of 64 streams.

Both send over one connection, on which whatever gathers while a pipeline is under way goes out as the next one: the
best that can be had for a crowd of senders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import redis.asyncio

from benchmarks.contenders.by_hand import BLOCK, CONSUMER, COUNT, GROUP
from benchmarks.contenders.crowd import CrowdByHand

WIDTH = 64


class Outbox:
    """One connection for all who send."""

    def __init__(self, client: Any) -> None:
        self._redis = client
        self._queue: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._flush())

    def call(self, *command: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append((command, future))
        self._wake.set()
        return future

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _flush(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._queue = self._queue, []
            pipe = self._redis.pipeline(transaction=False)
            for command, _ in batch:
                pipe.execute_command(*command)
            for (_, future), reply in zip(batch, await pipe.execute(raise_on_error=False), strict=True):
                if isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)


class _RedisPy(CrowdByHand):
    async def prepare(self) -> None:
        self.sender: Any = self.client()
        self.outbox = Outbox(self.sender)
        groups = (
            self.outbox.call("XGROUP", "CREATE", self.mine(run), GROUP, "0", "MKSTREAM") for run in range(self.runs)
        )
        await asyncio.gather(*groups)

    async def close(self) -> None:
        await super().close()
        await self.outbox.close()
        await self.sender.aclose()

    def client(self, **options: Any) -> Any:
        return redis.asyncio.Redis(unix_socket_path=self.place.socket, socket_timeout=None, **options)

    def add(self, stream: str, body: bytes) -> Awaitable[Any]:
        return self.outbox.call("XADD", stream, "*", "v", body)


class ConnectionEach(_RedisPy):
    """Each receiver waits on a connection of its own."""

    async def prepare(self) -> None:
        await super().prepare()
        self.pool: Any = redis.asyncio.BlockingConnectionPool(
            connection_class=redis.asyncio.UnixDomainSocketConnection,
            path=self.place.socket,
            max_connections=self.runs + 1,
            socket_timeout=None,
            timeout=None,
        )
        self.reader: Any = redis.asyncio.Redis(connection_pool=self.pool)

    async def close(self) -> None:
        await super().close()
        await self.reader.aclose()
        await self.pool.aclose()

    async def get(self, run: int) -> bytes:
        ((_, ((_, fields), *_)),) = await self.reader.xreadgroup(
            GROUP, CONSUMER, {self.mine(run): ">"}, count=COUNT, block=BLOCK, noack=True
        )
        body: bytes = fields[b"v"]
        return body


class Lanes(_RedisPy):
    """A bare prototype of lanes: one blocking read over 64 streams, handed out to who waits."""

    async def prepare(self) -> None:
        await super().prepare()
        streams = [self.mine(run) for run in range(self.runs)]
        self.boxes: dict[bytes, asyncio.Queue[bytes]] = {stream.encode(): asyncio.Queue() for stream in streams}
        self.inboxes = list(self.boxes.values())
        self._clients: list[Any] = []
        self._background += [
            asyncio.create_task(self._read(streams[first : first + WIDTH])) for first in range(0, self.runs, WIDTH)
        ]

    async def close(self) -> None:
        await super().close()
        for client in self._clients:
            await client.aclose()

    async def get(self, run: int) -> bytes:
        return await self.inboxes[run].get()

    async def _read(self, streams: list[str]) -> None:
        client = self.client(single_connection_client=True)
        self._clients.append(client)
        wanted = dict.fromkeys(streams, ">")
        while True:
            reply = await client.xreadgroup(GROUP, CONSUMER, wanted, count=COUNT, block=BLOCK, noack=True)
            for stream, entries in reply:
                for _, fields in entries:
                    self.boxes[stream].put_nowait(fields[b"v"])
