"""A send: under way, and in the end stored or failed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from flowchan.broker.connection import ConnectionLost, Refusal
from flowchan.errors import FlowchanError
from flowchan.wire import keys

if TYPE_CHECKING:
    from flowchan.broker.destination import Destination
    from flowchan.broker.outbox import Outbox

logger = logging.getLogger(__name__)


class Sent:
    """One send under way, and in the end the ID of its entry or why there is none.

    It is its own handler of replies: ten thousand sends under way are ten thousand objects, not five times as many.
    """

    __slots__ = (
        "_expiring",
        "_others",
        "_outbox",
        "_waiter",
        "deadline",
        "destination",
        "entry",
        "error",
        "is_over",
        "is_unwatched",
        "marker",
        "message_id",
        "number",
        "packed",
        "refusal",
        "written",
    )  # fmt: skip

    def __init__(
        self,
        outbox: Outbox,
        number: int,
        destination: Destination,
        message_id: str,
        packed: bytes,
        marker: str | None,
    ) -> None:
        self.number = number
        self.destination = destination
        self.message_id = message_id
        self.packed = packed
        self.marker = marker
        """What is there when it was stored, if it was sent with an idempotency key: then it can be sent again unseen."""
        self.written = False
        """Whether it may be stored: it was given to a connection, and not refused."""
        self.refusal: Refusal | None = None
        self.deadline = 0.0
        """When to give up; 0 while nothing is wrong."""
        self.entry: bytes | None = None
        """Where it was stored, as the server says it."""
        self.error: FlowchanError | None = None
        self.is_over = False
        """Whether it is known to be stored, or to have failed."""
        self.is_unwatched = False
        self._expiring = False
        self._outbox = outbox
        self._waiter: asyncio.Future[None] | None = None
        self._others: list[asyncio.Future[None]] | None = None

    @property
    def stream(self) -> str:
        """Where it is sent to."""
        return self.destination.stream

    @property
    def idempotency_key(self) -> str:
        """The key with which it may be sent again: its own, or its ID."""
        return self.message_id if self.marker is None else keys.idempotency_key_of(self.stream, self.marker)

    @property
    def where(self) -> str:
        """The run and the channel, for a message to a person."""
        _, run, channel = keys.address(self.stream)
        return f"run {run}, channel {channel}"

    def over(self) -> asyncio.Future[None]:
        """A future of the caller's own: a task that is cancelled cancels what it waits for, and the send goes on."""
        waiter = self._outbox.loop.create_future()
        if self.is_over:
            waiter.set_result(None)
        elif self._waiter is None or self._waiter.done():
            self._waiter = waiter
        else:
            self._others = [*(self._others or ()), waiter]
        return waiter

    def belong_to(self, outbox: Outbox, number: int) -> None:
        """Another outbox is to send it."""
        self._outbox, self.number = outbox, number

    def written_with(self, *, expiring: bool) -> None:
        """It was given to a connection, alone or with a PEXPIRE behind it."""
        self.written, self._expiring, self.refusal = True, expiring, None

    def __call__(self, reply: Any) -> None:
        """Take the reply to XADD, then the one to PEXPIRE if that was sent along."""
        if self.entry is None and type(reply) is bytes and not self.is_over:
            self.entry = reply
            if not self._expiring:
                self._outbox.succeeded(self)
        elif isinstance(reply, ConnectionLost):
            return  # it stays pending; the loss is handled once, for all
        elif self.entry is not None:
            self._outbox.expired(self, reply)
        elif isinstance(reply, Refusal) and self.written and not self.is_over:
            self._outbox.refused(self, reply)

    def end(self, error: FlowchanError | None = None) -> None:
        """Tell who waits."""
        self.is_over, self.error = True, error
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        others, self._others = self._others, None
        for other in others or ():
            if not other.done():
                other.set_result(None)


def log_failure(sent: Sent) -> None:
    """Say that a send failed that nobody awaits."""
    logger.error("A message that nobody awaits was not sent (%s): %s", sent.where, sent.error)
