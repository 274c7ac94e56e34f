"""Senders that never stop, and receivers that wait for them: what faults are done to, until it was often enough."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio

from flowchan.channels import Channels
from flowchan.errors import MessagesLost
from tests.faults.checker import Sender, Told, Value, Witness, hold
from tests.faults.newcomer import values_of
from tests.faults.surroundings import RUN
from tests.support.streams import CHANNEL
from tests.support.waiting import eventually_async

_PATIENCE = 60.0
_PAUSE = 0.001
_AHEAD = 100
"""Messages that a sender may be ahead of the slowest receiver."""


class _Listener:
    """One receiver, and the number of the last message of each sender that it got."""

    def __init__(self, name: str, group: str | None, poll_interval: float) -> None:
        self.saw = Witness(name)
        self.group = group
        self.lost: set[Value] = set()
        """What it was told is lost."""
        self.latest: dict[str, int] = {}
        self._receiver: Any = Channels().receive_input(
            str, flow_run_id=RUN, key_prefix=CHANNEL, timeout=_PATIENCE, poll_interval=poll_interval, group=group
        )

    async def listen(self) -> None:
        async with self._receiver:
            while True:
                try:
                    value = await self._receiver.next()
                except MessagesLost as error:
                    self.lost |= values_of(error)
                    continue
                self.saw.values.append(value)
                name, _, number = value.partition("-")
                self.latest[name] = int(number)


class Talk:
    """What is under way.

    Args:
        senders: how many.
        groups: the groups of the receivers, None for one that is in none.
        are_apart: whether each sender has connections of its own; else all are one client.
    """

    def __init__(
        self,
        senders: int = 3,
        groups: Sequence[str | None] = (None,),
        *,
        are_apart: bool = True,
        poll_interval: float = 10.0,
    ) -> None:
        self.senders = [Sender(f"{number}") for number in range(senders)]
        self._listeners = [_Listener(group or "private", group, poll_interval) for group in groups]
        self._gate = asyncio.Event()
        self._gate.set()
        # Settings of its own give a client connections of its own.
        homes = {sender: {"home": Path(f"/nowhere/{sender.name}")} if are_apart else {} for sender in self.senders}
        self._clients = {sender: Channels(**home) for sender, home in homes.items()}

    @property
    def sends(self) -> int:
        """How many there were."""
        return sum(len(sender.told) for sender in self.senders)

    @contextlib.asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """All send and wait within the block; at its end, what was sent has been received."""
        async with anyio.create_task_group() as tasks:
            for sender in self.senders:
                tasks.start_soon(self._keep_sending, sender)
            for listener in self._listeners:
                tasks.start_soon(listener.listen)
            await self.goes_again()
            yield
            self.rest()
            await eventually_async(lambda: not any(each.count(Told.UNKNOWN) for each in self.senders), "the answers")
            await self._all_hear({sender.name: len(sender.told) - 1 for sender in self.senders})
            tasks.cancel_scope.cancel()

    async def goes_again(self) -> None:
        """Until each receiver has got something of each sender's that is sent from now on."""
        self._gate.set()
        await self._all_hear({sender.name: len(sender.told) for sender in self.senders})

    def rest(self) -> None:
        """Begin no more sends, until it is to go again."""
        self._gate.clear()

    async def burst(self, count: int) -> None:
        """So many of each sender, quickly one after the other; returns when the last one is acknowledged."""
        for _ in range(count):
            for sender in self.senders:
                await self._send(sender)

    def hold(self, stored: Sequence[Value], counted: str) -> str:
        """What is stored, and what each receiver saw of it, against what was sent: all must be clean.

        Raises:
            Broken: it is not.
        """
        for listener in self._listeners:
            listener.saw.hold(stored, self.senders).must_be_none(
                f"{counted}; as the {listener.saw.name} receiver saw it"
            )
        return hold(stored, self.senders).must_be_none(counted)

    def hold_received(self, counted: str) -> None:
        """What each receiver saw against what was sent, whatever is stored.

        Raises:
            Broken: one of them has not seen each message once, in order, nor was told that it is lost.
        """
        for listener in self._listeners:
            hold(listener.saw.values, self.senders).must_be_none(
                f"{counted}; as the {listener.saw.name} receiver saw it"
            )

    async def _keep_sending(self, sender: Sender) -> None:
        while True:
            await self._gate.wait()
            if len(sender.told) - min(each.latest.get(sender.name, 0) for each in self._listeners) < _AHEAD:
                await self._send(sender)
            await anyio.sleep(_PAUSE)

    async def _send(self, sender: Sender) -> None:
        value = f"{sender.name}-{len(sender.told)}"
        sender.sends(value)
        await self._clients[sender].send_input(value, RUN, sender.name, CHANNEL)
        sender.acknowledged(value)

    async def _all_hear(self, wanted: dict[str, int]) -> None:
        def have_heard() -> bool:
            latest = [listener.latest for listener in self._listeners]
            return all(each.get(name, -1) >= number for each in latest for name, number in wanted.items())

        await eventually_async(have_heard, "the next message", _PATIENCE)
