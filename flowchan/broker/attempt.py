"""One dialling, in a thread, and its end on the loop: by then, or when the time is up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_GRACE = 0.25


class Attempt(Generic[T]):
    """What blocks, done in a thread.

    A look-up of a name cannot be interrupted, and a server that answers every step a little late is in
    time with each. So the thread is left behind: it is a daemon, nobody waits for it when the process ends.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, work: Callable[[], T], ended: Callable[[T | BaseException], None]
    ) -> None:
        self._loop = loop
        self._work = work
        self._ended = ended
        self._outcome: T | BaseException | None = None
        self._patience = 0.0
        self._late: Callable[[], BaseException] = TimeoutError
        self._is_over = False

    def start(self, patience: float | None = None, late: Callable[[], BaseException] = TimeoutError) -> None:
        """Begin, and return at once. After ``patience`` seconds the outcome is what ``late`` makes."""
        threading.Thread(target=self._run, name="flowchan-dial", daemon=True).start()
        if patience is not None:
            self._patience, self._late = patience + _GRACE, late
            self._wait()

    def _run(self) -> None:
        with _at_once:
            if self._is_over:
                return
            try:
                self._outcome = self._work()
            except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits to be told
                self._outcome = error
        with contextlib.suppress(RuntimeError):  # the loop ended meanwhile
            self._loop.call_soon_threadsafe(self._end)

    def _wait(self) -> None:
        # The timer is not kept: in a cycle the socket might be collected before who would close it.
        due = self._loop.time() + self._patience
        self._loop.call_at(due, self._time_is_up, due)

    def _time_is_up(self, due: float) -> None:
        if self._is_over or self._outcome is not None:
            return  # it has ended, and the loop will come to it
        if self._loop.time() - due > _GRACE:
            self._wait()  # the loop was blocked, and so may have been what it waits for
            return
        self._outcome = self._late()
        self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        outcome, self._outcome = self._outcome, None
        assert outcome is not None  # noqa: S101 - set by all who call
        self._ended(outcome)


_at_once = threading.BoundedSemaphore(8)


def _forget_threads() -> None:
    global _at_once  # noqa: PLW0603 - the threads that would release it are the parent's
    _at_once = threading.BoundedSemaphore(8)


os.register_at_fork(after_in_child=_forget_threads)
