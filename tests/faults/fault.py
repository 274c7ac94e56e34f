"""A fault: what is done to the broker, to the way to it or to a process, and what must hold all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

Progress = Callable[[int], None]
"""Told how much of the count is done by now."""


class Seen(NamedTuple):
    """What came of a fault, in a few words for a table: how much was done, and what was found."""

    counted: str
    result: str


class Broken(AssertionError):  # noqa: N818 - it is what a promise is
    """A promise was not kept.

    Attributes:
        seen: the same as for one that was, for the table.
    """

    def __init__(self, counted: str, result: str) -> None:
        super().__init__(f"{counted}: {result}")
        self.seen = Seen(counted, result)


@dataclass(frozen=True)
class Fault:
    """One row of the table in ``docs/delivery.md``.

    Attributes:
        name: what is done, in a few words; unique.
        must_hold: the promise.
        quick: how often in the tests.
        full: how often in the long form.
        run: does it so often, with a server of its own; raises AssertionError (better :class:`Broken`) where the
            promise is not kept.
    """

    name: str
    must_hold: str
    quick: int
    full: int
    run: Callable[[int, Progress], Seen]
