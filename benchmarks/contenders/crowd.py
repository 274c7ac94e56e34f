"""Many conversations at once in one process: run ``i`` here talks with run ``i`` of the other process."""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from benchmarks.contenders.by_hand import packed, unpacked
from benchmarks.conversation import NAME, Place, check, greeting


class Crowd(ABC):
    """What is asked of every contender; how a run asks and answers is its own."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.runs = 0
        self._opened = 0
        self._background: list[asyncio.Task[None]] = []

    async def open(self, runs: int) -> None:
        """Have so many runs that can be spoken to; others than before, if there were any."""
        if self._opened:
            await self.close()
        self._opened += 1
        self.runs = runs
        await self.prepare()

    def mine(self, run: int) -> str:
        """The name of a run of one's own."""
        return f"{self.place.mine}-{self._opened}-{run}"

    def theirs(self, run: int) -> str:
        """The name of one of the other side's."""
        return f"{self.place.theirs}-{self._opened}-{run}"

    async def close(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._background = []

    @abstractmethod
    async def prepare(self) -> None:
        """Connect, and make what the runs read from."""

    @abstractmethod
    async def ask(self, run: int, to: int, value: Any) -> Any:
        """Send from one's own ``run`` to the other side's run ``to``; the answer, when the question is stored."""

    @abstractmethod
    async def answer(self, run: int, to: int, reply: Callable[[Any], Any]) -> None:
        """Take one question that ``run`` was sent, and answer it, to the other side's run ``to``."""

    async def conversation(self, run: int, turns: int, nanoseconds: list[int]) -> None:
        """Ask ``turns`` times in a row."""
        for _ in range(turns):
            begun = time.perf_counter_ns()
            check(await self.ask(run, run, NAME))
            nanoseconds.append(time.perf_counter_ns() - begun)

    async def talk(self, turns: int) -> dict[str, Any]:
        """Have all runs ask at once, ``turns`` times each."""
        nanoseconds: list[int] = []
        begun = time.perf_counter()
        await self._all(lambda run: self.conversation(run, turns, nanoseconds))
        return {"seconds": time.perf_counter() - begun, "nanoseconds": nanoseconds}

    async def reply(self, turns: int) -> None:
        """Have all runs answer, ``turns`` times each."""
        await self._all(lambda run: self.answers(run, run, turns, greeting))

    async def answers(self, run: int, to: int, turns: int | None, reply: Callable[[Any], Any]) -> None:
        """Answer ``turns`` times in a row; None: until the end."""
        while turns is None or turns > 0:
            await self.answer(run, to, reply)
            turns = None if turns is None else turns - 1

    async def wait(self) -> None:
        """From now on have all runs wait for a question; the answer is the time at which it came."""
        self._background += [
            asyncio.create_task(self.answers(run, 0, None, lambda _: str(time.monotonic_ns())))
            for run in range(self.runs)
        ]

    async def wake(self, turns: int, among: int, seed: int) -> dict[str, Any]:
        """Ask one of the other side's runs at a time; how long each question was on its way."""
        chosen = random.Random(seed)
        nanoseconds: list[int] = []
        for _ in range(turns):
            to = chosen.randrange(among)
            begun = time.monotonic_ns()
            nanoseconds.append(int(await self.ask(0, to, NAME)) - begun)
        return {"nanoseconds": nanoseconds}

    def processor(self) -> float:
        """Processor seconds of this process so far, with what it did in the background."""
        return time.process_time()

    async def _all(self, work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        await asyncio.gather(*(work(run) for run in range(self.runs)))


class CrowdByHand(Crowd):
    """Questions and answers as entries of one field; a stream a run."""

    @abstractmethod
    def add(self, stream: str, body: bytes) -> Awaitable[Any]:
        """Store an entry."""

    @abstractmethod
    async def get(self, run: int) -> bytes:
        """Wait for the next entry of a run of one's own."""

    async def ask(self, run: int, to: int, value: Any) -> Any:
        await self.add(self.theirs(to), packed(value))
        return unpacked(await self.get(run))

    async def answer(self, run: int, to: int, reply: Callable[[Any], Any]) -> None:
        value = unpacked(await self.get(run))
        await self.add(self.theirs(to), packed(reply(value)))
