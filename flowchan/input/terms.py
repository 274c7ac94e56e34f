"""On what terms a receiver shares a group's work: what becomes of messages that nobody can be handed."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias, get_args

from flowchan.wire import keys

OnInvalid: TypeAlias = Literal["raise", "skip", "dead-letter"]
"""What a group's receiver does with a message that does not fit its type, or cannot be read."""


class Terms(NamedTuple):
    """A group, and what its receiver does with messages that it cannot give to anybody."""

    group: str
    on_invalid: OnInvalid
    max_deliveries: int | None


def terms_of(group: str | None, after: str | None, on_invalid: OnInvalid, max_deliveries: int | None) -> Terms | None:
    """The terms, as a receiver's arguments give them; None without a group.

    Raises:
        InvalidKeyError: ``group`` can be none.
        TypeError, ValueError: the others cannot be what they are, or not together.
    """
    if on_invalid not in get_args(OnInvalid):
        raise ValueError(f"on_invalid is one of {', '.join(map(repr, get_args(OnInvalid)))}, not {on_invalid!r}.")
    if max_deliveries is not None:
        if isinstance(max_deliveries, bool) or not isinstance(max_deliveries, int):
            raise TypeError(f"max_deliveries is a number or None, not {type(max_deliveries).__name__}.")
        if max_deliveries < 1:
            raise ValueError(f"max_deliveries is a number from 1 on, not {max_deliveries}.")
    if group is None:
        if on_invalid != "raise":
            raise ValueError(f"on_invalid={on_invalid!r} needs a group: without one nothing is done to a message.")
        if max_deliveries is not None:
            raise ValueError("max_deliveries needs a group: without one nobody counts deliveries.")
        return None
    if after is not None:
        raise ValueError("A group has a position of its own, in the broker: leave after out.")
    return Terms(keys.group_name(group), on_invalid, max_deliveries)
