"""A server that is killed (-9) under those who send and wait, and is started again on what it has written."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread

from flowchan.channels import Channels
from tests.faults.checker import Sender, Told, Value, Witness, hold
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import RUN, looking, own_server
from tests.support.server import Server
from tests.support.streams import CHANNEL
from tests.support.waiting import eventually_async

_SENDERS = 3
_SILENCE = 1.2
"""Seconds without a send: what comes first after it may find the server's background sync under way."""
_BURST = 3
_PAUSE = 0.001
_PATIENCE = 30.0
_GOING_AGAIN = 5.0


class _Talk:
    """Senders with connections of their own that never stop, and a receiver that waits."""

    def __init__(self) -> None:
        self.senders = [Sender(f"{number}") for number in range(_SENDERS)]
        self.saw = Witness()
        self._latest: dict[str, int] = {}
        self.gate = anyio.Event()
        self._clients = {sender: Channels(home=Path(f"/nowhere/{sender.name}")) for sender in self.senders}
        self._receiver: Any = Channels().receive_input(
            str, flow_run_id=RUN, key_prefix=CHANNEL, timeout=_PATIENCE, poll_interval=10
        )

    async def send(self, sender: Sender) -> Value:
        value = f"{sender.name}-{len(sender.told)}"
        sender.sends(value)
        await self._clients[sender].send_input(value, RUN, key_prefix=CHANNEL)
        sender.acknowledged(value)
        return value

    async def burst(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for sender in self.senders * _BURST:
                tasks.create_task(self.send(sender))

    async def keep_sending(self, sender: Sender) -> None:
        while True:
            await self.gate.wait()
            await self.send(sender)
            await anyio.sleep(_PAUSE)

    async def keep_receiving(self) -> None:
        async with self._receiver:
            while True:
                value = await self._receiver.next()
                self.saw.values.append(value)
                name, _, number = value.partition("-")
                self._latest[name] = int(number)

    async def goes_again(self) -> None:
        """Until each sender has had an answer to what it sends from now on, and the receiver has got that."""
        wanted = {sender.name: len(sender.told) for sender in self.senders}
        await eventually_async(
            lambda: all(self._latest.get(name, -1) >= number for name, number in wanted.items()), "the next message"
        )


async def _ordeal(server: Server, kills: int, progress: Progress) -> tuple[_Talk, float]:
    chance = random.Random(1)
    talk = _Talk()
    slowest = 0.0
    async with anyio.create_task_group() as tasks:
        for sender in talk.senders:
            tasks.start_soon(talk.keep_sending, sender)
        tasks.start_soon(talk.keep_receiving)
        talk.gate.set()
        await talk.goes_again()
        for kill in range(kills):
            if kill % 2:
                await anyio.sleep(chance.random() * 0.1)
            else:
                talk.gate = anyio.Event()
                await anyio.sleep(_SILENCE)
                await talk.burst()
            server.kill()  # in this turn of the loop: nothing comes between the last answer and the end
            talk.gate.set()
            await anyio.sleep(chance.random() * 0.1)
            await anyio.to_thread.run_sync(server.start)
            up = time.monotonic()
            await talk.goes_again()
            slowest = max(slowest, time.monotonic() - up)
            progress(kill + 1)
        talk.gate = anyio.Event()
        await anyio.lowlevel.checkpoint()
        await eventually_async(
            lambda: not any(sender.count(Told.UNKNOWN) for sender in talk.senders), "the last answers"
        )
        tasks.cancel_scope.cancel()
    return talk, slowest


async def _read_all() -> Witness:
    """What a new receiver sees."""
    saw = Witness()
    receiver: Any = Channels().receive_input(str, flow_run_id=RUN, key_prefix=CHANNEL, timeout=0)
    async with receiver:
        with contextlib.suppress(TimeoutError):
            while True:
                saw.values.append(await receiver.next())
    return saw


def _run(kills: int, progress: Progress, fsync: str) -> Seen:
    with own_server("--appendfsync", fsync) as server:
        talk, slowest = asyncio.run(_ordeal(server, kills, progress))
        afterwards = asyncio.run(_read_all())
        with looking(server) as streams:
            stored = streams.values(RUN)
    sends = sum(len(sender.told) for sender in talk.senders)
    counted = (
        f"{kills} kills, half of them after a second of silence; {sends:,} acknowledged sends of {_SENDERS} senders"
    )
    findings = hold(stored, talk.senders)
    talk.saw.hold([], talk.senders).must_be_none(counted)
    afterwards.hold(stored, talk.senders).must_be_none(counted)
    text = findings.must_be_none(counted)
    if slowest > _GOING_AGAIN:
        raise Broken(counted, f"{text}; going again after {slowest:.1f} s")
    return Seen(counted, f"{text}; going again ≤ {slowest:.2f} s after it is up")


FAULTS = tuple(
    Fault(f"server killed, {name}", "no acknowledged send lost; going again ≤ 5 s after it is up", 4, 50, run)
    for name, run in (
        ("appendfsync always", partial(_run, fsync="always")),
        ("appendfsync no, as embedded", partial(_run, fsync="no")),
        ("appendfsync everysec", partial(_run, fsync="everysec")),
    )
)
