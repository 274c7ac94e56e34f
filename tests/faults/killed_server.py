"""A server that is killed (-9) under those who send and wait, and is started again on what it has written."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from flowchan import receive_input
from tests.faults.checker import Witness
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import RUN, looking, own_server
from tests.faults.talk import Talk
from tests.support.server import Server
from tests.support.streams import CHANNEL

_SILENCE = 1.2
"""Seconds without a send: what comes first after it may find the server's background sync under way."""
_BURST = 3
_GOING_AGAIN = 5.0


async def _ordeal(server: Server, kills: int, progress: Progress) -> tuple[Talk, float]:
    chance = random.Random(1)
    talk = Talk()
    slowest = 0.0
    async with talk.under_way():
        for kill in range(kills):
            if kill % 2:
                await anyio.sleep(chance.random() * 0.1)
            else:
                talk.rest()
                await anyio.sleep(_SILENCE)
                await talk.burst(_BURST)
            server.kill()  # in this turn of the loop: nothing comes between the last answer and the end
            going = asyncio.ensure_future(talk.goes_again())
            await anyio.sleep(chance.random() * 0.1)
            await anyio.to_thread.run_sync(server.start)
            up = time.monotonic()
            await going
            slowest = max(slowest, time.monotonic() - up)
            progress(kill + 1)
    return talk, slowest


async def _read_all() -> Witness:
    """What a new receiver sees."""
    saw = Witness("new")
    receiver: Any = receive_input(str, flow_run_id=RUN, key_prefix=CHANNEL, timeout=0)
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
    counted = f"{kills} kills, half of them after a second of silence; {talk.sends:,} acknowledged sends"
    afterwards.hold(stored, talk.senders).must_be_none(counted)
    text = talk.hold(stored, counted)
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
