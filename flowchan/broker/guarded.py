"""A connection that ends when its server says that it is not the one any more."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import hiredis

from flowchan.broker.connection import Connection, Identity, Refusal


class Guarded(Connection):
    """A connection that is lost by a refusal, too: of a primary that became a replica, of a node whose slot moved away.

    Guarantees: the command that met the refusal was not done; its handler is told that the connection was lost,
    as all others are. What is not refused costs nothing more than with any connection.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        identity: Identity | None,
        patience: float,
        is_the_end: Callable[[Refusal], bool],
    ) -> None:
        super().__init__(loop, sock, identity, patience)
        self._is_the_end = is_the_end
        self._reader = hiredis.Reader(replyError=self._refused)

    def _refused(self, text: str) -> Refusal:
        refusal = Refusal(text)
        if self._is_the_end(refusal):
            self.drop(f"The server said {refusal.code}.")
        return refusal
