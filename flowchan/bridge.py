"""The one loop behind synchronous calls: a thread of flowchan's own, which every other thread asks."""

from __future__ import annotations

import _thread
import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, cast

from flowchan.broker.broker import Broker, broker_of_this_loop
from flowchan.settings import Settings, current_settings

T = TypeVar("T")

_FAREWELL = 3.0
_LOOK = 0.05


def call(ask: Callable[[Broker], Awaitable[T]], settings: Settings | None = None) -> T:
    """Have ``ask`` awaited on the bridge's loop, with that loop's broker; block until it has ended.

    Ctrl-C ends the wait at once: what was asked for is cancelled, and has ended when the
    KeyboardInterrupt is raised here.

    The hand-over is a lock and a callback. (anyio's blocking portal, which does more, takes 117 to 245
    microseconds a call.)
    """
    settings = settings or current_settings()
    loop = _running_loop()
    if loop is _loop_of_this_thread():
        raise RuntimeError("A synchronous call on flowchan's own thread would wait for itself.")
    asked = _Asked[T]()
    loop.call_soon_threadsafe(asked.begin, ask, settings)
    try:
        asked.wait()
    except BaseException:
        loop.call_soon_threadsafe(asked.cancel)
        asked.wait_again()
        raise
    return asked.result()


class _Asked(Generic[T]):
    """What one thread asks the bridge's loop for, and the lock that it waits at."""

    __slots__ = ("_error", "_future", "_is_over", "_lock", "_value")

    def __init__(self) -> None:
        self._future: asyncio.Future[Any] | None = None
        self._value: T | None = None
        self._error: BaseException | None = None
        self._is_over = False
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    # --- in the thread that asks

    def wait(self) -> None:
        self._lock.acquire()

    def wait_again(self) -> None:
        while not self._is_over:
            self._lock.acquire(timeout=_LOOK)  # or it was interrupted with the lock in its hand

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    # --- on the loop

    def begin(self, ask: Callable[[Broker], Awaitable[T]], settings: Settings) -> None:
        try:
            awaitable = ask(broker_of_this_loop(settings))
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that asked
            self._end(error=error)
            return
        if isinstance(awaitable, asyncio.Future):
            self._future = awaitable
        else:
            self._future = asyncio.ensure_future(self._follow(awaitable))
        self._future.add_done_callback(self._done)

    def cancel(self) -> None:
        if self._future is not None:
            self._future.cancel()

    async def _follow(self, awaitable: Awaitable[T]) -> None:
        # Ends within the task's last step: a turn of the loop before anybody is told that it is done.
        try:
            value = await awaitable
        except BaseException as error:  # noqa: BLE001 - likewise
            self._end(error=error)
        else:
            self._end(value)

    def _done(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            self._end(error=asyncio.CancelledError())
        elif (error := future.exception()) is not None:
            self._end(error=error)
        else:
            self._end(future.result())

    def _end(self, value: T | None = None, error: BaseException | None = None) -> None:
        if not self._is_over:
            self._value, self._error, self._is_over = value, error, True
            self._lock.release()


_loop: asyncio.AbstractEventLoop | None = None
_lock = threading.Lock()


def _loop_of_this_thread() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop  # noqa: PLW0603 - the one loop is the point
    if _loop is None:
        with _lock:
            if _loop is None:
                loop = _new_loop()
                threading.Thread(target=loop.run_forever, name="flowchan-bridge", daemon=True).start()
                _loop = loop
    return _loop


def _new_loop() -> asyncio.AbstractEventLoop:
    # The loop is ours alone, so a faster one changes nothing for anybody else.
    try:
        import uvloop  # noqa: PLC0415 - only there if it was installed
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _end() -> None:
    """Free what the bridge's receivers hold in the broker before the process ends."""
    global _loop
    loop, _loop = _loop, None
    if loop is None:
        return
    ended = threading.Event()

    async def farewell() -> None:
        try:
            await loop.shutdown_asyncgens()
        finally:
            ended.set()

    with contextlib.suppress(RuntimeError):
        asyncio.run_coroutine_threadsafe(farewell(), loop)
        ended.wait(_FAREWELL)
        loop.call_soon_threadsafe(loop.stop)


def _forget() -> None:
    """In a child of a fork the thread is not there."""
    global _loop, _lock
    _loop, _lock = None, threading.Lock()


atexit.register(_end)
os.register_at_fork(after_in_child=_forget)
