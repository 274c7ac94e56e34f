"""flowchan: many messages to one run, and reading them."""

from __future__ import annotations

import time

from benchmarks.conversation import Place
from flowchan import open_run, receive_input, send_input


class Text:
    def __init__(self, place: Place) -> None:
        self._place = place

    async def send(self, run: str, count: int, page: int) -> float:
        """Send without awaiting each; seconds until all are stored."""
        begun = time.perf_counter()
        async with open_run(self._place.mine):
            for number in range(1, count + 1):
                sending = send_input("andrew", run)
                if number % page == 0:
                    # Sends that wait are bounded; and what the last one waits for, all before it have had.
                    await sending
        return time.perf_counter() - begun

    async def receive(self, run: str, count: int) -> float:
        """Read them in a loop; seconds until the last."""
        begun = time.perf_counter()
        left = count
        async with receive_input(str, flow_run_id=run) as names:
            async for name in names:
                assert name == "andrew"
                left -= 1
                if not left:
                    break
        return time.perf_counter() - begun
