"""Numbers that are sent in order while something happens, and a look at whether each arrives once and in order.

A server that falls may take with it what its replica has not heard of, though it was acknowledged or received. So
where one falls, numbers may be missing; and one that was received, but not acknowledged, is sent again. None overtakes
another.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgpack

from flowchan import receive_input, send_input
from flowchan.errors import MessagesLost
from tests.support.waiting import eventually_async


@dataclass
class Numbers:
    """What was sent to each run, and what was received there."""

    runs: list[str]
    sent: dict[str, int] = field(default_factory=dict)
    received: dict[str, list[int]] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    """How many each receiver was told of."""
    is_over: bool = False
    all_sent: bool = False

    async def progress(self, by: int = 20) -> None:
        """Until every run has received so many more."""
        goal = {run: len(self.received[run]) + by for run in self.runs}
        await eventually_async(
            lambda: all(len(self.received[run]) >= goal[run] for run in self.runs), "progress of all runs", 20.0
        )

    async def _send(self, run: str) -> None:
        for number in itertools.count():
            if self.is_over:
                return
            # Two at a time: what follows must not overtake what is in doubt.
            first, second = send_input(2 * number, run), send_input(2 * number + 1, run)
            await first
            await second
            self.sent[run] = 2 * number + 2
            await anyio.sleep(0.001)

    async def _receive(self, run: str) -> None:
        received = self.received[run]
        async with receive_input(int, flow_run_id=run, timeout=30, poll_interval=60) as receiver:
            while not (self.all_sent and received[-1] == self.sent[run] - 1):
                try:
                    with anyio.move_on_after(0.2):
                        received.append(await receiver.next())
                except MessagesLost as lost:
                    self.lost[run] += lost.count


@asynccontextmanager
async def numbers_flow(runs: list[str], *, some_may_be_lost: bool = False) -> AsyncIterator[Numbers]:
    """Numbers go to each run within the block; at its end all have arrived, each once, in their order."""
    numbers = Numbers(runs, received={run: [] for run in runs})
    async with anyio.create_task_group() as receivers:
        async with anyio.create_task_group() as senders:
            for run in runs:
                senders.start_soon(numbers._send, run)
                receivers.start_soon(numbers._receive, run)
            await numbers.progress(1)
            yield numbers
            await numbers.progress()
            numbers.is_over = True
        numbers.all_sent = True
    for run in runs:
        received = numbers.received[run]
        if some_may_be_lost:
            first_time = list(dict.fromkeys(received))
            assert first_time == sorted(first_time), run
            # What never came was told.
            assert len(set(range(numbers.sent[run])) - set(received)) <= numbers.lost[run], run
        else:
            assert received == list(range(numbers.sent[run])), run
            assert not numbers.lost[run], run


def stored(node: Any, stream: str) -> list[int]:
    """The numbers that a stream holds."""
    entries = node.ask("XRANGE", stream, "-", "+")
    return [msgpack.unpackb(fields[b"body"])["value"] for _, fields in entries]
