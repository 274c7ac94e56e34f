"""One receiver's place in one stream: looks back through what is there, then listens to a lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from flowchan.broker.connection import ConnectionLost, Refusal
from flowchan.broker.paging import FIRST_PAGE, LARGEST_PAGE, PAGE_BYTES, Entries, next_page
from flowchan.broker.refusals import PASSING, translated
from flowchan.errors import FlowchanError
from flowchan.wire import keys
from flowchan.wire.excluded import Excluded
from flowchan.wire.keys import EntryId

if TYPE_CHECKING:
    from flowchan.broker.hub import Hub
    from flowchan.broker.tap import Tap

_PASSING_PAUSE = 0.5


_MARK = 3
"""Which of an entry's fields and values tells it from others: in flowchan's, the message ID."""


class Entry(NamedTuple):
    """An entry as it stands in a stream: undecoded."""

    stream: str
    id: EntryId
    fields: list[bytes]
    deliveries: int = 1
    """How often it was handed out, where it is a group's."""


_entry = tuple.__new__  # half the time of Entry(...)


class Source:
    """The messages of one stream behind a cursor, in order, each once.

    What is there already is read page by page, as fast as it is taken; only when nothing is left does
    the source join a lane and have new messages pushed. A source whose buffer is full leaves its lane, so a
    slow consumer holds nobody else back, and its memory is bounded.
    """

    __slots__ = (
        "_buffered_bytes", "_closed", "_excluded", "_floor", "_hub", "_looking", "_mark", "_marks", "_newest", "_notify", "_page",
        "_then", "buffer", "cursor", "error", "is_drained", "poll_interval", "stream", "tap",
    )  # fmt: skip

    def __init__(
        self,
        hub: Hub,
        stream: str,
        cursor: EntryId,
        excluded: Excluded,
        poll_interval: float,
        notify: Callable[[], None],
    ) -> None:
        self.stream = stream
        self.cursor = cursor
        self.poll_interval = poll_interval
        # Not a deque: an empty one takes 600 bytes, and a full buffer is short enough for a list.
        self.buffer: list[Entry] = []
        self.error: FlowchanError | None = None
        self.is_drained = False
        """Whether the last look reached the end of the stream."""
        self.tap: Tap | None = None
        self._hub = hub
        self._floor = cursor
        self._newest = keys.FIRST
        self._mark = b""
        """What the newest entry was: an ID can be given twice within its millisecond."""
        self._marks: dict[EntryId, bytes] | None = None
        """Likewise the others of that millisecond, if there were any."""
        self._excluded = excluded
        self._notify = notify
        self._page = FIRST_PAGE
        self._buffered_bytes = 0
        self._looking = False
        self._closed = False
        self._then: list[Callable[[], None]] = []

    @property
    def is_settled(self) -> bool:
        """Whether an empty buffer means that there was nothing, not that nobody has looked."""
        return self.tap is not None or self.is_drained

    def pop(self) -> Entry:
        """Take the oldest entry; reads ahead where there is more to read."""
        entry = self.buffer.pop(0)
        self._buffered_bytes -= len(entry.fields[-1])
        if self.tap is None and not self.is_drained and not self._looking and len(self.buffer) <= self._page // 2:
            self.look()
        return entry

    def put_back(self, entry: Entry) -> None:
        """It was the last to be taken, and is the oldest again."""
        self.buffer.insert(0, entry)
        self._buffered_bytes += len(entry.fields[-1])
        self._notify()

    def listen(self) -> None:
        """See to it that the next message arrives here: look for it, or have it pushed."""
        if self.tap is not None or self._looking or self._closed:
            return
        if self.is_drained:
            self._hub.attach(self)
        else:
            self.look()

    def look(self, then: Callable[[], None] | None = None, reached: EntryId = keys.FIRST) -> None:
        """Read the next page; ``then`` is called when it has been.

        ``reached`` is an entry that is known to have been there: if the page ends before it, it was deleted.
        """
        if then is not None:
            self._then.append(then)
        if self._looking:
            return
        self._looking = True
        count = self._page

        def looked(reply: Any) -> None:
            self._looking = False
            if isinstance(reply, Exception):
                self._look_failed(reply)
                return
            self.is_drained = len(reply) < count
            if reply:
                self.feed(reply)
                self._page = next_page(count, reply)
            if self.is_drained and self.cursor < reached:
                self.cursor = reached
            self._looked()

        self._hub.commands.request(looked, "XRANGE", self.stream, f"({self.cursor}", "+", "COUNT", count)

    def feed(self, entries: Entries) -> None:
        """Take entries, passing over those at or before the cursor and those that are excluded."""
        buffer, excluded, cursor, stream = self.buffer, self._excluded, self.cursor, self.stream
        fresh = False
        for raw_id, fields in entries:
            entry_id = EntryId.parse(raw_id)
            if entry_id <= cursor:
                continue
            cursor = entry_id
            mark = fields[_MARK] if len(fields) > _MARK else b""
            if entry_id[0] == self._newest[0] and self._is_known(entry_id, mark):
                continue
            self._newest, self._mark = entry_id, mark
            if entry_id in excluded:
                continue
            buffer.append(_entry(Entry, (stream, entry_id, fields, 1)))
            self._buffered_bytes += len(fields[-1])
            fresh = True
        self.cursor = cursor
        if self.tap is not None and (len(buffer) >= LARGEST_PAGE or self._buffered_bytes >= PAGE_BYTES):
            self.is_drained = False
            self._hub.detach(self)
        if fresh:
            self._notify()

    def _is_known(self, entry_id: EntryId, mark: bytes) -> bool:
        """Whether an entry of the newest millisecond was taken before; if not, the one before it is remembered."""
        if entry_id == self._newest:
            return mark == self._mark
        if self._marks is None or next(iter(self._marks))[0] != entry_id[0]:
            self._marks = {}
        self._marks[self._newest] = self._mark
        return self._marks.get(entry_id) == mark

    def rewound(self) -> EntryId:
        """From where to read so as not to miss an entry that bears the ID of one that is gone.

        A stream that is deleted and written to within a millisecond begins that millisecond's IDs anew.
        """
        return max(self._floor, min(self.cursor, self.cursor.first_of_its_time().before()))

    def rewind(self) -> None:
        """Take entries of the newest millisecond again, if they are others than those that were taken."""
        self.cursor = self.rewound()

    def restart(self) -> None:
        """The stream was made anew: all that is in it is new."""
        self.cursor = self._floor = keys.FIRST

    def close(self) -> None:
        """Take nothing more."""
        self._closed = True
        self._hub.detach(self)
        self.buffer.clear()

    def fail(self, error: FlowchanError) -> None:
        """The stream cannot be read; who waits is told."""
        self.error = error
        self._hub.detach(self)
        self.is_drained = False
        self._looked()
        self._notify()

    def _look_failed(self, reply: Exception) -> None:
        passing = isinstance(reply, Refusal) and reply.code in PASSING
        if isinstance(reply, ConnectionLost) or passing:
            # A look changes nothing, so it can be had again; who waits has a deadline of its own.
            self._hub.later(_PASSING_PAUSE if passing else 0.0, self._look_again)
            return
        _, run, channel = keys.address(self.stream)
        self.fail(translated(reply, self._hub.server, f"run {run}, channel {channel}"))

    def _look_again(self) -> None:
        if not self._looking and not self._closed:
            self.look()

    def _looked(self) -> None:
        then, self._then = self._then, []
        for call in then:
            call()
        self._notify()
