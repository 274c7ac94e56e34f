"""Stopping a function that runs, from outside: its task is cancelled, or its thread interrupted."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import threading
import time

from flowchan import bridge
from flowchan.stops import StopRun

_PATIENCE = 1.0
_LOOK = 0.005


class Interrupt:
    """Stops one call of a user's function, once, from any thread.

    Guarantees: nothing is interrupted before :meth:`enter` or after :meth:`leave`. An ``async`` function's task
    is cancelled. A function in the main thread is interrupted as by Ctrl-C, blocking calls too; one in another
    thread when it next executes Python code or waits for the broker.

    Attributes:
        reason: why it was stopped; None while it was not.
    """

    def __init__(self) -> None:
        self.reason: StopRun | None = None
        self._lock = threading.Lock()
        self._task: asyncio.Task[object] | None = None
        self._thread: int | None = None
        self._struck: str | None = None

    def enter(self, *, is_async: bool) -> None:
        """The function begins, here.

        Raises:
            StopRun: it was stopped before that.
        """
        with self._lock:
            if self.reason is not None:
                raise self.reason
            self._task = asyncio.current_task() if is_async else None
            self._thread = threading.get_ident()

    def strike(self, reason: StopRun) -> None:
        """Stop it; the first reason counts. If it has not begun, it will not."""
        with self._lock:
            if self.reason is not None:
                return
            self.reason = reason
            thread, task = self._thread, self._task
            if thread is None:
                return
            if task is not None:
                task.get_loop().call_soon_threadsafe(self._cancel, task)
            elif _takes_signals(thread):
                self._struck = "signal"
                signal.pthread_kill(thread, signal.SIGINT)
            else:
                self._struck = "thread"
                _raise_in(thread, type(reason))
                bridge.interrupt(thread)

    def leave(self) -> None:
        """The function has ended; what may still be under way to it is taken back. Call it again if it is interrupted."""
        with self._lock:
            struck, self._struck = self._struck, None
            thread, self._thread = self._thread, None
            task, self._task = self._task, None
        if struck == "thread" and thread is not None:
            _raise_in(thread, None)
        elif struck == "task" and task is not None:
            task.uncancel()

    def settle(self) -> None:
        """Wait for a signal that was sent and has not arrived. Raises KeyboardInterrupt when it does."""
        if self._struck == "signal":
            deadline = time.monotonic() + _PATIENCE
            while time.monotonic() < deadline:
                time.sleep(_LOOK)

    def _cancel(self, task: asyncio.Task[object]) -> None:
        with self._lock:
            if self._task is task:
                self._struck = "task"
                task.cancel()


def _takes_signals(thread: int) -> bool:
    """Whether SIGINT interrupts this thread, and nothing else is made of it."""
    return thread == threading.main_thread().ident and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(kind) if kind is not None else None
    )
