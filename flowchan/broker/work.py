"""A group's work on one run's channels: each message is handed to one consumer, and comes back if that one is gone."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from flowchan.broker.source import Entry, Source
from flowchan.errors import BrokerUnavailable, FlowchanError
from flowchan.wire import keys
from flowchan.wire.excluded import Excluded
from flowchan.wire.keys import EntryId

if TYPE_CHECKING:
    from flowchan.broker.claims import Claims
    from flowchan.broker.hub import Hub

logger = logging.getLogger(__name__)


_PAUSE = 5.0
"""Seconds until a stream that cannot be listened to is tried again."""


class Piece(NamedTuple):
    """One message that a consumer has, until it is acknowledged."""

    stream: str
    group: str
    consumer: str
    entry: EntryId


class Missing(NamedTuple):
    """What a sender has sent in front of a message, and the group was never handed."""

    first: int
    last: int
    until: float
    """When the message that shows it is no more this consumer's for sure, on its loop's clock."""


class Work:
    """What one consumer of a group gets of some streams, one message at a time.

    Guarantees: a message is handed to one consumer at a time; it counts as done when it was acknowledged, and is handed
    to another when its consumer's lease is over. One that was fetched for somebody who went away is handed to the next
    who asks here, or given back.

    The group's messages are fetched by a script, when somebody asks; that there are new ones is heard by way of the
    lanes, as for every receiver: so ten thousand idle consumers have few connections.
    """

    def __init__(
        self,
        hub: Hub,
        claims: Claims,
        loop: asyncio.AbstractEventLoop,
        streams: Iterable[str],
        group: str,
        *,
        poll_interval: float,
        most: int | None = None,
    ) -> None:
        self.group = group
        self._most = most
        self.consumer = f"flowchan-{secrets.token_hex(6)}"
        self._hub = hub
        self._claims = claims
        self.loop = loop
        self._lease = claims.lease
        self._poll_interval = poll_interval
        self._streams = deque(streams)
        self._sources: dict[str, Source] = {}
        self._held: dict[str, set[EntryId]] = {stream: set() for stream in self._streams}
        self._fetched_only: set[tuple[str, EntryId]] = set()
        self._ready: deque[tuple[Entry, float]] = deque()
        self._missing: dict[tuple[str, EntryId], Missing] = {}
        self._may_be_more = True
        self._looked_at = float("-inf")
        self._was_in_doubt = False
        self._fetching: asyncio.Task[None] | None = None
        self._changed: set[asyncio.Future[None]] = set()
        self._stale: list[Entry] = []
        """Fetched, handed to nobody, and to be given back before anything is claimed: it was not handed out."""
        self._waiting = 0
        self._is_closed = False
        self._giving: set[asyncio.Future[None]] = set()

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for a message."""
        return self._waiting > 0

    async def get(self, timeout: float | None) -> Entry:  # noqa: ASYNC109 - the deadline is part of what it does
        """Wait for the next message, for ``timeout`` seconds at most (None: no limit; 0: what is there now).

        Raises:
            TimeoutError: none came.
            BrokerUnavailable: the time is up, and the broker cannot be reached.
            FlowchanError: the group cannot be read.
        """
        self._waiting += 1
        try:
            return await self._get(timeout)
        finally:
            self._waiting -= 1

    async def _get(self, timeout: float | None) -> Entry:  # noqa: ASYNC109 - likewise
        started = self.loop.time()
        deadline = None if timeout is None else started + timeout
        # What was heard says nothing of what is there now, nor does an answer that may be older than the call.
        must_ask = timeout is not None and timeout <= 0
        while True:
            if self._is_closed:
                raise BrokerUnavailable("The receiver was closed.")
            entry = self._take_ready()
            if entry is not None:
                return entry
            if must_ask and self._fetching is None:
                must_ask, self._may_be_more = False, True
            left = None if deadline is None else deadline - self.loop.time()
            if self._may_be_more or self._fetching is not None:
                # What is there is had even where no time is allowed; then it is the broker's answer that is waited for.
                patience = left if left is None else max(left, started + self._hub.patience - self.loop.time())
                await self._fetched(patience if timeout == 0 else left)
                continue
            if left is not None and left <= 0:
                raise self._time_is_up()
            await self._change(min(self._lease / 2, self._lease if left is None else left))

    def take(self) -> Entry | None:
        """None: work is fetched for who is ready to do it."""
        return None

    def take_ready(self, limit: int) -> list[Entry]:
        """None, likewise."""
        del limit
        return []

    def handed_out(self, entry: Entry) -> None:
        """Somebody works on the message from now on, on whatever thread."""
        self._fetched_only.discard((entry.stream, entry.id))

    def missing_before(self, entry: Entry) -> Missing | None:
        """What is missing in front of a message, once; on whatever thread."""
        return self._missing.pop((entry.stream, entry.id), None) if self._missing else None

    def told(self, entry: Entry, put_back_until: float | None) -> None:
        """What is missing in front of a message was told; put back, the message is the next one's who asks."""
        telling = self._claims.told(entry.stream, self.group, entry.id)
        _look_after(self.loop.create_task(telling), "That messages are lost may be told once more")
        if put_back_until is not None and not self._is_closed:  # else it was given back
            self._ready.appendleft((entry, put_back_until))
            self._may_be_more = True
            self._wake()

    def let_go(self, entry: Entry) -> None:
        """Nobody works on the message any more: when its lease is over, it is handed out again."""
        self._held[entry.stream].discard(entry.id)

    async def acknowledge(self, entry: Entry) -> None:
        """The message is done with.

        Raises:
            FlowchanError: it is not known to be acknowledged.
        """
        try:
            await self._claims.acknowledge(entry.stream, self.group, entry.id)
        finally:
            self._held[entry.stream].discard(entry.id)

    def finish(self, entry: Entry) -> None:
        """As :meth:`acknowledge`, for who does not wait for that."""
        _look_after(self.loop.create_task(self.acknowledge(entry)), "A message was not acknowledged, and comes again")

    async def bury(self, entry: Entry, reason: str, told: str, timeout: float | None) -> None:  # noqa: ASYNC109
        """Make the message a dead letter; ``told`` is for a person. It is done even if it takes longer than allowed.

        Raises:
            FlowchanError: it cannot be done; the message comes again.
        """

        async def bury() -> None:
            try:
                await self._claims.bury(entry.stream, self.group, self.consumer, entry.id, reason, told)
            finally:
                self._held[entry.stream].discard(entry.id)

        burying = self.loop.create_task(bury())
        patience = None if timeout is None else max(timeout, self._hub.patience)
        done, _ = await asyncio.wait([burying], timeout=patience)
        if done:
            burying.result()
        else:
            _look_after(burying, "A message did not become a dead letter, and comes again")

    def piece(self, entry: Entry) -> Piece:
        """The message, as its lease is renewed."""
        return Piece(entry.stream, self.group, self.consumer, entry.id)

    def close(self) -> None:
        """Give back what was not acknowledged, and free what this process holds."""
        if self._is_closed:
            return
        self._is_closed = True
        for source in self._sources.values():
            source.close()
        if self._fetching is not None:  # it gives back what it gets, if the broker is there
            self.loop.call_later(self._hub.patience, self._fetching.cancel)
        for entry in self._stale:
            self._give_back(entry.stream, [entry.id], were_handed_out=False)
        for stream, entries in self._held.items():
            unseen = {entry for entry in entries if (stream, entry) in self._fetched_only}
            self._give_back(stream, entries - unseen, were_handed_out=True)
            self._give_back(stream, unseen, were_handed_out=False)
        self._wake()

    async def freed(self) -> None:
        """Wait until what was to be given back has been."""
        if self._giving:
            await asyncio.wait(self._giving)

    # --- fetching --------------------------------------------------------------------------------

    def _take_ready(self) -> Entry | None:
        while self._ready:
            entry, until = self._ready.popleft()
            if self.loop.time() < until:
                return entry
            # It waited here for too long, and may be another's.
            self._held[entry.stream].discard(entry.id)
            self._missing.pop((entry.stream, entry.id), None)  # whoever gets it is told
            self.handed_out(entry)
            self._stale.append(entry)
            self._may_be_more = True
        return None

    async def _fetched(self, seconds: float | None) -> None:
        # Whoever asks may go away; what was asked for is fetched all the same, for the next.
        if self._fetching is None:
            self._may_be_more = False
            self._fetching = self.loop.create_task(self._fetch())
            self._fetching.add_done_callback(self._fetch_ended)
        fetching = self._fetching
        done, _ = await asyncio.wait([fetching], timeout=None if seconds is None else max(seconds, 0.0))
        if not done:
            raise self._time_is_up()
        if not fetching.cancelled():
            fetching.result()

    def _fetch_ended(self, fetching: asyncio.Task[None]) -> None:
        # Here, for whoever waited may be gone: the next one is not to be told of an old failure.
        self._fetching = None
        if not fetching.cancelled():
            fetching.exception()  # seen: who waits for it raises it

    def _time_is_up(self) -> Exception:
        trouble = self._hub.trouble(self._streams[0])  # all are of one run
        if trouble is not None:
            return BrokerUnavailable(f"No message came in time: {trouble}")
        return TimeoutError("No message came in time.")

    async def _fetch(self) -> None:
        while self._stale:
            entry = self._stale.pop()
            with contextlib.suppress(FlowchanError):  # its lease is over soon
                await self._claims.give_back(entry.stream, self.group, self.consumer, [entry.id], were_handed_out=False)
        look = ""
        if self._was_in_doubt:
            look = "2"
        elif self.loop.time() - self._looked_at >= self._lease / 2:
            look = "1"
        for _ in range(len(self._streams)):
            stream = self._streams[0]
            self._streams.rotate(-1)
            # Its lease begins when the server hands it out, which may be long before a process that was held up reads
            # the answer; then it is another's by now.
            asked = self.loop.time()
            try:
                claim = await self._claims.claim(
                    stream, self.group, self.consumer, look, self._held[stream], self._most
                )
            except FlowchanError:
                self._was_in_doubt = self._may_be_more = True
                raise
            for spent in claim.buried:
                logger.warning(
                    "A message was handed out %d times and never acknowledged: it is a dead letter of group %s (%s).",
                    self._most,
                    self.group,
                    keys.message_key(stream, spent),
                )
            if self._is_closed:
                self._give_back(stream, [claim.entry] if claim.fields is not None else [], were_handed_out=False)
                return
            if claim.fields is not None:
                entry = Entry(stream, claim.entry, claim.fields, claim.deliveries)
                self._held[stream].add(entry.id)
                self._fetched_only.add((stream, entry.id))
                until = asked + self._lease / 2
                if claim.missing is not None:
                    self._missing[(stream, entry.id)] = Missing(*claim.missing, until)
                self._ready.append((entry, until))
                self._may_be_more = True
                self._wake()
                return
            self._listen(stream, claim.entry)
        if look:
            self._looked_at, self._was_in_doubt = self.loop.time(), False

    def _listen(self, stream: str, last: EntryId) -> None:
        """Be told when something comes behind an entry."""
        if stream in self._sources or self._is_closed:
            return
        heard = functools.partial(self._heard, stream)
        source = self._sources[stream] = Source(self._hub, stream, last, Excluded(stream), self._poll_interval, heard)
        source.listen()

    def _heard(self, stream: str) -> None:
        if self._is_closed:
            return  # a look that was under way has ended: not to join a lane for nobody
        source = self._sources[stream]
        while source.buffer:
            source.pop()
        failed, source.error = source.error is not None, None  # who fetches meets it, too
        self._may_be_more = True
        self._wake()
        if failed:
            self._hub.later(_PAUSE, source.listen)
        else:
            source.listen()

    async def _change(self, seconds: float) -> None:
        changed: asyncio.Future[None] = self.loop.create_future()
        self._changed.add(changed)
        try:
            await asyncio.wait([changed], timeout=max(seconds, 0.0))
        finally:
            self._changed.discard(changed)
        if self.loop.time() - self._looked_at >= self._lease / 2:
            self._may_be_more = True

    def _wake(self) -> None:
        for changed in self._changed:
            if not changed.done():
                changed.set_result(None)

    def _give_back(self, stream: str, entries: Collection[EntryId], *, were_handed_out: bool) -> None:
        if not entries:
            return
        given = self._claims.give_back(stream, self.group, self.consumer, entries, were_handed_out=were_handed_out)
        giving = self.loop.create_task(given)
        self._giving.add(giving)
        giving.add_done_callback(self._giving.discard)
        _look_after(giving, None)  # or its lease is over soon


_under_way: set[asyncio.Future[None]] = set()


def _look_after(future: asyncio.Future[None], failure: str | None) -> None:
    """Keep what nobody awaits until it has ended; if it fails, say so."""

    def ended(future: asyncio.Future[None]) -> None:
        _under_way.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None and failure is not None:
            logger.warning("%s: %s", failure, error)

    _under_way.add(future)
    future.add_done_callback(ended)


def by_consumer(pieces: Iterable[Piece]) -> Mapping[tuple[str, str, str], list[EntryId]]:
    """The entries of each consumer in each stream."""
    found: dict[tuple[str, str, str], list[EntryId]] = {}
    for piece in pieces:
        found.setdefault((piece.stream, piece.group, piece.consumer), []).append(piece.entry)
    return found
