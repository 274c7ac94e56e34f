"""flowchan: a run that resumes with a history, or that has much to read."""

from __future__ import annotations

import time
from typing import Any

import psutil

from benchmarks.conversation import Place
from flowchan import receive_input
from flowchan.input import InputReceiver


class Text:
    def __init__(self, _: Place) -> None:
        self._keys: list[str] = []

    async def learn(self, run: str, count: int) -> None:
        """Have the keys of the first ``count`` messages, as a run would that has stored them."""
        self._keys = []
        if count:
            async with receive_input(str, flow_run_id=run, with_metadata=True) as received:
                async for each in received:
                    self._keys.append(each.metadata.key)
                    if len(self._keys) == count:
                        break

    async def first(self, run: str) -> dict[str, float]:
        """Seconds to make a receiver that excludes what is known, and to its first message."""
        begun = time.perf_counter()
        receiver: InputReceiver[Any] = receive_input(str, flow_run_id=run, exclude_keys=self._keys)
        made = time.perf_counter()
        assert await receiver.next() == "andrew"
        ended = time.perf_counter()
        receiver.close()
        return {"made": made - begun, "seconds": ended - begun}

    async def read_on(self, run: str, count: int) -> dict[str, float]:
        """The time to the first message, and how far memory grows over ``count`` of them."""
        process = psutil.Process()
        before = most = process.memory_info().rss
        begun = time.perf_counter()
        first = 0.0
        left = count
        async with receive_input(str, flow_run_id=run) as received:
            async for _ in received:
                first = first or time.perf_counter() - begun
                if left % 1000 == 0:
                    most = max(most, process.memory_info().rss)
                left -= 1
                if not left:
                    break
        return {"first": first, "seconds": time.perf_counter() - begun, "grown": most - before}
