"""What looks like one connection, and leads each command to the node that has its key."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from flowchan.broker.cluster.packed import ASKING, PING, slot_of, split
from flowchan.broker.connection import Connection, ConnectionLost, Handler, Identity, Refusal, ignore
from flowchan.broker.refusals import PASSING
from flowchan.errors import FlowchanError

if TYPE_CHECKING:
    from flowchan.broker.cluster.cluster import Cluster

_AT_ONCE = 2
"""So often a command is sent elsewhere at once; then with a pause."""


class Router(Connection):
    """To its user one connection that is never lost.

    Guarantees: a command goes to who has its key, also if that was somebody else until now: what a node sends
    elsewhere it has not done. Each answer comes to who asked. Commands of one slot, which all commands with one key
    are, are given to its node in their order, also where some had to wait. Not promised is the order of others.
    """

    def __init__(self, cluster: Cluster) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.identity = None
        self.patience = cluster.settings.connect_timeout
        self.lost = None
        self.ended = None
        self._cluster = cluster
        self._loop = cluster.loop
        self._marker = f"\n{cluster.settings.namespace}:".encode()
        self._aside: dict[int, list[_Errand]] = {}

    @property
    def is_open(self) -> bool:
        """Whether commands can be given to it."""
        return not self._cluster.is_closed

    def write(self, packed: bytes, *handlers: Handler) -> None:
        """Send packed commands that are about one key, or about none."""
        if packed == PING:
            self._ask_all(handlers[0])
            return
        slot = slot_of(packed, self._marker)
        waiting = None if slot is None else self._aside.get(slot)
        for command, handler in zip(split(packed, len(handlers)), handlers, strict=True):
            errand = _Errand(self, self._cluster, slot, command, handler)
            if waiting is None:
                errand.go()
            else:
                waiting.append(errand)

    def unblock(self, identity: Identity, handler: Handler) -> None:
        """Have the node wake a connection of its own."""
        assert identity.node is not None  # noqa: S101 - all of a Cluster's connections are with one
        self._cluster.node(identity.node).commands.unblock(identity, handler)

    def poll(self) -> None:
        """Nothing that is waited for by polling comes this way."""

    def close(self) -> None:
        """Nothing: what it leads to ends with the Cluster."""

    def abandon(self) -> None:
        """Give back the sockets of all nodes."""
        self._cluster.abandon()

    def put_aside(self, errand: _Errand) -> None:
        """Have a command tried again later, and what is about its slot not before it."""
        pause = random.uniform(0.25, 0.5)  # noqa: S311 - jitter
        if errand.slot is None:
            self._loop.call_later(pause, errand.again)
            return
        waiting = self._aside.get(errand.slot)
        if waiting is None:
            waiting = self._aside[errand.slot] = []
            self._loop.call_later(pause, self._take_up, errand.slot)
        waiting.append(errand)

    def _take_up(self, slot: int) -> None:
        for errand in self._aside.pop(slot):
            errand.again()

    def _ask_all(self, handler: Handler) -> None:
        """PING is given to know that all before it was done: so by all who were spoken to."""
        nodes = [node for node in self._cluster.nodes() if node.commands.connection is not None]
        if not nodes:
            _Errand(self, self._cluster, None, PING, handler).go()
            return
        left = len(nodes)

        def answered(reply: Any) -> None:
            nonlocal left
            left -= 1
            if not left:
                handler(reply)

        for node in nodes:
            node.commands.write(PING, answered)


class _Errand:
    """One command on its way to its key."""

    __slots__ = ("_asked", "_cluster", "_command", "_handler", "_router", "_tries", "slot")

    def __init__(self, router: Router, cluster: Cluster, slot: int | None, command: bytes, handler: Handler) -> None:
        self.slot = slot
        """The slot of its key; None where it has none."""
        self._router = router
        self._cluster = cluster
        self._command = command
        self._handler = handler
        self._tries = 0
        self._asked = cluster.any_node() if slot is None else cluster.node_of(slot)

    def go(self) -> None:
        """Give the command to who has the key, as far as is known."""
        if self._cluster.is_closed:
            self._cluster.loop.call_soon(self._handler, ConnectionLost("The client was closed."))
        elif self._asked is None:
            self._cluster.doubt()
            self._cluster.loop.call_soon(self._handler, Refusal("CLUSTERDOWN Nobody is known to have this slot."))
        else:
            self._asked.commands.write(self._command, self._answered)

    def _answered(self, reply: Any) -> None:
        if not isinstance(reply, Exception):
            self._handler(reply)
        elif isinstance(reply, Refusal):
            self._refused(reply)
        else:
            self._cluster.doubt()
            if isinstance(reply, FlowchanError) and not self._cluster.is_closed:
                # It was not given to anybody, so it waits for who has the slot next.
                self._router.put_aside(self)
            else:
                self._handler(reply)

    def _refused(self, refusal: Refusal) -> None:
        assert self._asked is not None  # noqa: S101 - it has refused
        if refusal.code == "MOVED":
            self._cluster.moved(refusal, self._asked.address)
            self._tries += 1
            if self._tries <= _AT_ONCE:
                self.again()
            else:
                self._router.put_aside(self)
        elif refusal.code == "ASK":
            self._asked = self._cluster.asked(refusal, self._asked.address)
            self._asked.commands.write(ASKING + self._command, ignore, self._answered)
        else:
            if refusal.code in PASSING:
                self._cluster.doubt()
            self._handler(refusal)

    def again(self) -> None:
        """Give it to who has the key by what is known now."""
        self._asked = self._cluster.any_node() if self.slot is None else self._cluster.node_of(self.slot)
        self.go()
