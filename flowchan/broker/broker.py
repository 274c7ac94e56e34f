"""The broker as one event loop sees it: sends go into its outbox, receivers come from its hub."""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any

import anyio

from flowchan.broker.claims import Claims
from flowchan.broker.cluster.cluster import Cluster
from flowchan.broker.cluster.outboxes import Outboxes
from flowchan.broker.commands import Commands
from flowchan.broker.dead_letters import DeadLetters
from flowchan.broker.dialler import Dialler
from flowchan.broker.hub import Hub
from flowchan.broker.outbox import Outbox
from flowchan.broker.persistent import Persistent
from flowchan.broker.records import Records
from flowchan.broker.work import Work
from flowchan.settings import Settings
from flowchan.wire import keys

logger = logging.getLogger(__name__)

_FAREWELL = 5.0


class Broker:
    """One event loop's connections to one broker. Made on first use, gone with the loop.

    Use :func:`broker_of_this_loop`; there is one for each loop and settings.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        self.settings = settings
        self.loop = loop
        self.dialler = Dialler(loop, settings)
        self.dialler.found_cluster = self._found_cluster
        self.outbox: Outbox | Outboxes = Outbox(loop, self.dialler)
        self.commands = Commands(loop, self.dialler)
        self.persistent = Persistent(self.dialler, self.commands)
        self.records = Records(self.persistent, settings)
        self.claims = Claims(self.persistent, settings)
        self.dead_letters = DeadLetters(self.persistent, self.commands, settings)
        self.hub = Hub(loop, self.dialler, self.commands)
        self._farewell: AsyncGenerator[None, None] | None = None

    def _found_cluster(self, cluster: Cluster) -> None:
        # Until then there was one outbox for all, and nothing could be sent.
        outboxes = Outboxes(cluster)
        if isinstance(self.outbox, Outbox):
            outboxes.take_over(self.outbox)
        self.outbox = outboxes

    def work(self, streams: Iterable[str], group: str, poll_interval: float, most: int | None = None) -> Work:
        """A consumer of a group's work on some streams; it is handed no message more often than ``most`` says."""
        return Work(self.hub, self.claims, self.loop, streams, group, poll_interval=poll_interval, most=most)

    async def store(self, key: str, values: Mapping[str, bytes]) -> None:
        """Set fields of a run's hash, and keep it for the retention time, if it is not kept for longer already."""
        where = f"run {keys.address(key).run}"
        set_all = ("HSET", key, *(part for item in values.items() for part in item))
        expire = ("PEXPIRE", key, int(self.settings.retention * 1000))
        # GT alone takes a key without a time to live for one that is kept for longer.
        await self.persistent.all(where, [set_all, (*expire, "NX"), (*expire, "GT")])

    async def fetch(self, key: str, fields: Sequence[str]) -> list[bytes | None]:
        """Fields of a run's hash; None for each that is not there."""
        where = f"run {keys.address(key).run}"
        values: list[bytes | None] = await self.persistent.call(where, "HMGET", key, *fields)
        return values

    async def close(self) -> None:
        """Store what is still to be sent, free what the broker holds for this loop, end the connections."""
        if not self.outbox.is_idle():
            with anyio.move_on_after(_FAREWELL):
                await self.outbox.drain()
        await self.hub.close()
        # Not before: if the process ends meanwhile, what is left is to be told.
        _forget(self)
        self.outbox.close()
        self.commands.close()
        self.dialler.close()

    def give_up(self) -> None:
        """Say what was not sent, and give back the sockets: the loop was closed without notice."""
        self.outbox.give_up()
        self.abandon()

    def abandon(self) -> None:
        """Give back the sockets only: they are another process's."""
        self.outbox.abandon()
        self.commands.abandon()
        self.dialler.abandon()
        self.hub.abandon()

    async def _wait_for_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.close()

    async def begin(self) -> None:
        """Be told when the loop ends: it closes its asynchronous generators then, and this is one.

        No task waits for that, so nothing is pending when a loop is closed without notice.
        """
        self._farewell = self._wait_for_the_end()
        await anext(self._farewell)


_brokers: dict[tuple[asyncio.AbstractEventLoop, Settings], Broker] = {}
_last: Broker | None = None
"""The one that was asked for last, for that is the one that is asked for next. It is among the others."""


def broker_of_this_loop(settings: Settings) -> Broker:
    """The running loop's broker for these settings; made if there is none."""
    global _last  # noqa: PLW0603 - see there
    loop = asyncio.get_running_loop()
    broker = _last
    if broker is not None and broker.loop is loop and broker.settings is settings:
        return broker
    broker = _last = _made(loop, settings)
    return broker


def _made(loop: asyncio.AbstractEventLoop, settings: Settings) -> Broker:
    broker = _brokers.get((loop, settings))
    if broker is None:
        for (other, _), stale in list(_brokers.items()):
            if other.is_closed():
                # Another thread may be about the same.
                _forget(stale)
                stale.give_up()
        broker = _brokers[loop, settings] = Broker(loop, settings)
        _start(broker.begin())
    return broker


def _forget(broker: Broker) -> None:
    global _last  # noqa: PLW0603 - as above
    _brokers.pop((broker.loop, broker.settings), None)
    if _last is broker:
        _last = None


def brokers_of_this_loop() -> list[Broker]:
    """All that the running loop has, for whatever settings."""
    loop = asyncio.get_running_loop()
    return [broker for (other, _), broker in list(_brokers.items()) if other is loop]


def _start(coroutine: Any) -> None:
    """Run a coroutine that does not wait, here and now."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("It waited.")


def _leave_all(leave: Callable[[Broker], None]) -> None:
    global _last  # noqa: PLW0603 - as above
    brokers = list(_brokers.values())
    _brokers.clear()
    _last = None
    for broker in brokers:
        leave(broker)


# In a child the sockets are the parent's: closing its copies ends nothing for the parent.
os.register_at_fork(after_in_child=functools.partial(_leave_all, Broker.abandon))
atexit.register(_leave_all, Broker.give_up)
