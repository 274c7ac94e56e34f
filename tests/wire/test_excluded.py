"""What is excluded: looked up by key, and counted between two entries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowchan.wire import keys
from flowchan.wire.excluded import Excluded
from flowchan.wire.keys import FIRST, EntryId

STREAM = keys.stream("ns", "r", "c")
OTHER = keys.stream("ns", "r", "c.2")
ENTRIES = st.builds(EntryId, st.integers(0, 2000), st.integers(0, 12)) | st.builds(
    EntryId, st.integers(10**12, 2 * 10**12), st.integers(0, 2**64 - 1)
)
FOREIGN = st.one_of(
    st.text(),
    ENTRIES.map(lambda entry: keys.message_key(OTHER, entry)),
    ENTRIES.map(lambda entry: keys.message_key(STREAM, entry) + "0"),
    ENTRIES.map(lambda entry: keys.message_key(STREAM, entry).replace("-", "-0", 1)),
    ENTRIES.map(lambda entry: f"x\n{keys.message_key(STREAM, entry)}\ny"),
    ENTRIES.map(lambda entry: keys.message_key(STREAM, entry) + "\n"),
)


@given(st.sets(ENTRIES), st.lists(FOREIGN), ENTRIES, ENTRIES)
def test_it_holds_what_it_was_given_and_counts_it_between_two_entries(
    entries: set[EntryId], foreign: list[str], first: EntryId, last: EntryId
) -> None:
    excluded = Excluded(STREAM, [*foreign, *(keys.message_key(STREAM, entry) for entry in entries)])
    there = [entry for entry in entries if first <= entry <= last]
    assert excluded.between(first, last) == (len(there), max(there, default=FIRST))
    assert excluded.at_most_between(first, last) >= len(there) or first > last
    if all(entry.seq < 2**20 - 1 for entry in (*entries, first, last)) and first <= last:
        assert excluded.at_most_between(first, last) == len(there)
    for entry in (*entries, first, last):
        assert (entry in excluded) == (entry in entries)


def test_nothing_is_excluded_by_nothing() -> None:
    excluded = Excluded(STREAM)
    assert not excluded
    assert EntryId(1, 0) not in excluded
    assert excluded.between(FIRST, EntryId(2, 0)) == (0, FIRST)
