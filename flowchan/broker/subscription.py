"""A receiver's end at the broker: the messages of one stream or several, one at a time, oldest first."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING

import anyio

from flowchan.broker.alarms import Alarm
from flowchan.broker.connection import ConnectionLost, Refusal
from flowchan.broker.refusals import translated
from flowchan.broker.replay import beginning
from flowchan.broker.source import Entry, Source
from flowchan.errors import BrokerUnavailable
from flowchan.wire import keys
from flowchan.wire.excluded import Excluded
from flowchan.wire.keys import EntryId

if TYPE_CHECKING:
    from flowchan.broker.hub import Hub

_STALLED = 0.05
"""Seconds that a timer may be late before the loop counts as having been blocked."""

_LAST_LOOK = 0.1
"""Seconds that a wait may last beyond its time, for a look at what came in the last moment."""


class _Call(Enum):
    """What one who waits is called for."""

    ENTRY = "an entry is there"
    LOOK = "something else has changed"
    OVER = "the time is up"


class Subscription:
    """Guarantees: entries come in the order of their streams (across streams, in that of their IDs), each once.

    Cancelling a wait loses nothing and duplicates nothing: an entry stays here until somebody who is still
    there takes it. Two that wait get two different entries.
    """

    def __init__(
        self,
        hub: Hub,
        loop: asyncio.AbstractEventLoop,
        streams: Mapping[str, EntryId],
        excluded: Mapping[str, Excluded],
        poll_interval: float,
    ) -> None:
        self._hub = hub
        self._loop = loop
        self._excluded = excluded
        self._waiters: dict[asyncio.Future[_Call], float | None] = {}
        """Who waits, in the order in which they came, and until when."""
        self._alarm: Alarm | None = None
        self._promised = 0
        """How many have been woken for an entry and have not taken it yet."""
        self.is_closed = False
        self._sources = [
            Source(hub, stream, after, excluded[stream], poll_interval, self._wake) for stream, after in streams.items()
        ]
        self._only = self._sources[0] if len(self._sources) == 1 else None
        # Where a replay begins is looked up on the first wait; only a long exclusion makes it worth one.
        self._has_begun = not any(excluded.values())
        self._beginning: asyncio.Task[None] | None = None

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for an entry, or is about to take one."""
        return bool(self._waiters or self._promised or self._beginning is not None)

    def take(self) -> Entry | None:
        """The next entry, if it can be had without waiting. Not past those who were woken for what is there."""
        return None if self._promised else self._take()

    async def get(self, timeout: float | None) -> Entry:  # noqa: ASYNC109 - the deadline is part of what it does
        """Wait for the next entry, for ``timeout`` seconds at most (None: no limit; 0: what is there now).

        Raises:
            TimeoutError: none came.
            BrokerUnavailable: the time is up, and the broker cannot be reached, so none could come.
            FlowchanError: the stream cannot be read.
        """
        entry = self.take()
        if entry is not None:
            return entry
        deadline = None if timeout is None else self._loop.time() + timeout
        if not self._has_begun:
            with anyio.move_on_after(None if timeout is None else timeout or self._hub.patience):
                await self._begun()
        only_now = timeout is not None and timeout <= 0
        while True:
            if self.is_closed:
                raise BrokerUnavailable("The receiver was closed.")
            waiter: asyncio.Future[_Call] = self._loop.create_future()
            self._waiters[waiter] = None if only_now else deadline
            if only_now:
                look = self._look_once_more(waiter, self._hub.patience)
            else:
                look = None
                if deadline is not None and (self._alarm is None or deadline < self._alarm.when):
                    self._set_alarm(deadline)
                if self._only is None or self._only.tap is None or self._only.buffer or self._promised:
                    self._wake()  # a source with a tap has nothing, for it was asked, and is listening
            try:
                call = await waiter
            finally:
                self._went_on(waiter, look)
            entry = self._take() if call is _Call.ENTRY or not self._promised else None
            if entry is not None:
                return entry
            self._raise_error()
            if call is _Call.OVER:
                if (trouble := self._trouble()) is not None:
                    raise BrokerUnavailable(f"No message came in time: {trouble}") from None
                raise TimeoutError("No message came in time.")

    def put_back(self, entry: Entry) -> None:
        """The last entry that was taken is to be the next one again."""
        for source in self._sources:
            if source.stream == entry.stream and not self.is_closed:
                source.put_back(entry)

    def take_ready(self, limit: int) -> list[Entry]:
        """The entries that can be had without waiting, ``limit`` at most."""
        entries: list[Entry] = []
        while len(entries) < limit and (entry := self._take()) is not None:
            entries.append(entry)
        return entries

    def close(self) -> None:
        """Free what the broker and this process hold for it. Those who wait get an error."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._alarm is not None:
            self._hub.alarms.cancel(self._alarm)
        for source in self._sources:
            source.close()
        self._wake_all()

    # --- taking ----------------------------------------------------------------------------------

    def _take(self) -> Entry | None:
        if self._only is not None:
            return self._only.pop() if self._only.buffer else None
        oldest: Source | None = None
        for source in self._sources:
            if source.buffer:
                if oldest is None or source.buffer[0].id < oldest.buffer[0].id:
                    oldest = source
            elif not source.is_settled:
                return None  # it may hold one that is older than all the others'
        return oldest.pop() if oldest is not None else None

    def _raise_error(self) -> None:
        for source in self._sources:
            if source.error is not None:
                error, source.error = source.error, None
                raise error

    def _trouble(self) -> Exception | None:
        return self._hub.trouble(self._sources[0].stream)  # all are of one run

    # --- waiting ---------------------------------------------------------------------------------

    async def _begun(self) -> None:
        # One look-up for all who wait, which goes on when they are cancelled: else who is cancelled again and
        # again would never get on.
        if self._beginning is None:
            self._beginning = self._loop.create_task(self._begin())
            # Whoever is told of its failure, it has been told.
            self._beginning.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        under_way = self._beginning
        try:
            await asyncio.shield(under_way)
        finally:
            if under_way.done() and self._beginning is under_way:
                self._beginning = None

    async def _begin(self) -> None:
        for source in self._sources:
            if source.cursor != keys.FIRST:
                continue
            try:
                found = await beginning(self._hub.commands, source.stream, self._excluded[source.stream])
                if source.cursor == keys.FIRST:  # else one who could not wait for it has gone on
                    source.cursor = found
            except ConnectionLost:
                pass  # from the first, then: slower, and just as right
            except Refusal as refusal:
                _, run, channel = keys.address(source.stream)
                raise translated(refusal, self._hub.server, f"run {run}, channel {channel}") from None
        self._has_begun = True

    def _went_on(self, waiter: asyncio.Future[_Call], look: asyncio.TimerHandle | None) -> None:
        """One who waited goes on, called or cancelled."""
        if look is not None:
            look.cancel()
        self._waiters.pop(waiter, None)
        if not waiter.cancelled() and waiter.done() and waiter.result() is _Call.ENTRY:
            self._promised -= 1
            if self._waiters:
                # It takes its entry now. If it was cancelled instead, the entry is the next one's.
                self._loop.call_soon(self._wake)

    def _set_alarm(self, when: float) -> None:
        # One for all who wait, and not ended when they go: most waits are over long before their time.
        if self._alarm is not None:
            self._hub.alarms.cancel(self._alarm)
        self._alarm = self._hub.alarms.at(when, self._rings)

    def _rings(self) -> None:
        assert self._alarm is not None  # noqa: S101 - it rings
        due, self._alarm = self._alarm.when, None
        later: list[float] = []
        over: list[tuple[asyncio.Future[_Call], float]] = []
        for waiter, deadline in self._waiters.items():
            if deadline is not None and deadline <= due:
                over.append((waiter, deadline))
            elif deadline is not None:
                later.append(deadline)
        if later and not self.is_closed:
            self._set_alarm(min(later))
        for waiter, deadline in over:
            if waiter in self._waiters:
                self._waiters[waiter] = None  # the look for the last moment has begun, and ends it
                self._time_is_up(waiter, deadline)

    def _time_is_up(self, waiter: asyncio.Future[_Call], deadline: float) -> None:
        if waiter.done():
            return
        for source in self._sources:
            self._hub.poll(source)
        if waiter.done():
            return
        if self._trouble() is not None:
            self._end(waiter)
            return
        # What came in time may still be in the server, if the loop was blocked before its time was up or is so
        # now. Only a loop that is late anyway waits long for the answer.
        was_blocked = self._loop.time() - deadline > _STALLED
        self._look_once_more(waiter, self._hub.patience if was_blocked else _LAST_LOOK)

    def _look_once_more(self, waiter: asyncio.Future[_Call], patience: float) -> asyncio.TimerHandle:
        left = len(self._sources)

        def looked(source: Source) -> None:
            nonlocal left
            if not source.is_settled and not source.buffer and not waiter.done():
                source.look(functools.partial(looked, source))  # a page of nothing but excluded entries
                return
            left -= 1
            if not left:
                self._end(waiter)

        for source in self._sources:
            source.look(functools.partial(looked, source))
        return self._loop.call_later(patience, self._end, waiter)

    def _end(self, waiter: asyncio.Future[_Call]) -> None:
        if not waiter.done():
            self._waiters.pop(waiter, None)
            waiter.set_result(_Call.OVER)

    def _wake(self) -> None:
        """Something changed: let as many go on as there are entries, or have what is missing looked for."""
        waiters = self._waiters
        if not waiters:
            return
        only = self._only
        if self.is_closed or (only.error is not None if only is not None else any(s.error for s in self._sources)):
            self._wake_all()
            return
        ready = self._ready() - self._promised
        while ready > 0 and waiters:
            waiter = next(iter(waiters))
            del waiters[waiter]
            if not waiter.done():
                waiter.set_result(_Call.ENTRY)
                self._promised += 1
                ready -= 1
        if waiters:
            for source in self._sources:
                if not source.buffer:
                    source.listen()

    def _ready(self) -> int:
        """How many entries can be taken."""
        if self._only is not None:
            return len(self._only.buffer)
        if any(not source.buffer and not source.is_settled for source in self._sources):
            return 0
        return sum(len(source.buffer) for source in self._sources)

    def _wake_all(self) -> None:
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(_Call.LOOK)
