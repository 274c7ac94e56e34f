"""The way to one slot of a Cluster: to whichever node has it when it is gone."""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING, Any

from flowchan.broker.cluster.branch import Branch
from flowchan.broker.connection import Connection, ConnectionLost, Refusal, pack
from flowchan.broker.opener import Ready
from flowchan.broker.refusals import PASSING
from flowchan.errors import BrokerUnavailable, FlowchanError
from flowchan.wire import keys

if TYPE_CHECKING:
    from flowchan.broker.cluster.cluster import Cluster
    from flowchan.broker.cluster.node import Node
    from flowchan.settings import Settings


class Way:
    """Opens connections for the lanes of one slot. While nobody has the slot, it is tried again and again."""

    def __init__(self, cluster: Cluster, slot: int) -> None:
        self._cluster = cluster
        self._slot = slot

    @property
    def settings(self) -> Settings:
        """The Cluster's."""
        return self._cluster.settings

    @property
    def name(self) -> str:
        """The Cluster's."""
        return self._cluster.name

    @property
    def trouble(self) -> FlowchanError | None:
        """Why who has the slot cannot be reached at present; None while it can."""
        node = self._cluster.node_of(self._slot)
        return None if node is None else node.trouble

    def open(self, ready: Ready) -> None:
        """Open a connection to who has the slot; ``ready`` gets it once there is one."""
        node = self._cluster.node_of(self._slot)
        if self._cluster.is_closed:
            self._cluster.loop.call_soon(ready, BrokerUnavailable("This client was closed."))
        elif node is None:
            self._again(ready)
        else:
            self._try(node, ready)

    def _try(self, node: Node, ready: Ready) -> None:
        def opened(connection: Connection | FlowchanError) -> None:
            if isinstance(connection, FlowchanError):
                self._again(ready)
                return
            self._cluster.place(connection, self._slot, node.address)
            ready(connection)

        node.open_guarded(opened, functools.partial(self._is_elsewhere, node))

    def _again(self, ready: Ready) -> None:
        self._cluster.doubt()
        self._cluster.loop.call_later(random.uniform(0.25, 0.5), self.open, ready)  # noqa: S311 - jitter

    def _is_elsewhere(self, node: Node, refusal: Refusal) -> bool:
        if refusal.code == "MOVED":
            self._cluster.moved(refusal, node.address)
            return True
        if refusal.code in PASSING:
            self._cluster.doubt()
        return False


class Branches(Way):
    """The same for sends: branches of the node's one connection for them.

    One is handed out when the node has taken a command for the slot. So what is sent with it first is not
    refused while what is sent with it next is taken.
    """

    def _try(self, node: Node, ready: Ready) -> None:
        tag = keys.TAGS[self._slot * keys.PARTITIONS // keys.SLOTS]
        # Of a key that is not there: nothing is changed, but who must not write refuses it.
        probe = pack(("PEXPIRE", keys.nothing(self.settings.namespace, tag), 1))

        def answered(reply: Any) -> None:
            if isinstance(reply, Refusal) and reply.code == "MOVED":
                self._cluster.moved(reply, node.address)
                self._again(ready)
            elif isinstance(reply, (ConnectionLost, FlowchanError)) or (
                # A slot on its way is with two: what is to be sent where is found out by sending it.
                isinstance(reply, Refusal) and reply.code in PASSING - {"ASK", "TRYAGAIN"}
            ):
                self._again(ready)
            else:
                self._opened(node, ready)

        node.sends.write(probe, answered)

    def _opened(self, node: Node, ready: Ready) -> None:
        trunk = node.sends.connection
        if trunk is None:
            self._again(ready)
            return
        branch = Branch(self._cluster, node, trunk)
        self._cluster.place(branch, self._slot, node.address)
        ready(branch)
