"""One connection for what is neither a send nor a wait: looks, groups, stored inputs."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from flowchan.broker.cluster.router import Router
from flowchan.broker.connection import Connection, ConnectionLost, Handler, Identity, pack
from flowchan.broker.opener import Opener
from flowchan.errors import FlowchanError


class Commands:
    """Short commands of one event loop, pipelined.

    A command that is given while the broker is away waits for it. One that was under way when the
    connection ended is not sent again: its handler is told, and knows whether that would be safe.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, dialler: Opener) -> None:
        self._loop = loop
        self._dialler = dialler
        self._connection: Connection | None = None
        self._opening = False
        self._queue: deque[tuple[bytes, tuple[Handler, ...]]] = deque()

    def request(self, handler: Handler, *command: Any) -> None:
        """Send a command; ``handler`` takes the reply, or the exception that stands for it."""
        self.write(pack(command), handler)

    def write(self, packed: bytes, *handlers: Handler) -> None:
        """Send packed commands, as :meth:`Connection.write` does."""
        if self._connection is not None:
            self._connection.write(packed, *handlers)
            return
        self._queue.append((packed, handlers))
        if not self._opening:
            self._opening = True
            self._dialler.open(self._opened)

    @property
    def connection(self) -> Connection | None:
        """The one that is open; None while there is none."""
        return self._connection

    @property
    def is_asking(self) -> bool:
        """Whether an answer is outstanding, or a connection that commands wait for."""
        return self._opening or (self._connection is not None and self._connection.silence > 0)

    def unblock(self, identity: Identity, handler: Handler) -> None:
        """Wake another connection out of a read that blocks it."""
        if isinstance(self._connection, Router):
            self._connection.unblock(identity, handler)
        else:
            self.request(handler, "CLIENT", "UNBLOCK", identity.id)

    async def call(self, *command: Any) -> Any:
        """Send a command and wait for its reply.

        Raises:
            Refusal: the server said no.
            ConnectionLost: the connection ended before the reply.
            FlowchanError: there is no connection to be had.
        """
        reply = await self.ask(*command)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def ask(self, *command: Any) -> asyncio.Future[Any]:
        """Send a command; the future has its reply, or the exception that stands for it as its result."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def resolve(reply: Any) -> None:
            if not future.done():
                future.set_result(reply)

        self.request(resolve, *command)
        return future

    def close(self) -> None:
        """End the connection; who waits is told."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abandon(self) -> None:
        """Give back the socket only: the loop is closed, or another process's."""
        if self._connection is not None:
            self._connection.abandon()

    def _opened(self, connection: Connection | FlowchanError) -> None:
        self._opening = False
        queue, self._queue = self._queue, deque()
        if isinstance(connection, FlowchanError):
            for _, handlers in queue:
                for handler in handlers:
                    handler(connection)
            return
        connection.lost = self._lost
        self._connection = connection
        for packed, handlers in queue:
            connection.write(packed, *handlers)

    def _lost(self, _: ConnectionLost) -> None:
        self._connection = None
