"""Processes that wait for runs: they have imported the code already, so that a run begins at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from flowchan.runner.process import Process, Setup

_PAUSE = 1.0
"""Seconds from one import that failed, or one process that died while it waited, to the next."""


class Pool:
    """Spare processes. Each has imported the code as it is now: one whose code was changed since is replaced.

    Guarantees: code that cannot be imported, or kills who imports it, is tried again only when it is asked for, and at
    most once a second.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, setup: Setup, changed: Callable[[], None]) -> None:
        self._loop = loop
        self._setup = setup
        self._changed = changed
        self._spares: list[Process] = []
        self._not_before = 0.0
        self._killed: float | None = None
        """When one died while it imported the code, and none has lived to say that it could."""
        self._at_once = max(2, os.cpu_count() or 1)

    def fill(self, wanted: int) -> None:
        """See to it that there are as many, soon; not all of them at once."""
        while len(self._spares) < wanted and self._loop.time() >= self._not_before:
            if sum(not spare.is_ready for spare in self._spares) >= self._at_once:
                return
            self._spares.append(Process(self._loop, self._setup, self._look))

    def pick(self, deployment: str) -> Process | None:
        """One that is ready for a run of a deployment, or that says why there is none (``problems``).

        None where it must be waited for; then ``changed`` is called when it is there.
        """
        for spare in list(self._spares):
            is_old_failure = deployment in spare.problems and self._loop.time() - spare.born > _PAUSE
            if is_old_failure or ((spare.is_ready or spare.problems) and spare.is_stale):
                self._spares.remove(spare)
                spare.end()
        return next((spare for spare in self._spares if spare.is_ready or deployment in spare.problems), None)

    def give(self, spare: Process) -> None:
        """It waits for runs no more: it has one."""
        self._spares.remove(spare)

    @property
    def problems(self) -> dict[str, str] | None:
        """What the first that has tried says of the code; None while none has."""
        for spare in self._spares:
            if spare.is_ready or spare.problems:
                return spare.problems
        return None

    def close(self) -> None:
        """End them all."""
        spares, self._spares = self._spares, []
        for spare in spares:
            spare.end()

    def _look(self, process: Process) -> None:
        if process in self._spares:
            if process.exit_code is None:
                self._killed = None  # the code can be imported
            elif not process.problems:  # it died while it waited
                self._spares.remove(process)
                self._not_before = self._loop.time() + _PAUSE
                self._loop.call_later(_PAUSE, self._changed)
            elif self._killed is None or process.born < self._killed:
                # It died while it imported the code, for the want of memory perhaps: that is not the code's fault yet.
                self._spares.remove(process)
                self._killed = self._killed or self._loop.time()
        self._changed()
