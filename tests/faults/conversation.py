"""A conversation that goes on around something that happens to the server: who sent, who received, and how soon again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread

from flowchan import receive_input, send_input
from tests.faults.checker import Sender, Witness, hold
from tests.faults.fault import Broken, Seen
from tests.faults.surroundings import RUN
from tests.support.streams import CHANNEL
from tests.support.waiting import eventually_async

SENDS = 20
LASTS = 0.8
"""Seconds that a refusal lasts at least: more than one attempt."""
BACK = 10.0
"""Seconds within which all goes on; the pause between two repairs may have grown to five."""


@dataclass
class Conversation:
    """Who sends to one channel and who receives there, over all refusals of a server."""

    sender: Sender
    witnesses: list[Witness]
    number: int = 0
    slowest: float = 0.0

    async def refused(self, block: Callable[[], Any]) -> None:
        """Have numbers sent and a receiver begin within the block; all have all of them after it."""
        fresh, greeter, elsewhere = Witness("one that began meanwhile"), Sender(), f"fresh-{self.number}"
        async with anyio.create_task_group() as tasks:
            async with in_thread(block):
                sends = [self._send(self.sender, number, RUN) for number in range(self.number, self.number + SENDS)]
                # Nobody in this process listens there yet.
                tasks.start_soon(self._receive, fresh, SENDS, None, elsewhere)
                sends += [self._send(greeter, number, elsewhere) for number in range(SENDS)]
                await anyio.sleep(LASTS)
            over = time.monotonic()
            for send in sends:
                await send
            self.number += SENDS
            await eventually_async(
                lambda: all(len(each.values) >= self.number for each in self.witnesses), "going on", 2 * BACK
            )
        self.slowest = max(self.slowest, time.monotonic() - over)
        for witness in self.witnesses:
            hold(witness.values, [self.sender]).must_be_none(f"up to {self.number:,} sends: {witness.name}")
        hold(fresh.values, [greeter]).must_be_none(f"up to {self.number:,} sends: {fresh.name}")

    def seen(self, counted: str, stored: int, met: Mapping[str, int]) -> Seen:
        """What came of it, if each refusal was met and all went on soon; ``met`` says how often each was."""
        if not all(met.values()):
            raise Broken(counted, f"not met: {[code for code, times in met.items() if not times]}")
        if self.slowest > BACK:
            raise Broken(counted, f"it took {self.slowest:.1f} s to go on")
        told = ", ".join(f"{code} {times:,}" for code, times in met.items())
        return Seen(
            f"{counted}, {stored:,} sends",
            f"all stored once, in order; on again after ≤ {self.slowest:.1f} s; met: {told}",
        )

    def _send(self, sender: Sender, number: int, run: str) -> asyncio.Task[None]:
        sender.sends(number)
        # With a key every fifth time: that is a script, and is to be kept in its place among the others.
        key = f"n{number}" if number % 5 == 4 else None
        send = send_input(number, run, key_prefix=CHANNEL, idempotency_key=key)

        async def acknowledged() -> None:
            await send
            sender.acknowledged(number)

        return asyncio.ensure_future(acknowledged())

    async def _receive(self, witness: Witness, until: int, group: str | None = None, run: str = RUN) -> None:
        async with receive_input(int, flow_run_id=run, key_prefix=CHANNEL, timeout=60, group=group) as receiver:
            while len(witness.values) < until:
                witness.values.append(await receiver.next())


@asynccontextmanager
async def conversation(rounds: int) -> AsyncIterator[Conversation]:
    """One sender, a private receiver, a receiver of a group; at its end each has had all of them."""
    everything = (rounds + 1) * SENDS
    mine = Conversation(Sender(), [Witness("a private receiver"), Witness("a group")])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mine._receive, mine.witnesses[0], everything)
        tasks.start_soon(mine._receive, mine.witnesses[1], everything, "group")
        await mine.refused(contextlib.nullcontext)  # all is well
        mine.slowest = 0.0
        yield mine


@asynccontextmanager
async def in_thread(block: Callable[[], Any]) -> AsyncIterator[None]:
    """A context manager that waits for servers, beside a loop that goes on."""
    made = block()
    await anyio.to_thread.run_sync(made.__enter__)
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(made.__exit__, None, None, None)
