"""A branch: what one slot's sends see of the connection that they share with others of the same node."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from typing import TYPE_CHECKING, Any

from flowchan.broker.cluster.packed import ASKING, is_script, split
from flowchan.broker.connection import Connection, ConnectionLost, Handler, Refusal, ignore
from flowchan.broker.destination import KEEP
from flowchan.broker.refusals import PASSING
from flowchan.errors import FlowchanError

if TYPE_CHECKING:
    from flowchan.broker.cluster.cluster import Cluster
    from flowchan.broker.cluster.node import Node


class Branch(Connection):
    """To its user a connection of its own: it can be closed and it can be lost, and the others go on.

    It is lost with the shared connection, and also when the slot is elsewhere. What was given to it and not
    answered by then may have been done. A key that has gone to another node before its slot is followed
    there: such a node answers ``ASK`` until all of the slot has moved. A script is about two keys, which may be
    with two nodes then: it is refused, where the commands behind it would not be. So these wait for its answer.
    """

    def __init__(self, cluster: Cluster, node: Node, trunk: Connection) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.identity = trunk.identity
        self.patience = trunk.patience
        self.lost = None
        self.ended = None
        self._cluster = cluster
        self._node = node
        self._trunk = trunk
        self._loop: asyncio.AbstractEventLoop = cluster.loop
        self._is_open = True
        self._given: deque[tuple[bytes, int, int, Handler]] = deque()
        self._redirected: deque[Handler] = deque()
        self._has_script = False
        self._held: deque[tuple[bytes, tuple[Handler, ...]]] = deque()

    @property
    def is_open(self) -> bool:
        """Whether commands can be given to it."""
        return self._is_open

    def write(self, packed: bytes, *handlers: Handler) -> None:
        """Send packed commands, as any connection does."""
        if not self._is_open:
            lost = ConnectionLost("The connection is closed.")
            for handler in handlers:
                self._loop.call_soon(handler, lost)
        elif self._has_script:
            self._held.append((packed, handlers))
        else:
            self._give(packed, handlers)

    def _give(self, packed: bytes, handlers: tuple[Handler, ...]) -> None:
        if is_script(packed) and not packed.startswith(KEEP):  # to keep a channel is no matter of order
            self._has_script = True
            handlers = (functools.partial(self._script_answered, handlers[0]), *handlers[1:])
        count = len(handlers)
        answered = self._answered
        for index, handler in enumerate(handlers):
            self._given.append((packed, index, count, handler))
        self._trunk.write(packed, *[answered] * count)

    def _script_answered(self, handler: Handler, reply: Any) -> None:
        self._has_script = False
        handler(reply)
        # Whoever drops this connection because of the answer sends what is held elsewhere, behind what was refused.
        while self._held and self._is_open and not self._has_script and self.lost is not None:
            self._give(*self._held.popleft())

    def poll(self) -> None:
        """Handle what has arrived by now."""
        self._trunk.poll()

    def last_words(self) -> None:
        """Handle the replies that have arrived, though the loop is closed."""
        self._trunk.last_words()

    def abandon(self) -> None:
        """Give back the socket and nothing else."""
        self._is_open = False
        self.lost = None
        self._trunk.abandon()

    def _answered(self, reply: Any) -> None:
        if not self._is_open:
            return
        if isinstance(reply, Exception):
            self._troubled(reply)
        else:
            self._given.popleft()[3](reply)

    def _troubled(self, reply: Exception) -> None:
        if isinstance(reply, Refusal) and reply.code == "MOVED":
            self._cluster.moved(reply, self._node.address)
            self._end(ConnectionLost("Its slot is on another node."))
        elif isinstance(reply, Refusal) and reply.code == "ASK":
            packed, index, count, handler = self._given.popleft()
            target = self._cluster.asked(reply, self._node.address)
            self._redirected.append(handler)
            followed = functools.partial(self._followed, handler)
            target.sends.write(ASKING + split(packed, count)[index], ignore, followed)
        elif isinstance(reply, Refusal):
            if reply.code in PASSING:
                self._cluster.doubt()
            self._given.popleft()[3](reply)
        else:
            self._cluster.doubt()
            self._end(reply if isinstance(reply, ConnectionLost) else ConnectionLost("There is no connection."))

    def _followed(self, handler: Handler, reply: Any) -> None:
        """The answer of the node to which a key has gone."""
        if not self._is_open:
            return
        if isinstance(reply, (ConnectionLost, FlowchanError)) or (
            isinstance(reply, Refusal) and reply.code in ("MOVED", "ASK")
        ):
            self._cluster.doubt()
            self._end(ConnectionLost("Its slot is being moved."))
            return
        self._redirected.remove(handler)
        handler(reply)

    def _end(self, lost: ConnectionLost) -> None:
        if not self._is_open:
            return
        self._is_open = False
        tell, self.lost = self.lost, None
        while self._redirected:
            self._redirected.popleft()(lost)
        while self._given:
            self._given.popleft()[3](lost)
        while self._held:
            for held in self._held.popleft()[1]:
                held(lost)
        if tell is not None:
            tell(lost)
