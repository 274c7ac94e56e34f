"""The loop that a careful user writes: XADD, then XREADGROUP that blocks, with a group and without acknowledging.

Text in one field and nothing else: no types, no sender, no time to live, nothing that would survive a lost reply.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from benchmarks.conversation import NAME, PATIENCE, Place, check, greeting

GROUP, CONSUMER = "readers", "1"
BLOCK = int(PATIENCE * 1000)
COUNT = 10


class ByHand(ABC):
    """A side of the conversation out of two commands; how they are sent is what makes the contenders."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    async def open(self) -> None:
        """Connect, and create the group of ``place.mine``."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    @abstractmethod
    async def add(self, text: bytes) -> None:
        """Add an entry to ``place.theirs``; it is stored when this returns."""

    @abstractmethod
    async def get(self) -> bytes:
        """Wait for the next entry of ``place.mine``."""

    async def ask(self) -> None:
        await self.add(NAME.encode())
        check((await self.get()).decode())

    async def answer(self) -> None:
        name = (await self.get()).decode()
        await self.add(greeting(name).encode())
