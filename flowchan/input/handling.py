"""What a receiver of a group has handed out and nobody has acknowledged: kept its own while it is worked on."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref

from flowchan import bridge
from flowchan.broker.broker import broker_of_this_loop
from flowchan.broker.source import Entry
from flowchan.broker.work import Piece, Work, by_consumer
from flowchan.errors import FlowchanError
from flowchan.settings import Settings

logger = logging.getLogger(__name__)


class Handling:
    """The messages of one receiver that are being worked on, each by the task or the thread that it was handed to.

    Guarantees: while this process lives and reaches the broker, none of them is handed to anybody else, however long
    the work takes and whatever loop it blocks.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._given: dict[int, tuple[Work, Entry]] = {}
        self._lock = threading.Lock()

    def give(self, work: Work, entry: Entry) -> None:
        """The caller works on a message from now on."""
        with self._lock:
            self._given[_worker()] = work, entry
        _keep(self)

    def finish(self) -> tuple[Work, Entry] | None:
        """The caller has done with what it worked on: that, or None."""
        with self._lock:
            return self._given.pop(_worker(), None)

    def pieces(self) -> list[Piece]:
        """All that is worked on."""
        with self._lock:
            return [work.piece(entry) for work, entry in self._given.values()]

    def forget(self) -> None:
        """Nothing is worked on any more."""
        with self._lock:
            self._given.clear()


def _worker() -> int:
    """Who calls: its task, or else its thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return id(task) if task is not None else threading.get_ident()


class _Leases:
    """Renews the leases of all that this process works on, on the bridge's loop, which no handler blocks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._handlings: weakref.WeakSet[Handling] = weakref.WeakSet()
        self._is_beating = False
        self._renewals: set[asyncio.Task[None]] = set()

    def add(self, handling: Handling) -> None:
        """Renew what is worked on there, from now on."""
        if handling not in self._handlings:
            self._handlings.add(handling)
        if not self._is_beating:
            self._is_beating = True
            loop = bridge.loop()
            loop.call_soon_threadsafe(loop.call_later, self._settings.lease / 3, self._beat)

    def _beat(self) -> None:
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
        for (stream, group, consumer), entries in by_consumer(pieces).items():
            try:
                await claims.renew(stream, group, consumer, entries)
            except FlowchanError as error:
                logger.warning("The leases of %d messages could not be renewed: %s", len(entries), error)


_leases: dict[Settings, _Leases] = {}


def _keep(handling: Handling) -> None:
    leases = _leases.get(handling.settings)
    if leases is None:
        leases = _leases.setdefault(handling.settings, _Leases(handling.settings))
    leases.add(handling)


# A child of a fork works on none of its parent's.
os.register_at_fork(after_in_child=_leases.clear)
