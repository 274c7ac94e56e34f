"""taskiq over Redis Streams: what is said is a task, which the other's worker does.

``answering``: "task", the answer is a task again, for a worker on the asking side; or "result", it is what the task
returns, and the result backend is asked for it, every 0.2 s as it comes.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import uvloop
from taskiq.api import run_receiver_task
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.conversation import NAME, check, greeting
from benchmarks.orders import obey


class Side:
    def __init__(self, url: str, answering: str) -> None:
        self._url = url
        self._by_result = answering == "result"
        self._mine = uuid.uuid4().hex
        self._arrived: asyncio.Queue[str] = asyncio.Queue()

    async def open(self) -> str:
        self._broker = self._queue(self._mine)
        await self._broker.startup()

        @self._broker.task(task_name="say")
        async def say(said: str) -> None:
            self._arrived.put_nowait(said)

        @self._broker.task(task_name="greet")
        async def greet(name: str) -> str:
            self._arrived.put_nowait(name)
            return greeting(name)

        self._working = asyncio.create_task(run_receiver_task(self._broker))
        return self._mine

    async def meet(self, theirs: str) -> None:
        self._other = self._queue(theirs)
        await self._other.startup()

        @self._other.task(task_name="say")
        async def say(said: str) -> None:
            raise NotImplementedError  # the other side's

        @self._other.task(task_name="greet")
        async def greet(name: str) -> str:
            raise NotImplementedError  # the other side's

        self._say, self._greet = say, greet

    async def close(self) -> None:
        self._working.cancel()
        await self._other.shutdown()
        await self._broker.shutdown()

    async def ask(self) -> None:
        if self._by_result:
            asked = await self._greet.kiq(NAME)
            check((await asked.wait_result()).return_value)
        else:
            await self._say.kiq(NAME)
            check(await self._arrived.get())

    async def answer(self) -> None:
        said = await self._arrived.get()
        if not self._by_result:
            await self._say.kiq(greeting(said))

    def _queue(self, name: str) -> Any:
        broker = RedisStreamBroker(self._url, queue_name=name)
        # Without one no result is kept, which is what a task that returns nothing wants.
        return broker.with_result_backend(RedisAsyncResultBackend(self._url)) if self._by_result else broker


def main(url: str, answering: str) -> None:
    async def side() -> None:
        await obey(Side(url, answering), asyncio.to_thread)

    uvloop.run(side())
