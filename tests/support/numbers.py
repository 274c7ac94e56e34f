"""Load: numbers that are sent in order while something happens, and a look at whether each arrives once and in order.

To each run two send, one follows it, and two share its work as a group.

A server that falls may take with it what its replica has not heard of, though it was acknowledged or received. So
where one falls, numbers may be missing; and one that was received, but not acknowledged, is sent again. None overtakes
another of its sender, and what is stored in the end has been received and worked on.
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

SENDERS = (0, 1_000_000)
"""The first number of each."""
WORKERS = 2


@dataclass
class Numbers:
    """What was sent to each run, received there, and worked on."""

    runs: list[str]
    sent: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    """By run and sender; all of it was acknowledged."""
    received: dict[str, list[int]] = field(default_factory=dict)
    done: dict[str, list[int]] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    lost_at_work: Counter[str] = field(default_factory=Counter)
    """How many each receiver was told of."""
    is_over: bool = False
    all_sent: bool = False

    async def progress(self, by: int = 20) -> None:
        """Until every run has received so many more, and worked on as many more."""
        lists = [each[run] for each in (self.received, self.done) for run in self.runs]
        goals = [len(each) + by for each in lists]
        await eventually_async(
            lambda: all(len(each) >= goal for each, goal in zip(lists, goals, strict=True)),
            "progress of all runs",
            30.0,
        )

    async def _send(self, run: str, begin: int) -> None:
        sent = self.sent[run][begin]
        for number in itertools.count(begin, 2):
            if self.is_over:
                return
            # Two at a time: what follows must not overtake what is in doubt.
            first, second = send_input(number, run), send_input(number + 1, run)
            await first
            await second
            sent += (number, number + 1)
            await anyio.sleep(0.002)

    async def _receive(self, run: str) -> None:
        received = self.received[run]
        async with receive_input(int, flow_run_id=run, timeout=30, poll_interval=60) as receiver:
            while not self._has_all(run, received):
                try:
                    with anyio.move_on_after(0.2):
                        received.append(await receiver.next())
                except MessagesLost as lost:
                    self.lost[run] += lost.count

    async def _work(self, run: str) -> None:
        done = self.done[run]
        async with receive_input(int, flow_run_id=run, timeout=30, poll_interval=60, group="workers") as receiver:
            while not self._has_all(run, done):
                try:
                    with anyio.move_on_after(0.2):
                        done.append(await receiver.next())
                except MessagesLost as lost:
                    self.lost_at_work[run] += lost.count
            await receiver.ack()

    def _has_all(self, run: str, numbers: list[int]) -> bool:
        """Whether the last that each has sent are among these."""
        return self.all_sent and {sent[-1] for sent in self.sent[run].values()} <= set(numbers)

    def check(self, run: str) -> None:
        """Each number of each sender was received once, in order, and worked on once."""
        for begin, sent in self.sent[run].items():
            assert _of(begin, self.received[run]) == sent, run
        assert sorted(self.done[run]) == sorted(self.received[run]), run
        assert not self.lost[run] + self.lost_at_work[run], run

    async def check_what_is_left(self, run: str) -> None:
        """As ``check``, of those that are stored; the others were lost, and those that never came were told."""
        left = await _all_of(run)
        for begin, sent in self.sent[run].items():
            once = list(dict.fromkeys(_of(begin, self.received[run])))
            assert once == sorted(once), run
            stored = _of(begin, left)
            assert stored == sorted(stored), run
            assert stored[-1] == sent[-1], run
        assert set(left) <= set(self.received[run]), run
        assert set(left) <= set(self.done[run]), run
        never = {number for sent in self.sent[run].values() for number in sent} - set(self.received[run])
        assert len(never) <= self.lost[run], run


async def _all_of(run: str) -> list[int]:
    """The numbers that a run's channel holds."""
    held: list[int] = []
    async with receive_input(int, flow_run_id=run, timeout=0) as receiver:
        while True:
            try:
                held.append(await receiver.next())
            except MessagesLost:
                continue
            except TimeoutError:
                return held


def _of(begin: int, numbers: list[int]) -> list[int]:
    """Those of one sender."""
    return [number for number in numbers if begin <= number < begin + SENDERS[1]]


@asynccontextmanager
async def numbers_flow(runs: list[str], *, some_may_be_lost: bool = False) -> AsyncIterator[Numbers]:
    """Numbers go to each run within the block; at its end all have arrived, each once, in their order."""
    numbers = Numbers(
        runs,
        sent={run: {begin: [] for begin in SENDERS} for run in runs},
        received={run: [] for run in runs},
        done={run: [] for run in runs},
    )
    async with anyio.create_task_group() as receivers:
        async with anyio.create_task_group() as senders:
            for run in runs:
                for begin in SENDERS:
                    senders.start_soon(numbers._send, run, begin)
                receivers.start_soon(numbers._receive, run)
                for _ in range(WORKERS):
                    receivers.start_soon(numbers._work, run)
            await numbers.progress(1)
            yield numbers
            await numbers.progress()
            numbers.is_over = True
        numbers.all_sent = True
    for run in runs:
        if some_may_be_lost:
            await numbers.check_what_is_left(run)
        else:
            numbers.check(run)


def stored(node: Any, stream: str) -> list[int]:
    """The numbers that a stream holds."""
    entries = node.ask("XRANGE", stream, "-", "+")
    return [msgpack.unpackb(fields[b"body"])["value"] for _, fields in entries]
