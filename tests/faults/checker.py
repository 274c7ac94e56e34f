"""Holds what is stored, and what was received, against what each sender was told.

A value is sent by one sender, once: give each a value of its own. The stream is read with plain redis-py.
"""

from __future__ import annotations

import enum
import itertools
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from tests.faults.fault import Broken

Value = Hashable
_EXAMPLES = 5


class Told(enum.Enum):
    """What a send came to, as its sender knows it."""

    ACKNOWLEDGED = enum.auto()
    FAILED = enum.auto()
    UNKNOWN = enum.auto()


class Sender:
    """What one sender has sent, in this order, and what it was told."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.told: dict[Value, Told] = {}

    def sends(self, value: Value) -> None:
        """It is about to; until more is known, the outcome is unknown."""
        assert value not in self.told, f"{value!r} is sent twice: the checker could not tell one from the other"
        self.told[value] = Told.UNKNOWN

    def acknowledged(self, value: Value) -> None:
        """The send returned."""
        self.told[value] = Told.ACKNOWLEDGED

    def failed(self, value: Value) -> None:
        """The send raised what says that nothing is stored."""
        self.told[value] = Told.FAILED

    def count(self, told: Told) -> int:
        """How many of its sends came to this."""
        return sum(each is told for each in self.told.values())


class Findings(NamedTuple):
    """What is wrong with a sequence of values; all empty where nothing is."""

    missing: Sequence[Value]
    """Acknowledged and not there."""
    doubled: Sequence[Value]
    """There more than once."""
    swapped: Sequence[tuple[Value, Value]]
    """Of one sender, and the later one stands first."""
    foreign: Sequence[Value]
    """Sent by nobody."""
    undead: Sequence[Value]
    """Failed, as the sender was told, and there."""

    def __str__(self) -> str:
        parts = [f"{len(self.missing):,} lost", f"{len(self.doubled):,} twice"]
        parts.append(f"{len(self.swapped):,} out of order" if self.swapped else "in order")
        parts += [f"{len(self.foreign):,} that nobody sent"] if self.foreign else []
        parts += [f"{len(self.undead):,} that had failed"] if self.undead else []
        return ", ".join(parts)

    @property
    def examples(self) -> str:
        """A few of each, for a person."""
        return ", ".join(f"{name}: {list(found)[:_EXAMPLES]}" for name, found in self._asdict().items() if found)

    def must_be_none(self, counted: str, *, besides: Iterable[str] = ()) -> str:
        """The text for the table.

        Args:
            counted: what was done, for the error.
            besides: the names of findings that are allowed here.

        Raises:
            Broken: there are findings.
        """
        allowed = set(besides)
        if any(found for name, found in self._asdict().items() if name not in allowed):
            raise Broken(counted, f"{self} ({self.examples})")
        return str(self)


def hold(found: Sequence[Value], senders: Iterable[Sender]) -> Findings:
    """What is wrong with a stream, or with what a receiver saw of it from its beginning, oldest first.

    A message that is there twice is doubled, not out of order, too: its first place counts.
    """
    senders = list(senders)
    first: dict[Value, int] = {}
    for place, value in enumerate(found):
        first.setdefault(value, place)
    sent = {value for sender in senders for value in sender.told}
    swapped: list[tuple[Value, Value]] = []
    for sender in senders:
        there = [value for value in sender.told if value in first]
        swapped += [(a, b) for a, b in itertools.pairwise(there) if first[a] > first[b]]
    told = [item for sender in senders for item in sender.told.items()]
    return Findings(
        missing=[value for value, outcome in told if outcome is Told.ACKNOWLEDGED and value not in first],
        doubled=[value for value, times in Counter(found).items() if times > 1],
        swapped=swapped,
        foreign=[value for value in first if value not in sent],
        undead=[value for value, outcome in told if outcome is Told.FAILED and value in first],
    )


class Witness:
    """What one receiver saw, from the first message on."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.values: list[Value] = []
        self.lost = 0
        """How many messages it was told of that are gone (MessagesLost)."""
        self.unreadable = 0
        """How many it was told of that cannot be read (DecodeError)."""

    def hold(self, stored: Sequence[Value], senders: Iterable[Sender]) -> Findings:
        """What is wrong with what it saw, where it should have seen all that is stored, whatever senders were told."""
        findings = hold(self.values, senders)
        saw = set(self.values)
        return findings._replace(missing=[value for value in stored if value not in saw])


def all_told(senders: Iterable[Sender]) -> str:
    """What became of all sends, for the table."""
    counts = Counter(outcome for sender in senders for outcome in sender.told.values())
    parts = [f"{counts[Told.ACKNOWLEDGED]:,} acknowledged"]
    parts += [f"{counts[Told.FAILED]:,} refused"] if counts[Told.FAILED] else []
    parts += [f"{counts[Told.UNKNOWN]:,} unknown"] if counts[Told.UNKNOWN] else []
    return ", ".join(parts)
