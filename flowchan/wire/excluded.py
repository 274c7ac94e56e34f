"""Messages that are not to be yielded, by their keys: looked up as they stand, and read only to be counted."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from flowchan.wire.keys import FIRST, EntryId, around_entry, message_key

_NUMBER = "(?:0|[1-9][0-9]{0,19})"


class Excluded:
    """The excluded messages of one stream. A key of no message of this stream excludes nothing.

    A hundred thousand keys are looked up one by one for the few entries that are read, and never made into as many
    entry IDs, which would take three times their memory.
    """

    __slots__ = ("_keys", "_places", "_stream")

    def __init__(self, stream: str, message_keys: Iterable[str] = ()) -> None:
        self._stream = stream
        self._keys = frozenset(message_keys)
        self._places: array[int] | None = None

    def __len__(self) -> int:
        """How many there are at most: how many keys."""
        return len(self._keys)

    def __contains__(self, entry: EntryId) -> bool:
        return bool(self._keys) and message_key(self._stream, entry) in self._keys

    def between(self, first: EntryId, last: EntryId) -> tuple[int, EntryId]:
        """How many of them lie from the first to the last of these entries, and the newest of them."""
        there = [entry for entry in self._entries() if first <= entry <= last]
        return len(there), EntryId(*max(there)) if there else FIRST

    def at_most_between(self, first: EntryId, last: EntryId) -> int:
        """How many of them lie from the first to the last of these entries, or a few more; quick when asked again."""
        if self._places is None:
            # Eight bytes each, and no objects.
            self._places = array("Q", sorted(map(_place, self._entries())))
        return bisect_right(self._places, _place(last)) - bisect_left(self._places, _place(first))

    def _entries(self) -> Iterable[tuple[int, int]]:
        before, behind = map(re.escape, around_entry(self._stream))
        # All in one text, and few objects each: one by one it would take three times as long.
        lines = "\n".join(key for key in self._keys if "\n" not in key)
        found = re.findall(f"^{before}({_NUMBER}-{_NUMBER}){behind}$", lines, re.MULTILINE)
        numbers = map(int, "-".join(found).split("-")) if found else iter(())
        return zip(numbers, numbers, strict=True)


def _place(entry: tuple[int, int]) -> int:
    """A number of 64 bits that ascends with the entries: the same for two only if they are beyond all that there are."""
    return min(entry[0], 2**44 - 1) << 20 | min(entry[1], 2**20 - 1)
