"""redis-py's pipeline: the commands and fields that flowchan sends, and reading them in pages."""

from __future__ import annotations

import time
from typing import Any

import redis.asyncio

from benchmarks.contenders.by_hand import CONSUMER, GROUP, packed, unpacked
from benchmarks.conversation import Place

_RETENTION_MS = 7 * 24 * 3600 * 1000


class Pipeline:
    unpacks = True

    def __init__(self, place: Place) -> None:
        self._place = place
        self._redis: Any = redis.asyncio.Redis(unix_socket_path=place.socket, socket_timeout=None)

    async def close(self) -> None:
        await self._redis.aclose()

    async def send(self, run: str, count: int, page: int) -> float:
        begun = time.perf_counter()
        number = 0
        sender = f"flowchan.flow-run.{self._place.mine}"
        for _ in range(0, count, page):
            pipe = self._redis.pipeline(transaction=False)
            for _ in range(page):
                number += 1
                pipe.execute_command(
                    *("XADD", run, "*", "v", b"1", "id", f"00000000000000ff-{number:x}", "from", sender),
                    *("seq", number, "schema", "00000000", "body", packed("andrew")),
                )
                pipe.execute_command("PEXPIRE", run, _RETENTION_MS)
            await pipe.execute()
        return time.perf_counter() - begun

    async def receive(self, run: str, count: int) -> float:
        begun = time.perf_counter()
        await self._redis.xgroup_create(run, GROUP, "0")
        left = count
        while left:
            ((_, entries),) = await self._redis.xreadgroup(GROUP, CONSUMER, {run: ">"}, count=1000, noack=True)
            if self.unpacks:
                for _, fields in entries:
                    assert unpacked(fields[b"body"]) == "andrew"
            left -= len(entries)
        return time.perf_counter() - begun


class WithoutUnpacking(Pipeline):
    """Entries are read, and what they hold is not looked at."""

    unpacks = False
