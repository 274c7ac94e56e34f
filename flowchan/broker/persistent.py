"""Commands that are given until they are answered: what was lost on the way is asked again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio

from flowchan.broker.commands import Commands
from flowchan.broker.connection import ConnectionLost, Refusal
from flowchan.broker.dialler import Dialler
from flowchan.broker.refusals import PASSING, translated
from flowchan.broker.script import script
from flowchan.errors import BrokerUnavailable

T = TypeVar("T")

Arguments = tuple[Any, ...] | Callable[[bool], tuple[Any, ...]]
"""What a script is given; or what says so, told whether the script may have done its work already."""

_PASSING_PAUSE = 0.25


class Persistent:
    """Gives commands again whose answers were lost, for as long as a send may take.

    So each may be done twice: give it what can be, or a script that knows.

    ``where`` tells a person what a command is about, such as ``run x``.
    """

    def __init__(self, dialler: Dialler, commands: Commands) -> None:
        self._dialler = dialler
        self._commands = commands

    @property
    def line(self) -> object:
        """What the commands go over; another one after a loss."""
        return self._commands.connection

    async def call(self, where: str, *command: Any) -> Any:
        """Give one command; its answer.

        Raises:
            BrokerRefused: the broker says no.
            BrokerUnavailable: it did not answer in time.
        """
        (answer,) = await self.all(where, [command])
        return answer

    async def all(self, where: str, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Give several commands together; their answers."""

        async def ask(_: bool) -> list[Any]:
            under_way = [self._commands.ask(*command) for command in commands]
            answers = [await answer for answer in under_way]
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers

        return await self.persist(where, ask)

    async def script(
        self, where: str, name: str, keys: Sequence[str], arguments: Arguments, *, once: bool = False
    ) -> Any:
        """Have a script of ``scripts/`` run; its answer. ``once``: it is not given again."""
        text, digest = script(name)

        async def ask(again: bool) -> Any:
            given = (len(keys), *keys, *(arguments(again) if callable(arguments) else arguments))
            try:
                return await self._commands.call("EVALSHA", digest, *given)
            except Refusal as refusal:
                if refusal.code != "NOSCRIPT":
                    raise
            return await self._commands.call("EVAL", text, *given)

        return await self.persist(where, ask, once=once)

    async def persist(self, where: str, ask: Callable[[bool], Awaitable[T]], *, once: bool = False) -> T:
        """Have something asked until it is answered; ``ask`` is told whether it was asked before in vain."""
        again = False
        passing: Refusal | None = None
        lost: ConnectionLost | None = None
        with anyio.move_on_after(self._dialler.settings.send_timeout):
            while True:
                try:
                    return await ask(again)
                except ConnectionLost as error:
                    lost = error
                    if once:
                        break
                    again = True
                except Refusal as refusal:
                    if refusal.code not in PASSING:
                        raise translated(refusal, self._dialler.name, where) from None
                    passing = refusal
                    await anyio.sleep(_PASSING_PAUSE)
        cluster, trouble = self._dialler.cluster, self._dialler.trouble
        if passing is not None and trouble is None:
            raise translated(passing, self._dialler.name, where) from None
        if trouble is None and cluster is not None:
            trouble = cluster.trouble
        why = trouble or f"{self._dialler.name} did not answer{f': {lost}' if lost is not None else '.'}"
        raise BrokerUnavailable(f"It is not known to be done ({where}): {why}")
