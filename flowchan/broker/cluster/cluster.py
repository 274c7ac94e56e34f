"""A Cluster as one event loop sees it: its nodes, and which of them has what."""

from __future__ import annotations

import asyncio
import functools
import random
import weakref
from collections.abc import Iterator

from flowchan.broker.address import Address
from flowchan.broker.attempt import Attempt
from flowchan.broker.cluster.node import Node
from flowchan.broker.cluster.router import Router
from flowchan.broker.cluster.topology import Topology, redirection
from flowchan.broker.cluster.way import Way
from flowchan.broker.connect import ask_topology
from flowchan.broker.connection import Connection, Refusal
from flowchan.errors import FlowchanError
from flowchan.settings import Settings

_ONCE_A = 1.0
_PULSE = 1.0
"""Seconds between two looks at whether the nodes answer."""

_SILENT = 2.0
"""Seconds without an answer after which somebody else may have a node's slots."""


class Cluster:
    """The nodes of a Cluster, and where its slots are.

    A node that sends a command elsewhere is believed, for that slot, at once. All else is asked for again
    whenever something is not where it should be, about once a second: whoever has lost something calls
    :meth:`doubt`, and tries again by what is known then.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, settings: Settings, name: str, topology: Topology, seed: Address
    ) -> None:
        self.settings = settings
        self.loop = loop
        self.name = name
        """For messages to a person."""
        self.is_closed = False
        self._topology = topology
        self._seed = seed
        self._nodes: dict[Address, Node] = {}
        self._ways: dict[int, Way] = {}
        self._placed: weakref.WeakKeyDictionary[Connection, tuple[int, Address]] = weakref.WeakKeyDictionary()
        self._best_informed: Address | None = None
        self._asking = False
        self._asked_at = float("-inf")
        self._is_feeling = False

    @property
    def trouble(self) -> FlowchanError | None:
        """Why a node that has slots cannot be reached; None while all can that were spoken to."""
        nodes = (self._nodes.get(address) for address in self._topology.addresses())
        return next((node.trouble for node in nodes if node is not None and node.trouble is not None), None)

    def router(self) -> Router:
        """What looks like one connection to all of it."""
        return Router(self)

    def way(self, slot: int) -> Way:
        """What leads to a slot, wherever it is."""
        way = self._ways.get(slot)
        if way is None:
            way = self._ways[slot] = Way(self, slot)
        return way

    def node_of(self, slot: int) -> Node | None:
        """Who has a slot; None while nobody is known to."""
        address = self._topology.primary(slot)
        return None if address is None else self.node(address)

    def any_node(self) -> Node:
        """One that can be asked what any can answer."""
        nodes = [self.node(address) for address in self._topology.addresses() or [self._seed]]
        return next((node for node in nodes if node.trouble is None), random.choice(nodes))  # noqa: S311 - no secret

    def node(self, address: Address) -> Node:
        """The node at an address."""
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(self, address)
        return node

    def nodes(self) -> Iterator[Node]:
        """All that were spoken to."""
        return iter(tuple(self._nodes.values()))

    def primaries(self) -> list[Address]:
        """All that have slots."""
        return self._topology.addresses()

    def place(self, connection: Connection, slot: int, address: Address) -> None:
        """Have a connection dropped when the slot that it is for is elsewhere."""
        self._placed[connection] = slot, address
        if not self._is_feeling:
            self._is_feeling = True
            self.loop.call_later(_PULSE, self._feel_pulse)

    # --- what is where -----------------------------------------------------------------------------

    def moved(self, refusal: Refusal, asked: Address) -> None:
        """A node said that a slot is elsewhere."""
        slot, address = redirection(str(refusal), asked)
        self._best_informed = address
        if self._topology.primary(slot) != address:
            self._topology.move(slot, address)
            self._drop_misplaced()
        self.doubt()

    def asked(self, refusal: Refusal, asked: Address) -> Node:
        """The node that has a key of a slot already that is on its way there."""
        return self.node(redirection(str(refusal), asked)[1])

    def doubt(self) -> None:
        """Something is not where it should be: ask where all is, unless that was asked just now."""
        if self._asking or self.is_closed:
            return
        self._asking = True
        pause = self._asked_at + _ONCE_A * random.uniform(0.75, 1.25) - self.loop.time()  # noqa: S311 - jitter
        self.loop.call_later(max(0.0, pause), self._ask)

    def _ask(self) -> None:
        if self.is_closed:
            return
        addresses = list({*self._topology.addresses(), *self._nodes, self._seed})
        random.shuffle(addresses)
        # Who has just got a slot knows more than the others.
        addresses.sort(key=lambda each: (each != self._best_informed, not self.node(each).is_well(_SILENT)))
        work = functools.partial(ask_topology, self.settings, addresses)
        Attempt(self.loop, work, self._told).start(self.settings.connect_timeout)

    def _told(self, outcome: Topology | BaseException) -> None:
        self._asking = False
        self._asked_at = self.loop.time()
        self._best_informed = None
        if not isinstance(outcome, BaseException) and not self.is_closed:
            self._topology = outcome
            self._drop_misplaced()

    def _feel_pulse(self) -> None:
        """A node that hangs refuses nothing and loses nothing: only its silence tells."""
        if self.is_closed:
            return
        used = {address for connection, (_, address) in self._placed.items() if connection.is_open}
        for node in map(self.node, used):
            if not node.is_well(_SILENT):
                self.doubt()
            node.feel_pulse()
        self._is_feeling = bool(used)
        if used:
            self.loop.call_later(_PULSE, self._feel_pulse)

    def _drop_misplaced(self) -> None:
        primaries = self._topology.addresses()
        for node in self.nodes():
            if node.address not in primaries and not node.is_well(_SILENT):
                self.loop.call_soon(node.drop)
        for connection, (slot, address) in list(self._placed.items()):
            if connection.is_open and self._topology.primary(slot) not in (None, address):
                # Not at once: this one may be in the middle of something.
                self.loop.call_soon(connection.drop, "Its slot is on another node.")

    # --- the end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """End all connections that are shared; who waits for an answer is told."""
        self.is_closed = True
        for node in self.nodes():
            node.close()

    def abandon(self) -> None:
        """Give back their sockets only."""
        self.is_closed = True
        for node in self.nodes():
            node.abandon()
