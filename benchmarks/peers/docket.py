"""docket: what is said is a task, which the other's worker does.

``answering``: "task", the answer is a task again, for a worker on the asking side; or "result", it is what the task
returns, and is waited for.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack

import uvloop
from docket import Docket, Worker

from benchmarks.conversation import NAME, check, greeting
from benchmarks.orders import obey


class Side:
    def __init__(self, url: str, answering: str) -> None:
        self._url = url
        self._by_result = answering == "result"
        self._mine = uuid.uuid4().hex
        self._arrived: asyncio.Queue[str] = asyncio.Queue()
        self._held = AsyncExitStack()

    async def open(self) -> str:
        docket = await self._held.enter_async_context(Docket(self._mine, self._url))

        async def say(said: str) -> None:
            self._arrived.put_nowait(said)

        async def greet(name: str) -> str:
            self._arrived.put_nowait(name)
            return greeting(name)

        docket.register(say)
        docket.register(greet)
        worker = await self._held.enter_async_context(Worker(docket))
        working = asyncio.create_task(worker.run_forever())
        self._held.callback(working.cancel)
        return self._mine

    async def meet(self, theirs: str) -> None:
        self._other = await self._held.enter_async_context(Docket(theirs, self._url))

        async def say(said: str) -> None:
            raise NotImplementedError  # the other side's

        async def greet(name: str) -> str:
            raise NotImplementedError  # the other side's

        self._say = self._other.add(say)
        self._greet = self._other.add(greet)

    async def close(self) -> None:
        await self._held.aclose()

    async def ask(self) -> None:
        if self._by_result:
            asked = await self._greet(NAME)
            check(await asked.get_result())
        else:
            await self._say(NAME)
            check(await self._arrived.get())

    async def answer(self) -> None:
        said = await self._arrived.get()
        if not self._by_result:
            await self._say(greeting(said))


def main(url: str, answering: str) -> None:
    async def side() -> None:
        await obey(Side(url, answering), asyncio.to_thread)

    uvloop.run(side())
