"""Prefect: a flow a side, that sends inputs to the other's run and receives its own.

``interval``: seconds between two looks for an input, or "default": ten.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.input import receive_input, send_input
from prefect.runtime import flow_run

from benchmarks.conversation import NAME, PATIENCE, check, greeting
from benchmarks.orders import obey


class Side:
    def __init__(self, interval: str) -> None:
        self._more: dict[str, Any] = {} if interval == "default" else {"poll_interval": float(interval)}

    def open(self) -> str:
        self._questions = receive_input(str, timeout=PATIENCE, with_metadata=True, **self._more)
        self._replies = receive_input(str, timeout=PATIENCE, **self._more)
        return str(flow_run.id)

    def meet(self, theirs: str) -> None:
        self._theirs = UUID(theirs)

    async def ask(self) -> None:
        await send_input(NAME, flow_run_id=self._theirs)
        check(await self._replies.next())

    async def answer(self) -> None:
        question = await self._questions.next()
        await question.respond(greeting(question.value))


def main(interval: str) -> None:
    @flow
    async def conversation() -> None:
        await obey(Side(interval), asyncio.to_thread)

    asyncio.run(conversation())
