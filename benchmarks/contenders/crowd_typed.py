"""flowchan for many runs, as its users call it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from benchmarks.contenders.crowd import Crowd
from flowchan import open_run, receive_input, send_input
from flowchan.input import InputReceiver


class Text(Crowd):
    """Each run has one receiver: of answers if it asks, of questions if it answers."""

    async def prepare(self) -> None:
        self._receivers: dict[int, InputReceiver[Any]] = {}

    async def close(self) -> None:
        await super().close()
        for receiver in self._receivers.values():
            receiver.close()

    async def conversation(self, run: int, turns: int, nanoseconds: list[int]) -> None:
        with open_run(self.mine(run)):
            await super().conversation(run, turns, nanoseconds)

    async def answers(self, run: int, to: int, turns: int | None, reply: Callable[[Any], Any]) -> None:
        with open_run(self.mine(run)):
            await super().answers(run, to, turns, reply)

    async def wake(self, turns: int, among: int, seed: int) -> dict[str, Any]:
        with open_run(self.mine(0)):
            return await super().wake(turns, among, seed)

    async def ask(self, run: int, to: int, value: Any) -> Any:
        await send_input(value, self.theirs(to))
        if run not in self._receivers:
            self._receivers[run] = receive_input(str)
        return await self._receivers[run].next()

    async def answer(self, run: int, to: int, reply: Callable[[Any], Any]) -> None:  # noqa: ARG002 - it knows who asked
        if run not in self._receivers:
            self._receivers[run] = receive_input(str, with_metadata=True)
        question = await self._receivers[run].next()
        await question.respond(reply(question.value))


class Frozen(Text):
    """Where the collector is told to pass over what is there once the runs are."""

    async def talk(self, turns: int) -> dict[str, Any]:
        gc.collect()
        gc.freeze()
        return await super().talk(turns)

    async def reply(self, turns: int) -> None:
        gc.collect()
        gc.freeze()
        await super().reply(turns)
