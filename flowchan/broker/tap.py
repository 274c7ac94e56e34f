"""A tap: one stream that a lane reads, and all in this process who listen to it."""

from __future__ import annotations

from typing import Protocol

from flowchan.broker.paging import Entries
from flowchan.errors import FlowchanError
from flowchan.wire import keys
from flowchan.wire.keys import EntryId

LONGEST_BLOCK = 30.0
"""Seconds that one blocking read lasts at most."""


class Listener(Protocol):
    """What a tap feeds."""

    def feed(self, entries: Entries) -> None:
        """Take entries, oldest first; those at or before one's own cursor are to be passed over."""

    def rewind(self) -> None:
        """Take entries of the newest millisecond again, if they are others than those that were taken."""

    def restart(self) -> None:
        """Forget one's cursor."""

    def fail(self, error: FlowchanError) -> None:
        """The stream cannot be read."""


class Tap:
    """A stream that a lane reads, and who in this process listens to it."""

    __slots__ = ("_cursor", "_handed", "has_group", "listeners", "poll_interval", "ready", "stream")

    def __init__(self, stream: str, cursor: EntryId) -> None:
        self.stream = stream
        self._cursor = cursor
        self._handed = b""
        self.listeners: list[Listener] = []
        self.ready = False
        self.has_group = False
        """Whether the server may have a group of the lane's name for it."""
        self.poll_interval = LONGEST_BLOCK

    @property
    def cursor(self) -> EntryId:
        """The last ID that was handed over: where a group is made anew after a loss."""
        if self._handed:
            self._cursor, self._handed = EntryId.parse(self._handed), b""
        return self._cursor

    @cursor.setter
    def cursor(self, cursor: EntryId) -> None:
        self._cursor, self._handed = cursor, b""

    def feed(self, entries: Entries) -> None:
        """Hand entries to all who listen."""
        self._handed = entries[-1][0]  # read only when it is asked for, after a loss
        listeners = self.listeners
        if len(listeners) == 1:
            listeners[0].feed(entries)
            return
        for listener in tuple(listeners):
            listener.feed(entries)

    def rewind(self) -> None:
        """The stream may have been made anew, and an ID that was handed over be given once more."""
        self.cursor = self.cursor.first_of_its_time().before()
        for listener in self.listeners:
            listener.rewind()

    def restart(self) -> None:
        """The stream was made anew, with IDs below the old ones: everything in it is new."""
        self.cursor = keys.FIRST
        for listener in self.listeners:
            listener.restart()

    def fail(self, error: FlowchanError) -> None:
        """Tell all who listen that this stream cannot be read."""
        for listener in tuple(self.listeners):
            listener.fail(error)
