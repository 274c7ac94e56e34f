"""Streams and groups that go away under receivers that wait: flushed, deleted, destroyed, expired."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import redis

from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import RUN, looking, own_server
from tests.faults.talk import Talk
from tests.support.streams import Streams

_POLL_INTERVAL = 8.0
_MOST_COMMANDS = 2.0
_END = "that is all"

Vanish = Callable[[Streams], None]


def _flush(streams: Streams) -> None:
    streams.client.flushall()


def _delete(streams: Streams) -> None:
    streams.client.delete(streams.key(RUN))


def _expire(streams: Streams) -> None:
    streams.client.pexpire(streams.key(RUN), 1)


def _destroy(streams: Streams) -> None:
    """The groups of all that wait there; not the one that has a name, which is people's own."""
    key = streams.key(RUN)
    found: Any = streams.client.xinfo_groups(key)
    for group in found:
        if group["name"] != b"shop":
            streams.client.xgroup_destroy(key, group["name"])


def _heard(monitor: Any, client: redis.Redis) -> int:
    """How many commands clients gave, those within scripts aside; some of all must have made a group anew."""
    client.echo(_END)
    clients, repairs = 0, 0
    while _END not in (heard := monitor.next_command())["command"]:
        clients += heard["client_type"] != "lua"
        repairs += heard["command"].upper().startswith("XGROUP CREATE")
    assert repairs, "no group was gone"
    return clients


async def _ordeal(streams: Streams, talk: Talk, count: int, progress: Progress, vanish: Vanish) -> tuple[float, float]:
    most = slowest = 0.0
    async with talk.under_way():
        for number in range(count):
            talk.rest()
            await anyio.sleep(0.2)  # what was sent is received
            with streams.client.monitor() as monitor:
                vanish(streams)
                await anyio.sleep(_POLL_INTERVAL)  # what a receiver does meanwhile is what is counted
                most = max(most, _heard(monitor, streams.client) / _POLL_INTERVAL)
            start = time.monotonic()
            await talk.goes_again()
            slowest = max(slowest, time.monotonic() - start)
            progress(number + 1)
    return most, slowest


def _run(count: int, progress: Progress, vanish: Vanish) -> Seen:
    talk_of: list[Talk] = []

    async def run(streams: Streams) -> tuple[float, float]:
        talk_of.append(Talk(groups=(None, "shop"), poll_interval=_POLL_INTERVAL))
        return await _ordeal(streams, talk_of[0], count, progress, vanish)

    with own_server(append_only=False) as server, looking(server) as streams:
        most, slowest = asyncio.run(run(streams))
    (talk,) = talk_of
    counted = f"{count} times under a receiver without a group and one with; {talk.sends:,} sends"
    # What vanished is not stored any more; each receiver was there, and has had it before.
    talk.hold_received(counted)
    result = f"all received, once, in order; going again ≤ {slowest:.2f} s, {most:.1f} commands a second meanwhile"
    if slowest > _POLL_INTERVAL or most >= _MOST_COMMANDS:
        raise Broken(counted, result)
    return Seen(counted, result)


FAULTS = tuple(
    Fault(
        f"{name} under receivers",
        "recovered within one poll interval; fewer than 2 commands a second meanwhile",
        1,
        4,
        partial(_run, vanish=vanish),
    )
    for name, vanish in (
        ("FLUSHALL", _flush),
        ("DEL", _delete),
        ("expiry", _expire),
        ("XGROUP DESTROY", _destroy),
    )
)
