"""Many conversations at once in synchronous code: a thread each."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis

from benchmarks.contenders.by_hand import BLOCK, CONSUMER, COUNT, GROUP, packed, unpacked
from benchmarks.conversation import NAME, Place, check, greeting
from flowchan.input import AutomaticRunInput
from flowchan.sync import InputReceiver, open_run, receive_input, send_input


class _Threads(ABC):
    def __init__(self, place: Place) -> None:
        self._place = place

        self._opened = 0

    def open(self, runs: int) -> None:
        self._opened += 1
        self._runs = runs
        self._pool = ThreadPoolExecutor(max(runs, 1))
        for run in range(runs):
            self.prepare(run)

    async def close(self) -> None:
        self._pool.shutdown()

    @abstractmethod
    def prepare(self, run: int) -> None:
        """Make what a run reads from."""

    @abstractmethod
    def ask(self, run: int) -> None:
        """Ask once, and take the answer."""

    @abstractmethod
    def answer(self, run: int) -> None:
        """Take one question, and answer it."""

    def talk(self, turns: int) -> dict[str, Any]:
        nanoseconds: list[int] = []

        def one(run: int) -> None:
            for _ in range(turns):
                begun = time.perf_counter_ns()
                self.ask(run)
                nanoseconds.append(time.perf_counter_ns() - begun)

        begun = time.perf_counter()
        self._all(one)
        return {"seconds": time.perf_counter() - begun, "nanoseconds": nanoseconds}

    def reply(self, turns: int) -> None:
        def one(run: int) -> None:
            for _ in range(turns):
                self.answer(run)

        self._all(one)

    def mine(self, run: int) -> str:
        return f"{self._place.mine}-{self._opened}-{run}"

    def theirs(self, run: int) -> str:
        return f"{self._place.theirs}-{self._opened}-{run}"

    def _all(self, work: Callable[[int], None]) -> None:
        for ended in [self._pool.submit(work, run) for run in range(self._runs)]:
            ended.result()


class Typed(_Threads):
    def prepare(self, run: int) -> None:
        if not run:
            self.questions: list[InputReceiver[AutomaticRunInput[str]]] = []
            self.replies: list[InputReceiver[str]] = []
        self.questions.append(receive_input(str, flow_run_id=self.mine(run), with_metadata=True))  # type: ignore[arg-type]
        self.replies.append(receive_input(str, flow_run_id=self.mine(run)))

    async def close(self) -> None:
        await super().close()
        for receiver in (*self.questions, *self.replies):
            receiver.close()

    def ask(self, run: int) -> None:
        with open_run(self.mine(run)):
            send_input(NAME, self.theirs(run))
            check(self.replies[run].next())

    def answer(self, run: int) -> None:
        with open_run(self.mine(run)):
            question = self.questions[run].next()
            question.respond(greeting(question.value))


class RedisPy(_Threads):
    """One client whose pool grows with the threads, as redis-py advises."""

    def prepare(self, run: int) -> None:
        if not run:
            self._redis: Any = redis.Redis(unix_socket_path=self._place.socket, socket_timeout=None)
        self._redis.xgroup_create(self.mine(run), GROUP, "0", mkstream=True)

    async def close(self) -> None:
        await super().close()
        self._redis.close()

    def ask(self, run: int) -> None:
        self._redis.xadd(self.theirs(run), {"v": packed(NAME)})
        check(unpacked(self._get(run)))

    def answer(self, run: int) -> None:
        name = unpacked(self._get(run))
        self._redis.xadd(self.theirs(run), {"v": packed(greeting(name))})

    def _get(self, run: int) -> bytes:
        ((_, ((_, fields), *_)),) = self._redis.xreadgroup(
            GROUP, CONSUMER, {self.mine(run): ">"}, count=COUNT, block=BLOCK, noack=True
        )
        body: bytes = fields[b"v"]
        return body
