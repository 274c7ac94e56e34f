"""Sentinels choose another primary, again and again; every second time the old one is killed with what no replica has.

Who replays a channel afterwards is told of exactly what is missing in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread

from flowchan import receive_input, send_input
from flowchan.errors import MessagesLost
from flowchan.wire import keys
from tests.faults.checker import Sender, Witness, all_told, hold
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import RUN, environment
from tests.support.ports import free_ports
from tests.support.sentinels import Sentinels
from tests.support.server import Server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually, eventually_async

BACK = 10.0
"""Seconds within which sends are acknowledged and received again."""
ALONE = 10
"""Messages that are acknowledged by a primary that is killed before a replica has heard of them."""
TO_LISTEN = 0.005


@dataclass
class Load:
    """One who sends without end, and one who receives what is sent."""

    sender: Sender = field(default_factory=Sender)
    witness: Witness = field(default_factory=Witness)
    is_over: bool = False

    async def send(self) -> None:
        for number in itertools.count():
            if self.is_over:
                return
            await self.send_one(number)
            await anyio.sleep(TO_LISTEN)

    async def send_one(self, number: int) -> None:
        self.sender.sends(number)
        await send_input(number, RUN, key_prefix=CHANNEL)
        self.sender.acknowledged(number)

    async def receive(self, saw: Witness, timeout: float | None = None) -> None:
        with contextlib.suppress(TimeoutError):
            async with receive_input(int, flow_run_id=RUN, key_prefix=CHANNEL, timeout=timeout) as receiver:
                while True:
                    try:
                        saw.values.append(await receiver.next())
                    except MessagesLost as lost:
                        saw.lost += lost.last - lost.first + 1

    async def progress(self, by: int = 10) -> None:
        """Until so many more have been sent, acknowledged and received."""
        goal = len(self.sender.told) + by
        await eventually_async(lambda: bool(self.witness.values) and self.witness.values[-1] >= goal, "progress", 60.0)  # type: ignore[operator]


def demote(sentinels: Sentinels) -> None:
    """They choose another, though there is one that is well."""
    sentinels.fail_over()


def cut_off(sentinels: Sentinels) -> Server:
    """Have its replicas follow nobody; the primary knows of nothing."""
    primary = sentinels.primary
    (nobody,) = free_ports(1)
    for server in sentinels.servers:
        if server is not primary:
            with server.client() as client:
                client.execute_command("REPLICAOF", "127.0.0.1", nobody)
    return primary


def replaced(sentinels: Sentinels, former: Server) -> None:
    """Another is the primary; the one that was comes back as its replica."""
    eventually(lambda: sentinels.primary is not former, "another primary", 60.0)
    former._options += ["--replicaof", "127.0.0.1", str(sentinels.primary.port)]
    former.start()
    eventually(sentinels._ready, "the replicas")


async def lose(sentinels: Sentinels, load: Load) -> float:
    """Kill the primary with what it alone has; when."""
    primary = await anyio.to_thread.run_sync(cut_off, sentinels)
    goal = len(load.sender.told) + ALONE
    await eventually_async(lambda: len(load.sender.told) > goal, "acknowledged sends")
    start = time.monotonic()
    primary.kill()
    await anyio.to_thread.run_sync(replaced, sentinels, primary)
    return start


async def _rounds(sentinels: Sentinels, count: int, progress: Progress) -> tuple[Load, Witness, float]:
    load, slowest = Load(), 0.0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load.receive, load.witness)
        tasks.start_soon(load.send)
        for done in range(count):
            await load.progress()
            if done % 2:
                start = await lose(sentinels, load)
            else:
                start = time.monotonic()
                await anyio.to_thread.run_sync(demote, sentinels)
            await load.progress()
            slowest = max(slowest, time.monotonic() - start)
            progress(done + 1)
        load.is_over = True
        await eventually_async(lambda: load.witness.values[-1] == max(load.sender.told), "the last")  # type: ignore[type-var]
        tasks.cancel_scope.cancel()
    again = Witness()
    await load.receive(again, 1.0)
    return load, again, slowest


def fails_over(count: int, progress: Progress) -> Seen:
    """``count`` times, every second time with a loss."""
    with Sentinels() as sentinels, environment(url=sentinels.url):
        load, again, slowest = asyncio.run(_rounds(sentinels, count, progress))
        with sentinels.primary.client() as client:
            stored = Streams(client, os.environ["FLOWCHAN_NAMESPACE"]).values(RUN)
            gaps = _gaps(client, keys.stream(os.environ["FLOWCHAN_NAMESPACE"], RUN, CHANNEL))
    counted = f"{count:,} failovers, {count // 2:,} of them with a loss; {all_told([load.sender])}"
    missing = len(hold(stored, [load.sender]).missing)
    told = (
        f"{missing:,} lost with their primaries, {again.lost:,} told to who replays; on again after ≤ {slowest:.1f} s"
    )
    hold(stored, [load.sender]).must_be_none(counted, besides=["missing"])
    again.hold(stored, [load.sender]).must_be_none(counted)
    # Who was there may have had what was lost, and one that was not acknowledged is sent again.
    hold(load.witness.values, [load.sender]).must_be_none(counted, besides=["missing", "doubled"])
    if again.lost != gaps or again.lost < missing or (count > 1 and not missing) or slowest > BACK:
        raise Broken(counted, f"{told}; {gaps:,} numbers are missing in the stream")
    return Seen(counted, told)


def _gaps(client: Any, stream: str) -> int:
    """How many numbers are missing among those that the sender gave its messages."""
    numbers = [int(fields[b"seq"]) for _, fields in client.xrange(stream)]
    return max(numbers) - len(set(numbers))


FAULTS = (Fault("Sentinel failover", "going again ≤ 10 s; losses counted and told", 2, 20, fails_over),)
