"""Waits that are cancelled while messages come: by cancel(), by time limits of the caller's, by the receiver's own."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import anyio

from flowchan import receive_input, send_input
from tests.faults.checker import Sender, Witness, hold
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import RUN, looking, own_server
from tests.support.streams import CHANNEL

_TURNS = 8
"""Turns of the loop that a wait may get: fewer than a message takes, and more."""
_LONGEST = 0.0005
"""Seconds that a wait with a limit may get, likewise."""
_AHEAD = 2
_PATIENCE = 30.0


class _Listener(NamedTuple):
    """A receiver, what it saw, and whether it acknowledges."""

    receiver: Any
    saw: Witness
    acks: bool


async def _one(listener: _Listener) -> None:
    listener.saw.values.append(await listener.receiver.next())
    if listener.acks:
        listener.receiver.ack()  # on its way at once: this task may never ask again; and nothing to be cancelled in


async def _by_cancel(listener: _Listener, chance: random.Random) -> bool:
    waiting = asyncio.ensure_future(_one(listener))
    for _ in range(chance.randrange(_TURNS)):
        if waiting.done():
            break
        await asyncio.sleep(0)
    was_asked_to = waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled() == was_asked_to, "a wait that is cancelled ends at once, and as cancelled"
    if not was_asked_to:
        waiting.result()
    return was_asked_to


async def _by_scope(listener: _Listener, chance: random.Random) -> bool:
    with anyio.move_on_after(chance.random() * _LONGEST) as scope:
        await _one(listener)
    return scope.cancelled_caught


async def _by_timeout(listener: _Listener, chance: random.Random) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(chance.random() * _LONGEST):
            await _one(listener)
        return False
    return True


async def _by_its_own_limit(listener: _Listener, chance: random.Random) -> bool:
    listener.receiver._timeout = chance.random() * _LONGEST
    try:
        await _one(listener)
    except TimeoutError:
        return True
    finally:
        listener.receiver._timeout = _PATIENCE
    return False


_WAYS = (_by_cancel, _by_scope, _by_timeout, _by_its_own_limit)


class _Ordeal:
    """Senders that never stop, and receivers whose waits are cancelled, until that was often enough."""

    def __init__(self, count: int, group: str | None, progress: Callable[[int], None]) -> None:
        self.count = count
        self.cancelled = 0
        self.senders = [Sender("a"), Sender("b")]
        self.group = group
        self.witnesses = [Witness(str(number)) for number in range(3)]
        self._progress = progress
        self._is_enough = False

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            for sender in self.senders:
                tasks.start_soon(self._send, sender)
            try:
                async with anyio.create_task_group() as waiting:
                    for number, saw in enumerate(self.witnesses):
                        waiting.start_soon(self._receive, saw, random.Random(number))
            finally:
                self._is_enough = True

    async def _send(self, sender: Sender) -> None:
        # Never far ahead: where there is always a message to be had, there is no wait to cancel.
        while not self._is_enough:
            if sum(len(each.told) for each in self.senders) - self._seen() < _AHEAD:
                value = f"{sender.name}{len(sender.told)}"
                sender.sends(value)
                await send_input(value, RUN, key_prefix=CHANNEL)
                sender.acknowledged(value)
            else:
                await asyncio.sleep(0)

    def _seen(self) -> int:
        counts = [len(each.values) for each in self.witnesses]
        return min(counts) if self.group is None else sum(counts)

    async def _receive(self, saw: Witness, chance: random.Random) -> None:
        receiver = receive_input(
            str, flow_run_id=RUN, key_prefix=CHANNEL, timeout=_PATIENCE, poll_interval=10, group=self.group
        )
        listener = _Listener(receiver, saw, acks=self.group is not None)
        async with receiver:
            while self.cancelled < self.count:
                self.cancelled += await chance.choice(_WAYS)(listener, chance)
                self._progress(min(self.cancelled, self.count))
            self._is_enough = True
            await self._take_the_rest(listener)

    async def _take_the_rest(self, listener: _Listener) -> None:
        """As it ends with those who wait no more: each has all, or all together have all."""
        listener.receiver._timeout = 0.2
        quiet = asyncio.get_running_loop().time() + _PATIENCE
        while not self._is_complete(listener.saw) and asyncio.get_running_loop().time() < quiet:
            with contextlib.suppress(TimeoutError):
                await _one(listener)

    def _is_complete(self, saw: Witness) -> bool:
        sent = sum(len(each.told) for each in self.senders)
        witnesses = [saw] if self.group is None else self.witnesses
        return len({value for each in witnesses for value in each.values}) >= sent


def _run(count: int, progress: Progress, group: str | None) -> Seen:
    with own_server(append_only=False) as server:
        ordeal = _Ordeal(count, group, progress)
        asyncio.run(ordeal.run())
        with looking(server) as streams:
            stored = streams.values(RUN)
    messages = len(stored)
    counted = f"{ordeal.cancelled:,} cancelled waits of 3 receivers, {messages:,} messages of 2 senders"
    if messages < count / 100:
        raise Broken(counted, "there was no load")
    hold(stored, ordeal.senders).must_be_none(counted)
    if group is None:
        for saw in ordeal.witnesses:
            saw.hold(stored, ordeal.senders).must_be_none(counted)
        return Seen(counted, "each receiver: 0 lost, 0 twice, in order")
    together = [value for saw in ordeal.witnesses for value in saw.values]
    hold(together, ordeal.senders).must_be_none(counted, besides=["swapped"])
    return Seen(counted, "together: 0 lost, 0 twice")


FAULTS = (
    Fault(
        "cancelled waits",
        "no loss, no duplicate, order per sender",
        3_000,
        100_000,
        lambda count, progress: _run(count, progress, None),
    ),
    Fault(
        "cancelled waits in a group",
        "no loss, no duplicate",
        3_000,
        30_000,
        lambda count, progress: _run(count, progress, "shop"),
    ),
)
