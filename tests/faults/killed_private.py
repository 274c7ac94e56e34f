"""Receivers without a group that are killed (-9) with a message in their hands: what the server keeps for them."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from flowchan import receive_input, send_input
from tests.faults.checker import Sender, Value, Witness
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.killed_receivers import Nest, nest
from tests.faults.surroundings import RUN, looking, own_server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually_async

_LEASE = 0.1
"""So that who was not heard of for two seconds counts as dead."""
_AT_ONCE = 10


def _reading(streams: Streams) -> int:
    """How many wait in a read."""
    clients: Any = streams.client.client_list()
    return sum(each["cmd"] == "xreadgroup" and "b" in each["flags"] for each in clients)


def _left(streams: Streams) -> dict[str, int]:
    """What the server keeps for receivers: groups, marks that they live, connections."""
    namespace = os.environ["FLOWCHAN_NAMESPACE"]
    return {
        "groups": streams.groups(streams.key(RUN)),
        "marks": len(list(streams.client.scan_iter(f"{namespace}:*:@alive:*", count=1000))),
        "reads": _reading(streams),
    }


async def _kill_some(receivers: Nest, streams: Streams, count: int, sender: Sender, after: str) -> str:
    """Kill so many that have just been pushed a message; its key."""
    before = _reading(streams)
    for _ in range(count):
        receivers.hatch(1, after=after)
    await eventually_async(lambda: _reading(streams) == before + count, "their reads")
    after = await _send(sender)
    for _ in range(count):
        told = await asyncio.to_thread(receivers.hear)
        assert told["took"] == f"{len(sender.told) - 1}"
        receivers.kill(told["pid"])
    await eventually_async(lambda: _reading(streams) == before, "their end")
    return after


async def _send(sender: Sender) -> str:
    value = f"{len(sender.told)}"
    sender.sends(value)
    sent = await send_input(value, RUN, key_prefix=CHANNEL)
    sender.acknowledged(value)
    return sent.key


async def _listen(saw: Witness) -> None:
    async with receive_input(str, flow_run_id=RUN, key_prefix=CHANNEL, timeout=None, poll_interval=1) as mine:
        async for value in mine:
            saw.values.append(value)


async def _ordeal(streams: Streams, count: int, progress: Progress) -> tuple[Sender, Witness, int]:
    sender, saw = Sender(), Witness()
    after = await _send(sender)
    most = 0
    # One that lives: it is such as free what others have left.
    living = asyncio.ensure_future(_listen(saw))
    await eventually_async(lambda: _reading(streams) == 1, "its read")
    with nest() as receivers:
        for killed in range(0, count, _AT_ONCE):
            after = await _kill_some(receivers, streams, min(_AT_ONCE, count - killed), sender, after)
            most = max(most, _left(streams)["groups"])
            progress(killed + _AT_ONCE)
    await eventually_async(
        lambda: _left(streams) == {"groups": 1, "marks": 1, "reads": 1}, f"the end of what was left; {_left(streams)}"
    )
    sent: set[Value] = set(sender.told)
    await eventually_async(lambda: set(saw.values) >= sent, "the last message")
    living.cancel()
    await asyncio.wait([living])
    return sender, saw, most


def _run(count: int, progress: Progress) -> Seen:
    with own_server(append_only=False, lease=str(_LEASE)) as server, looking(server) as streams:
        sender, saw, most = asyncio.run(_ordeal(streams, count, progress))
        stored = streams.values(RUN)
    counted = f"{count:,} receivers without a group killed, each with a message in its hands"
    saw.hold(stored, [sender]).must_be_none(counted)
    if most < 2:
        raise Broken(counted, "they left nothing that could have been freed")
    return Seen(counted, f"no group, no mark, no connection left of them (at most {most:,} groups at a time)")


FAULTS = (Fault("receiver killed mid-message, private", "nothing of it left after the reaper", 30, 1_000, _run),)
