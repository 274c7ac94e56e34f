"""What a receiver of a group has handed out and nobody has acknowledged: kept its own while it is worked on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import weakref
from typing import Any, TypeAlias

from flowchan import bridge
from flowchan.broker.broker import broker_of_this_loop
from flowchan.broker.source import Entry
from flowchan.broker.work import Piece, Work, by_consumer
from flowchan.errors import FlowchanError
from flowchan.settings import Settings
from flowchan.wire.keys import EntryId

logger = logging.getLogger(__name__)

Worker: TypeAlias = "asyncio.Task[Any] | threading.Thread"
"""Who works on a message: the task that asked for it, or in sync code the thread."""


def caller() -> Worker:
    """Who calls."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return task or threading.current_thread()


def _has_ended(worker: Worker) -> bool:
    return not worker.is_alive() if isinstance(worker, threading.Thread) else worker.done()


class Handling:
    """The messages of one receiver that are being worked on, each by the task or the thread that asked for it.

    Guarantees: while this process and the worker live and the broker is reached, none of them is handed to anybody else,
    however long the work takes and whatever loop it blocks. What a worker leaves when it ends comes to another when its
    lease is over.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # By the worker itself, not its number, which another may get when it has ended.
        self._given: dict[Worker, list[tuple[Work, Entry]]] = {}
        self._lock = threading.Lock()

    def give(self, worker: Worker, work: Work, entry: Entry) -> None:
        """A worker works on a message from now on."""
        with self._lock:
            self._given.setdefault(worker, []).append((work, entry))
        work.handed_out(entry)
        _keep(self)

    def take_back(self, worker: Worker, entry: Entry) -> None:
        """It does not work on that message after all."""
        with self._lock:
            left = [given for given in self._given.pop(worker, ()) if given[1] is not entry]
            if left:
                self._given[worker] = left

    def finish(self, worker: Worker) -> list[tuple[Work, Entry]]:
        """It has done with all that it worked on: what that is."""
        with self._lock:
            return self._given.pop(worker, [])

    def pieces(self) -> list[Piece]:
        """All that is worked on."""
        with self._lock:
            for worker in [worker for worker in self._given if _has_ended(worker)]:
                for work, entry in self._given.pop(worker):
                    with contextlib.suppress(RuntimeError):  # its loop has ended, too
                        work.loop.call_soon_threadsafe(work.let_go, entry)
            return [work.piece(entry) for given in self._given.values() for work, entry in given]

    def forget(self) -> None:
        """Nothing is worked on any more."""
        with self._lock:
            self._given.clear()


class _Leases:
    """Renews the leases of all that this process works on, on the bridge's loop, which no handler blocks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._handlings: weakref.WeakSet[Handling] = weakref.WeakSet()
        self._is_beating = False
        self._lock = threading.Lock()
        self._renewals: set[asyncio.Task[None]] = set()

    def add(self, handling: Handling) -> None:
        """Renew what is worked on there, from now on."""
        with self._lock:
            self._handlings.add(handling)
            if self._is_beating:
                return
            self._is_beating = True
        loop = bridge.loop()
        loop.call_soon_threadsafe(loop.call_later, self._settings.lease / 3, self._beat)

    def _beat(self) -> None:
        with self._lock:
            # Together: what is added before is seen here, and what is added behind begins anew.
            pieces = [piece for handling in list(self._handlings) for piece in handling.pieces()]
            if not pieces:
                self._is_beating = False
                return
        loop = asyncio.get_running_loop()
        renewal = loop.create_task(self._renew(pieces))
        self._renewals.add(renewal)
        renewal.add_done_callback(self._renewals.discard)
        loop.call_later(self._settings.lease / 3, self._beat)

    async def _renew(self, pieces: list[Piece]) -> None:
        claims = broker_of_this_loop(self._settings).claims

        async def renew(stream: str, group: str, consumer: str, entries: list[EntryId]) -> None:
            try:
                await claims.renew(stream, group, consumer, entries)
            except FlowchanError as error:
                logger.warning("The leases of %d messages could not be renewed: %s", len(entries), error)

        # All at once: a node of a Cluster that is away is not to cost the leases of what the others hold.
        await asyncio.gather(*(renew(*whose, entries) for whose, entries in by_consumer(pieces).items()))


_leases: dict[Settings, _Leases] = {}


def _keep(handling: Handling) -> None:
    leases = _leases.get(handling.settings)
    if leases is None:
        leases = _leases.setdefault(handling.settings, _Leases(handling.settings))
    leases.add(handling)


# A child of a fork works on none of its parent's.
os.register_at_fork(after_in_child=_leases.clear)
