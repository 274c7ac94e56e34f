"""Connections for one event loop: opened in threads, and not in a hurry while the broker is away."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import random
import threading
from collections import deque
from collections.abc import Callable

from flowchan.broker.connect import Dialled, dial, unavailable
from flowchan.broker.connection import Connection
from flowchan.broker.url import place_of
from flowchan.errors import BrokerUnavailable, FlowchanError
from flowchan.settings import Settings

logger = logging.getLogger(__name__)

REPLY_PATIENCE = 10.0
"""Seconds that a command which does not block may go unanswered before its connection counts as dead."""

_YOUNG = 1.0
_TOLERATED = 200
_FORGIVEN = 20.0
"""So many connections may be lost that lived for less than ``_YOUNG`` seconds, and so many more in each second."""

_GRACE = 0.25

Ready = Callable[[Connection | FlowchanError], None]


class Dialler:
    """Opens connections for one event loop, and knows whether the broker is there.

    While it is not, one attempt a second (with jitter) stands for all who wait: a process with many
    connections does not storm a server that comes back.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        self.settings = settings
        self.trouble: FlowchanError | None = None
        """Why the last attempt failed; None while the broker answers."""
        self.name = "The broker"
        self._loop = loop
        self._was_there = False
        self._closed = False
        self._waiting: deque[Ready] = deque()
        self._probing = False
        self._lost = 0.0
        self._lost_at = 0.0

    def open(self, ready: Ready) -> None:
        """Open a connection and hand it to ``ready``, in a later turn of the loop.

        If the broker was never reached, ``ready`` gets the error of the first attempt. If it was, attempts
        go on until one succeeds: those who wait have deadlines of their own.
        """
        if self._closed:
            self._loop.call_soon(ready, BrokerUnavailable("This client was closed."))
        elif self.trouble is None and self._lost > _TOLERATED:
            # Somebody takes connections and ends them at the first command: that is no reason to spin.
            self._loop.call_later((self._lost - _TOLERATED) / _FORGIVEN, self._attempt, ready)
        elif self.trouble is None:
            self._attempt(ready)
        else:
            self._waiting.append(ready)
            if not self._probing:
                self._probing = True
                self._loop.call_later(0.5 + random.random(), self._probe)  # noqa: S311 - jitter

    def close(self) -> None:
        """Stop; who waits is told."""
        self._closed = True
        waiting, self._waiting = self._waiting, deque()
        for ready in waiting:
            ready(BrokerUnavailable("This client was closed."))

    def _probe(self) -> None:
        self._probing = False
        if self._waiting and not self._closed:
            self._attempt(self._waiting.popleft())

    def _attempt(self, ready: Ready) -> None:
        attempt = _Attempt(self._loop, self.settings, functools.partial(self._attempted, ready))
        attempt.start()

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
        connection = Connection(self._loop, outcome.take(), outcome.identity, REPLY_PATIENCE)
        connection.ended = functools.partial(self._count_loss, self._loop.time())
        ready(connection)
        waiting, self._waiting = self._waiting, deque()
        for other in waiting:
            self._attempt(other)

    def _count_loss(self, born: float) -> None:
        now = self._loop.time()
        self._lost = max(0.0, self._lost - (now - self._lost_at) * _FORGIVEN) + (now - born < _YOUNG)
        self._lost_at = now

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


class _Attempt:
    """One dialling, in a thread, and its end on the loop: by then, or when the time is up.

    A look-up of a name cannot be interrupted, and a server that answers every step a little late is in
    time with each. So the thread is left behind: it is a daemon, nobody waits for it when the process ends.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, settings: Settings, ended: Callable[[Dialled | BaseException], None]
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._ended = ended
        self._outcome: Dialled | BaseException | None = None
        self._is_over = False

    def start(self) -> None:
        """Begin, and return at once."""
        threading.Thread(target=self._dial, name="flowchan-dial", daemon=True).start()
        if self._settings.url is not None:
            self._wait()

    def _dial(self) -> None:
        with _at_once:
            if self._is_over:
                return
            try:
                self._outcome = dial(self._settings)
            except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits to be told
                self._outcome = error
        with contextlib.suppress(RuntimeError):  # the loop ended meanwhile
            self._loop.call_soon_threadsafe(self._end)

    def _wait(self) -> None:
        # The timer is not kept: in a cycle the socket might be collected before who would close it.
        due = self._loop.time() + self._settings.connect_timeout + _GRACE
        self._loop.call_at(due, self._time_is_up, due)

    def _time_is_up(self, due: float) -> None:
        if self._is_over or self._outcome is not None:
            return  # it has ended, and the loop will come to it
        if self._loop.time() - due > _GRACE:
            self._wait()  # the loop was blocked, and so may have been what it waits for
            return
        url = self._settings.url
        assert url is not None  # noqa: S101 - start() has looked
        self._outcome = unavailable(self._settings, place_of(url).name, TimeoutError())
        self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        outcome, self._outcome = self._outcome, None
        assert outcome is not None  # noqa: S101 - set by all who call
        self._ended(outcome)


_at_once = threading.BoundedSemaphore(8)


def _forget_threads() -> None:
    global _at_once  # noqa: PLW0603 - the threads that would release it are the parent's
    _at_once = threading.BoundedSemaphore(8)


os.register_at_fork(after_in_child=_forget_threads)
