"""The sends of one event loop to a Cluster: an outbox for each slot, so that one node's trouble is not another's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flowchan.broker.cluster.way import Branches
from flowchan.broker.outbox import Outbox
from flowchan.broker.sent import Sent
from flowchan.errors import SendQueueFull
from flowchan.wire import keys

if TYPE_CHECKING:
    from flowchan.broker.cluster.cluster import Cluster


class Outboxes:
    """Holds what :class:`Outbox` promises, for each run: in order, exactly once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._limit = cluster.settings.max_pending
        self._outboxes: dict[int, Outbox] = {}
        self._most_waiting = 0
        """No fewer than wait: counted when that would be too many, not with each send."""

    def of(self, stream: str) -> Outbox:
        """Who sends to a stream."""
        slot = keys.slot(stream)
        outbox = self._outboxes.get(slot)
        if outbox is None:
            outbox = self._outboxes[slot] = Outbox(self._cluster.loop, Branches(self._cluster, slot))
        return outbox

    def send(
        self,
        stream: str,
        sender: str | None,
        schema: str,
        headers: Mapping[str, str],
        body: bytes,
        once: str | None = None,
    ) -> Sent:
        """Put one message on its way; see :meth:`Outbox.send`."""
        if self._most_waiting >= self._limit:
            self._most_waiting = sum([outbox.waiting for outbox in self._outboxes.values()])
            if self._most_waiting >= self._limit:
                raise SendQueueFull(self._most_waiting)
        self._most_waiting += 1
        return self.of(stream).send(stream, sender, schema, headers, body, once)

    def take_over(self, outbox: Outbox) -> None:
        """Send what waits in an outbox that has sent nothing yet."""
        pending, drains = outbox.hand_over()
        self._most_waiting += len(pending)
        for sent in pending:
            self.of(sent.stream).adopt(sent)
        if drains:

            def drained(_: asyncio.Task[None]) -> None:
                for drain in drains:
                    if not drain.done():
                        drain.set_result(None)

            self._cluster.loop.create_task(self.drain()).add_done_callback(drained)

    def is_idle(self) -> bool:
        """Whether every send has ended."""
        return all(outbox.is_idle() for outbox in self._outboxes.values())

    async def drain(self) -> None:
        """Wait until every send so far has ended, well or badly."""
        for outbox in list(self._outboxes.values()):
            await outbox.drain()

    def close(self) -> None:
        """End the connections. What is still pending fails."""
        for outbox in self._outboxes.values():
            outbox.close()

    def give_up(self) -> None:
        """Say what has not been stored, and give back the sockets."""
        for outbox in self._outboxes.values():
            outbox.give_up()

    def abandon(self) -> None:
        """Give back the sockets only."""
        for outbox in self._outboxes.values():
            outbox.abandon()
