"""Connections for one event loop: opened in threads, and not in a hurry while the broker is away."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import weakref
from collections import deque
from collections.abc import Callable

from flowchan.broker.address import Address
from flowchan.broker.attempt import Attempt
from flowchan.broker.cluster.cluster import Cluster
from flowchan.broker.connect import Dialled, dial, unavailable
from flowchan.broker.connection import REPLY_PATIENCE, Connection, Refusal
from flowchan.broker.guarded import Guarded
from flowchan.broker.losses import Losses
from flowchan.broker.opener import Opener, Ready
from flowchan.broker.url import place_of
from flowchan.errors import BrokerUnavailable, FlowchanError
from flowchan.settings import Settings
from flowchan.wire import keys

logger = logging.getLogger(__name__)

_PAUSE = 1.0

WATCHED_PATIENCE = 4.0
"""As ``REPLY_PATIENCE``, where sentinels may have chosen another server by then."""


class Dialler:
    """Opens connections for one event loop, and knows whether the broker is there.

    While it is not, one attempt stands for all who wait, and the next one begins a second to one and a half behind its
    end: a process with many connections does not storm a server that comes back.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        self.settings = settings
        self.trouble: FlowchanError | None = None
        """Why the last attempt failed; None while the broker answers."""
        self.name = "The broker"
        self.cluster: Cluster | None = None
        """What the broker turned out to be; None while it is one server, or nobody knows."""
        self.found_cluster: Callable[[Cluster], None] | None = None
        """Called once, before anybody is handed a connection to it."""
        self._loop = loop
        self._was_there = False
        self._closed = False
        self._waiting: deque[Ready] = deque()
        self._probing = False
        self._losses = Losses(loop)
        self.is_watched = (settings.url or "").partition("://")[0].endswith("+sentinel")
        """By sentinels, which name one server after the other: who has left the old one takes the others along."""
        self._address: Address | None = None
        self._to_primary: weakref.WeakSet[Connection] = weakref.WeakSet()

    def open(self, ready: Ready) -> None:
        """Open a connection and hand it to ``ready``, in a later turn of the loop.

        If the broker was never reached, ``ready`` gets the error of the first attempt. If it was, attempts
        go on until one succeeds: those who wait have deadlines of their own.
        """
        if self._closed:
            self._loop.call_soon(ready, BrokerUnavailable("This client was closed."))
        elif self.cluster is not None:
            self._loop.call_soon(ready, self.cluster.router())
        elif self.trouble is None and self._losses.pause:
            self._loop.call_later(self._losses.pause, self._attempt, ready)
        elif self.trouble is None:
            self._attempt(ready)
        else:
            self._waiting.append(ready)
            if not self._probing:
                self._probing = True
                self._loop.call_later(random.uniform(_PAUSE, 1.5 * _PAUSE), self._probe)  # noqa: S311 - jitter

    def way(self, stream: str) -> Opener:
        """What leads to the server that has a stream."""
        return self if self.cluster is None else self.cluster.way(keys.slot(stream))

    def close(self) -> None:
        """Stop; who waits is told."""
        self._closed = True
        if self.cluster is not None:
            self.cluster.close()
        waiting, self._waiting = self._waiting, deque()
        for ready in waiting:
            ready(BrokerUnavailable("This client was closed."))

    def abandon(self) -> None:
        """Give back the sockets that nobody else knows of."""
        if self.cluster is not None:
            self.cluster.abandon()

    def _probe(self) -> None:
        self._probing = False
        if self._waiting and not self._closed:
            self._attempt(self._waiting.popleft())

    def _attempt(self, ready: Ready) -> None:
        attempt = Attempt(self._loop, functools.partial(dial, self.settings), functools.partial(self._attempted, ready))
        if self.settings.url is None:
            attempt.start()  # it takes as long as a server takes to start
        else:
            attempt.start(self.settings.connect_timeout, self._late)

    def _late(self) -> BrokerUnavailable:
        assert self.settings.url is not None  # noqa: S101 - the caller has looked
        return unavailable(self.settings, place_of(self.settings.url).name, TimeoutError())

    def _attempted(self, ready: Ready, outcome: Dialled | BaseException) -> None:
        if isinstance(outcome, BaseException):
            self._failed(outcome, ready)
            return
        if self._closed:
            ready(BrokerUnavailable("This client was closed."))
            return
        self.name = outcome.name
        if self.trouble is not None:
            logger.warning("%s is back.", self.name)
        self.trouble, self._was_there = None, True
        ready(self._connected(outcome))
        waiting, self._waiting = self._waiting, deque()
        for other in waiting:
            self._attempt(other)

    def _connected(self, outcome: Dialled) -> Connection:
        if outcome.topology is not None:
            return self._cluster_of(outcome).router()
        connection: Connection
        if self.is_watched:
            connection = Guarded(self._loop, outcome.take(), outcome.identity, WATCHED_PATIENCE, _is_demoted)
            if outcome.address != self._address:
                former, self._to_primary = self._to_primary, weakref.WeakSet()
                self._address = outcome.address
                for other in list(former):
                    # Not at once: one of them may be in the middle of something.
                    self._loop.call_soon(other.drop, "Another server is the primary now.")
            self._to_primary.add(connection)
        else:
            connection = Connection(self._loop, outcome.take(), outcome.identity, REPLY_PATIENCE)
        connection.ended = functools.partial(self._losses.count, self._loop.time())
        return connection

    def _cluster_of(self, outcome: Dialled) -> Cluster:
        if self.cluster is None:
            assert outcome.topology is not None  # noqa: S101 - the caller has looked
            assert outcome.address is not None  # noqa: S101 - whoever tells of a topology has one
            self.cluster = Cluster(self._loop, self.settings, outcome.name, outcome.topology, outcome.address)
            if self.found_cluster is not None:
                self.found_cluster(self.cluster)
        return self.cluster

    def _failed(self, error: BaseException, ready: Ready) -> None:
        if not isinstance(error, FlowchanError):
            error = BrokerUnavailable(f"{self.name} cannot be reached: {type(error).__name__}.")
        if not self._was_there or self._closed:
            ready(error)
            return
        if self.trouble is None:
            logger.warning("%s Trying again about once a second.", error)
        self.trouble = error
        self.open(ready)


def _is_demoted(refusal: Refusal) -> bool:
    return refusal.code == "READONLY"
