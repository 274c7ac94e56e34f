"""redis-py's clients, asynchronous and synchronous: what most people write by hand.

With ``socket_timeout=None``, as one who knows of it sets it for a read that blocks. The default of five seconds guards
each read with a timer, which takes the asynchronous client about a third more of its time; that is ``AsyncioAsItComes``.
To be compared with that alone would flatter flowchan.
"""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio

from benchmarks.contenders.by_hand import BLOCK, CONSUMER, COUNT, GROUP, ByHand


class Asyncio(ByHand):
    def connect(self) -> Any:
        return redis.asyncio.Redis(unix_socket_path=self.place.socket, socket_timeout=None)

    async def open(self) -> None:
        self._redis = self.connect()
        await self._redis.xgroup_create(self.place.mine, GROUP, "0", mkstream=True)

    async def close(self) -> None:
        await self._redis.aclose()

    async def add(self, body: bytes) -> None:
        await self._redis.xadd(self.place.theirs, {"v": body})

    async def get(self) -> bytes:
        return _body(
            await self._redis.xreadgroup(GROUP, CONSUMER, {self.place.mine: ">"}, count=COUNT, block=BLOCK, noack=True)
        )


class AsyncioAsItComes(Asyncio):
    def connect(self) -> Any:
        return redis.asyncio.from_url(f"unix://{self.place.socket}")


class Sync(ByHand):
    async def open(self) -> None:
        self._redis: Any = redis.Redis(unix_socket_path=self.place.socket, socket_timeout=None)
        self._redis.xgroup_create(self.place.mine, GROUP, "0", mkstream=True)

    async def close(self) -> None:
        self._redis.close()

    async def add(self, body: bytes) -> None:
        self._redis.xadd(self.place.theirs, {"v": body})

    async def get(self) -> bytes:
        return _body(
            self._redis.xreadgroup(GROUP, CONSUMER, {self.place.mine: ">"}, count=COUNT, block=BLOCK, noack=True)
        )


def _body(reply: Any) -> bytes:
    ((_, ((_, fields), *_)),) = reply
    body: bytes = fields[b"v"]
    return body
