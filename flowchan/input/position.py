"""A receiver's position, as its arguments give it: where it begins, what it leaves out, how long it waits."""

from __future__ import annotations

from collections.abc import Iterable

from flowchan.errors import InvalidKeyError
from flowchan.wire import keys
from flowchan.wire.excluded import Excluded
from flowchan.wire.keys import EntryId

_NONE: frozenset[str] = frozenset()


def exclusions(streams: Iterable[str], exclude_keys: Iterable[str] | None) -> dict[str, Excluded]:
    """What each stream's receiver passes over; a key of no message there excludes nothing."""
    if isinstance(exclude_keys, str | bytes):
        raise TypeError(f"exclude_keys is an iterable of keys, not one {type(exclude_keys).__name__}.")
    given = tuple(exclude_keys or ())
    for kind in set(map(type, given)):
        if not issubclass(kind, str):
            raise TypeError(f"exclude_keys is an iterable of strings; one of them is {kind.__name__}.")
    message_keys = frozenset(given) if given else _NONE
    return {stream: Excluded(stream, message_keys) for stream in streams}


def cursors(streams: Iterable[str], after: str | None) -> dict[str, EntryId]:
    """Behind which entry of each stream to begin."""
    if after is None:
        return dict.fromkeys(streams, keys.FIRST)
    places = {stream: keys.entry_of_message_key(stream, after) for stream in streams} if isinstance(after, str) else {}
    entry = next((entry for entry in places.values() if entry is not None), None)
    if entry is None:
        raise InvalidKeyError(
            f"after={after!r} is no key of a message of this run and channel. Take it from an input's metadata.key."
        )
    # In another stream an entry with the same ID may or may not have been yielded: rather once more than never.
    return {stream: place or entry.before() for stream, place in places.items()}


def seconds(value: float | None, name: str) -> float | None:
    """A number of seconds from 0 on; None only for ``timeout``."""
    if value is None and name == "timeout":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number of seconds, not {type(value).__name__}.")
    if not value >= 0:
        raise ValueError(f"{name} is a number of seconds from 0 on, not {value}.")
    return float(value)
