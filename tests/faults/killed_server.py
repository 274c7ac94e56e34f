"""A server that is killed (-9) under those who send and wait, and is started again on what it has written."""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial

import anyio
import anyio.to_thread

from tests.faults.checker import hold
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.newcomer import Newcomer
from tests.faults.surroundings import RUN, looking, own_server
from tests.faults.talk import Talk
from tests.support.server import Server

_SILENCE = 1.2
"""Seconds without a send: what comes first after it may find the server's background sync under way."""
_BURST = 1
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


def _run(kills: int, progress: Progress, fsync: str) -> Seen:
    newcomer = Newcomer()
    with own_server("--appendfsync", fsync) as server:
        talk, slowest = asyncio.run(_ordeal(server, kills, progress))
        asyncio.run(newcomer.read())
        with looking(server) as streams:
            stored = streams.values(RUN)
    counted = f"{kills} kills, half of them after a second of silence; {talk.sends:,} acknowledged sends"
    talk.hold_received(counted)
    newcomer.saw.hold(stored, talk.senders).must_be_none(counted)
    findings = hold(stored, talk.senders)
    # Such a server keeps writes in its memory after it has acknowledged them; that is told, at least.
    text = findings.must_be_none(counted, besides=["missing"] if fsync == "everysec" else [])
    untold, made_up = newcomer.untold(findings), newcomer.made_up(talk.senders)
    text += f", {len(newcomer.lost):,} told" if findings.missing else ""
    text += f"; going again ≤ {slowest:.2f} s after it is up"
    if untold or made_up or slowest > _GOING_AGAIN:
        raise Broken(counted, f"{text}; untold: {len(untold):,}; told and not lost: {len(made_up):,}")
    return Seen(counted, text)


_MUST_HOLD = "no acknowledged send lost; going again ≤ 5 s after it is up"
FAULTS = (
    Fault("server killed, appendfsync always", _MUST_HOLD, 4, 50, partial(_run, fsync="always")),
    Fault("server killed, appendfsync no, as embedded", _MUST_HOLD, 4, 50, partial(_run, fsync="no")),
    Fault(
        "server killed, appendfsync everysec",
        "what it had acknowledged and lost is told; going again ≤ 5 s after it is up",
        4,
        50,
        partial(_run, fsync="everysec"),
    ),
)
