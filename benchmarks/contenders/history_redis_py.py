"""redis-py by hand: a stream is read from its beginning, and what is excluded is passed over."""

from __future__ import annotations

import time
from typing import Any

import psutil
import redis.asyncio

from benchmarks.contenders.by_hand import unpacked
from benchmarks.conversation import Place

_PAGE = 1000


class Pages:
    def __init__(self, place: Place) -> None:
        self._redis: Any = redis.asyncio.Redis(unix_socket_path=place.socket, socket_timeout=None)
        self._known: list[bytes] = []

    async def close(self) -> None:
        await self._redis.aclose()

    async def learn(self, run: str, count: int) -> None:
        entries = await self._redis.xrange(run, count=count) if count else []
        self._known = [entry for entry, _ in entries]

    async def first(self, run: str) -> dict[str, float]:
        begun = time.perf_counter()
        known = set(self._known)
        made = time.perf_counter()
        after = b"-"
        while True:
            entries = await self._redis.xrange(run, min=after, count=_PAGE)
            for entry, fields in entries:
                if entry not in known:
                    assert unpacked(fields[b"body"]) == "andrew"
                    return {"made": made - begun, "seconds": time.perf_counter() - begun}
            after = b"(" + entries[-1][0]

    async def read_on(self, run: str, count: int) -> dict[str, float]:
        process = psutil.Process()
        before = most = process.memory_info().rss
        begun = time.perf_counter()
        first = 0.0
        after = b"-"
        left = count
        while left > 0:
            entries = await self._redis.xrange(run, min=after, count=_PAGE)
            for _, fields in entries:
                unpacked(fields[b"body"])
                first = first or time.perf_counter() - begun
            most = max(most, process.memory_info().rss)
            left -= len(entries)
            after = b"(" + entries[-1][0]
        return {"first": first, "seconds": time.perf_counter() - begun, "grown": most - before}
