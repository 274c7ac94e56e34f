"""What a receiver has had of each sender, by the numbers of the messages: what is a copy, and what is missing."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

from flowchan.broker.source import Entry
from flowchan.errors import MessagesLost
from flowchan.wire import keys
from flowchan.wire.envelope import FOLLOWS, Envelope
from flowchan.wire.excluded import Excluded
from flowchan.wire.keys import EntryId

_PRODUCERS = 1024
_UNREAD = 1024
_LOOKED_AT = 64
_PRODUCER = 16  # digits of a message ID before the dash
_message_id = re.compile(r"([0-9a-f]{16})-([0-9a-f]{1,15})").fullmatch


class Sequences:
    """The last message of each producer in each stream that a receiver without a group has had.

    Guarantees: a copy of a message that was had is none; a gap is told once, and only where nothing that the receiver
    passes over itself can be in it: excluded messages, and such as could not be read. Of the last 1024 producers.
    """

    __slots__ = ("_excluded", "_knows_all", "_seen", "_several", "_unread")

    def __init__(self, excluded: Mapping[str, Excluded], *, from_the_first: bool) -> None:
        self._excluded = excluded
        self._several = len(excluded) > 1
        self._knows_all = from_the_first
        """Whether a producer that is not known has sent nothing yet that the receiver was to have."""
        self._seen: dict[str, tuple[int, EntryId]] = {}
        self._unread: dict[str, list[EntryId]] | None = None

    def takes(self, entry: Entry, envelope: Envelope) -> bool:
        """Whether it is new, and not a copy of one that was had.

        Raises:
            MessagesLost: it is new, and some before it are missing. When it is given again, it is taken.
        """
        producer = envelope.message_id[:_PRODUCER]
        if self._several:
            producer += entry.stream
        sequence = envelope.sequence
        seen = self._seen
        last = seen.get(producer)
        if last is None:
            if sequence != 1:
                self._look(producer, sequence - 1, entry, envelope)
            elif follows := _message_id(envelope.headers.get(FOLLOWS, "")):
                # Of another producer, whose place this one took: what that one had stored.
                self._look(follows[1] + producer[_PRODUCER:], int(follows[2], 16), entry, envelope)
            self._make_room()
        elif sequence != last[0] + 1:
            if sequence <= last[0]:
                return False
            self._look(producer, sequence - 1, entry, envelope)
        if len(seen) > 1:
            seen.pop(producer, None)  # whoever was heard last is forgotten last
        seen[producer] = sequence, entry.id
        return True

    def could_not_read(self, entry: Entry) -> None:
        """It may be any sender's, with any number."""
        if self._unread is None:
            self._unread = {}
        unread = self._unread.setdefault(entry.stream, [])
        unread.append(entry.id)
        if len(unread) > _UNREAD:
            del unread[0]

    def _make_room(self) -> None:
        seen = self._seen
        if len(seen) >= _PRODUCERS:
            # One with a single message, if there is one among the oldest: a send with an idempotency key is all that its
            # producer ever sends.
            oldest = next(iter(seen))
            single = (each for each in itertools.islice(seen, _LOOKED_AT) if seen[each][0] == 1)
            del seen[next(single, oldest)]
            self._knows_all = False

    def _look(self, producer: str, to: int, entry: Entry, envelope: Envelope) -> None:
        """Raise if messages of a producer, up to this number, are missing in front of an entry."""
        known = self._seen.get(producer)
        if known is None and not self._knows_all:
            return
        had, since = known or (0, keys.FIRST)
        missing = to - had
        unread = self._unread.get(entry.stream, ()) if self._unread is not None else ()
        passed_over = sum(since < each < entry.id for each in unread)
        excluded = self._excluded[entry.stream]
        if excluded and passed_over < missing:
            passed_over += excluded.at_most_between(since, entry.id)
        if passed_over >= missing:
            return
        if known is None:
            self._make_room()
        self._seen[producer] = to, since
        _, run, channel = keys.address(entry.stream)
        where = f"run {run}, channel {channel}"
        raise MessagesLost(had + 1, to, sender=envelope.sender, where=where)
