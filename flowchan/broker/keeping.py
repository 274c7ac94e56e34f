"""What has channels kept for as long as they are to be, while they are sent to."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any

from flowchan.broker.connection import Connection, Refusal, ignore
from flowchan.broker.destination import Destination
from flowchan.settings import Settings

logger = logging.getLogger(__name__)

_EVERY = 10.0
"""Seconds after which a stream that was spoken to more than once has its time to live set again, or a hundredth of the
shortest retention time, if that is less. To set it with each message would cost the server a third of what it does for
one."""


class Keeping:
    """The times to live of the streams that one outbox sends to.

    Guarantees: a stream that was sent to is kept from a few seconds before its last message on, at worst, for as long as
    ``scripts/keep.lua`` says.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        server: str,
        connection: Callable[[], Connection | None],
    ) -> None:
        self.every = min(_EVERY, settings.retention_after_end_ms / 100_000)
        self._loop = loop
        self._server = server
        self._connection = connection
        self._due: dict[Destination, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._was_refused = False

    def later(self, destination: Destination) -> None:
        """It was sent to: within :attr:`every` seconds it is to be kept for longer."""
        self._due[destination] = None
        if self._timer is None:
            self._timer = self._loop.call_later(self.every, self._keep)

    def now(self, destination: Destination, connection: Connection) -> None:
        """It is to be kept for longer at once."""
        connection.write(destination.expire, functools.partial(self.answered, destination))

    def doubt(self, destinations: Iterable[Destination]) -> None:
        """The connection was lost: whether these and those that were due are kept is not known."""
        for destination in (*self._due, *destinations):
            destination.expires_at = 0.0

    def close(self) -> None:
        """Do at once what is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._keep()

    def answered(self, destination: Destination, reply: Any) -> None:
        """The server has answered to the script that keeps a stream."""
        connection = self._connection()
        if isinstance(reply, Refusal) and connection is not None:
            # No scripts for this user, or not now: a slot that is on its way has the channel, and not yet its run.
            connection.write(destination.expire_plainly, self._answered_plainly, ignore)

    def _keep(self) -> None:
        self._timer = None
        due, self._due = self._due, {}
        connection = self._connection()
        if connection is None:
            return  # what is sent again sets it, and for the rest it is a second less of days
        now = self._loop.time()
        for destination in due:
            destination.expires_at = now + self.every
            self.now(destination, connection)

    def _answered_plainly(self, reply: Any) -> None:
        if isinstance(reply, Refusal) and not self._was_refused:
            self._was_refused = True
            logger.warning("%s refuses PEXPIRE (%s): channels are kept for ever.", self._server, reply.code)
