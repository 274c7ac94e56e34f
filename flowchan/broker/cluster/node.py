"""One node of a Cluster: the two connections that all share, and as many more as there are lanes."""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from flowchan.broker.attempt import Attempt
from flowchan.broker.cluster.packed import PING
from flowchan.broker.commands import Commands
from flowchan.broker.connect import Dialled, dial_node, node_name, unavailable
from flowchan.broker.connection import REPLY_PATIENCE, Connection, Refusal, ignore
from flowchan.broker.guarded import Guarded
from flowchan.broker.losses import Losses
from flowchan.broker.opener import Ready
from flowchan.errors import BrokerUnavailable, FlowchanError

if TYPE_CHECKING:
    from flowchan.broker.address import Address
    from flowchan.broker.cluster.cluster import Cluster
    from flowchan.settings import Settings

logger = logging.getLogger(__name__)


class Node:
    """Opens connections to one node. While that fails, one attempt a second is made; all others fail at once.

    So whoever waits tries again by themselves, perhaps elsewhere: a node that is gone need not come back.
    """

    def __init__(self, cluster: Cluster, address: Address) -> None:
        self.address = address
        self.name = node_name(address)
        self.trouble: FlowchanError | None = None
        self.sends = Commands(cluster.loop, self)
        """The connection that carries sends, in their order, …"""
        self.commands = Commands(cluster.loop, self)
        """… and the one for all else that does not wait."""
        self._cluster = cluster
        self._loop = cluster.loop
        self._shut_until = 0.0
        self._losses = Losses(cluster.loop)

    @property
    def settings(self) -> Settings:
        """The Cluster's."""
        return self._cluster.settings

    def open(self, ready: Ready) -> None:
        """Open a connection, or say why there is none, in a later turn of the loop."""
        self.open_guarded(ready, None)

    def open_guarded(self, ready: Ready, is_the_end: Callable[[Refusal], bool] | None) -> None:
        """Open a connection that ends when it is refused something in such a way."""
        if self._cluster.is_closed:
            self._loop.call_soon(ready, BrokerUnavailable("This client was closed."))
            return
        if self.trouble is not None:
            if self._loop.time() < self._shut_until:
                self._loop.call_soon(ready, self.trouble)
                return
            self._shut()
        self._loop.call_later(self._losses.pause, self._attempt, ready, is_the_end)

    def is_well(self, patience: float) -> bool:
        """Whether it can be reached, and has not left anything unanswered for so many seconds."""
        links = (self.sends.connection, self.commands.connection)
        return self.trouble is None and all(link is None or link.silence < patience for link in links)

    def feel_pulse(self) -> None:
        """Have it answer something, unless it is about that."""
        link = self.commands.connection
        if link is None or not link.silence:
            self.commands.write(PING, ignore)

    def drop(self) -> None:
        """Somebody else has its slots: what is not answered yet is asked there."""
        for link in (self.sends.connection, self.commands.connection):
            if link is not None:
                link.drop("Another node has its slots.")

    def close(self) -> None:
        """End the shared connections."""
        self.sends.close()
        self.commands.close()

    def abandon(self) -> None:
        """Give back their sockets only."""
        self.sends.abandon()
        self.commands.abandon()

    def _attempt(self, ready: Ready, is_the_end: Callable[[Refusal], bool] | None) -> None:
        work = functools.partial(dial_node, self.settings, self.address)
        late = functools.partial(unavailable, self.settings, self.name, TimeoutError())
        attempted = functools.partial(self._attempted, ready, is_the_end)
        Attempt(self._loop, work, attempted).start(self.settings.connect_timeout, late)

    def _attempted(
        self, ready: Ready, is_the_end: Callable[[Refusal], bool] | None, outcome: Dialled | BaseException
    ) -> None:
        if self._cluster.is_closed:
            ready(BrokerUnavailable("This client was closed."))
        elif isinstance(outcome, BaseException):
            ready(self._failed(outcome))
        else:
            ready(self._succeeded(outcome, is_the_end))

    def _failed(self, error: BaseException) -> FlowchanError:
        if not isinstance(error, FlowchanError):
            error = BrokerUnavailable(f"{self.name} cannot be reached: {type(error).__name__}.")
        if self.trouble is None:
            logger.warning("%s Looking about once a second for who has its slots.", error)
        self.trouble = error
        self._shut()
        return error

    def _shut(self) -> None:
        """Let all but one who ask for a connection be told the trouble, for about a second."""
        self._shut_until = self._loop.time() + random.uniform(0.5, 1.5)  # noqa: S311 - jitter

    def _succeeded(self, outcome: Dialled, is_the_end: Callable[[Refusal], bool] | None) -> Connection:
        if self.trouble is not None:
            logger.warning("%s is back.", self.name)
        self.trouble = None
        patience = min(REPLY_PATIENCE, self.settings.send_timeout)
        if is_the_end is None:
            connection = Connection(self._loop, outcome.take(), outcome.identity, patience)
        else:
            connection = Guarded(self._loop, outcome.take(), outcome.identity, patience, is_the_end)
        connection.ended = functools.partial(self._losses.count, self._loop.time())
        return connection
