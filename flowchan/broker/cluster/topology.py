"""Where a Cluster's slots are: which node is each one's primary, as far as is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowchan.broker.address import Address
from flowchan.wire import keys


class Topology:
    """The primary of each slot."""

    def __init__(self, ranges: Iterable[tuple[int, int, Address]]) -> None:
        self._primaries: list[Address | None] = [None] * keys.SLOTS
        for first, last, address in ranges:
            self._primaries[first : last + 1] = [address] * (last + 1 - first)

    @classmethod
    def parse(cls, answer: Any, asked: Address) -> Topology:
        """From the answer to CLUSTER SLOTS; ``asked`` is the node that gave it."""
        return cls((int(first), int(last), _address(primary, asked)) for first, last, primary, *_ in answer)

    def primary(self, slot: int) -> Address | None:
        """Who has a slot; None if nobody is known to."""
        return self._primaries[slot]

    def move(self, slot: int, address: Address) -> None:
        """A slot is at that address now."""
        self._primaries[slot] = address

    def addresses(self) -> list[Address]:
        """All primaries, in the order of their slots."""
        return list(dict.fromkeys(each for each in self._primaries if each is not None))


def redirection(refusal: str, asked: Address) -> tuple[int, Address]:
    """The slot and the address that ``MOVED`` or ``ASK`` names; ``asked`` is the node that said so."""
    _, slot, place = refusal.split(" ")[:3]
    host, _, port = place.rpartition(":")
    return int(slot), Address(_known(host, asked), int(port))


def _address(node: Any, asked: Address) -> Address:
    host, port = node[:2]
    return Address(_known((host or b"").decode(), asked), int(port))


def _known(host: str, asked: Address) -> str:
    # A node that does not know its own name says nothing, or this: it is at the address at which it was asked.
    return asked.host if host in ("", "?") else host
