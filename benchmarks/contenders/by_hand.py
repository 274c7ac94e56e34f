"""The loop that a careful user writes: XADD, then XREADGROUP that blocks, with a group and without acknowledging.

A value in msgpack and nothing else: no types, no sender, no time to live, nothing that would survive a lost reply.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import msgpack

from benchmarks.conversation import NAME, PATIENCE, Place, check, greeting

GROUP, CONSUMER = "readers", "1"
BLOCK = int(PATIENCE * 1000)
COUNT = 10


def packed(value: Any) -> bytes:
    """A value as it is put on the wire."""
    body: bytes = msgpack.packb({"value": value})
    return body


def unpacked(body: bytes) -> Any:
    """The value again."""
    return msgpack.unpackb(body)["value"]


class ByHand(ABC):
    """A side of one conversation out of two commands; how they are sent is what makes the contenders."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    async def open(self) -> None:
        """Connect, and create the group of ``place.mine``."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    @abstractmethod
    async def add(self, body: bytes) -> None:
        """Add an entry to ``place.theirs``; it is stored when this returns."""

    @abstractmethod
    async def get(self) -> bytes:
        """Wait for the next entry of ``place.mine``."""

    async def ask(self) -> None:
        await self.add(packed(NAME))
        check(unpacked(await self.get()))

    async def answer(self) -> None:
        name = unpacked(await self.get())
        await self.add(packed(greeting(name)))

    def say(self, size: int, kind: str) -> None:
        """What :meth:`ask_large` says from now on."""
        self.large: str | bytes = "x" * size if kind == "text" else b"x" * size

    async def ask_large(self) -> None:
        await self.add(packed(self.large))
        if len(unpacked(await self.get())) != len(self.large):
            raise AssertionError("It came back changed.")

    async def answer_large(self) -> None:
        await self.add(packed(unpacked(await self.get())))
