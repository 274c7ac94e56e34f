"""Whether a primary that sentinels watch still answers, for who only listens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flowchan.broker.commands import Commands
from flowchan.broker.connection import ignore

_EVERY = 1.0


class Pulse:
    """A ``PING`` a second, on the connection for commands, while somebody listens and nothing else is asked there.

    A server that hangs refuses nothing and closes nothing, and a read that blocks is silent by its nature. The command
    that is not answered is what ends the connection; the next one leads to the primary that the sentinels have chosen
    since, and ends all that lead to the former one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, commands: Commands, is_listening: Callable[[], bool]) -> None:
        self._loop = loop
        self._commands = commands
        self._is_listening = is_listening
        self._next: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Feel it from now on; ends by itself when nobody listens any more."""
        if self._next is None:
            self._next = self._loop.call_later(_EVERY, self._feel)

    def end(self) -> None:
        """Feel it no more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _feel(self) -> None:
        self._next = None
        if not self._is_listening():
            return
        if not self._commands.is_asking:
            self._commands.request(ignore, "PING")
        self.begin()
