"""The one loop behind synchronous calls: a thread of flowchan's own, which every other thread asks."""

from __future__ import annotations

import _thread
import asyncio
import atexit
import contextlib
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

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
    if loop is loop_of_this_thread():
        raise RuntimeError("A synchronous call on flowchan's own thread would wait for itself.")
    ended = _thread.allocate_lock()
    ended.acquire()
    asked: list[asyncio.Future[T]] = []
    failed: list[BaseException] = []
    is_over = False

    def end(_: object = None) -> None:
        nonlocal is_over
        if not is_over:
            is_over = True
            ended.release()

    def start() -> None:
        try:
            future = asyncio.ensure_future(ask(broker_of_this_loop(settings)))
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that asked
            failed.append(error)
            end()
            return
        asked.append(future)
        future.add_done_callback(end)

    def cancel() -> None:
        if asked:
            asked[0].cancel()
        else:
            end()  # it was interrupted before it had asked

    thread = _thread.get_ident()
    _cancels.setdefault(thread, []).append(cancel)
    try:
        loop.call_soon_threadsafe(start)
        ended.acquire()
    except BaseException:
        loop.call_soon_threadsafe(cancel)
        while not is_over:
            ended.acquire(timeout=_LOOK)  # or it was interrupted with the lock in its hand
        raise
    finally:
        _cancels[thread].remove(cancel)
        if not _cancels[thread]:
            del _cancels[thread]
    if failed:
        raise failed[0]
    return asked[0].result()


def interrupt(thread: int) -> None:
    """Cancel what a thread waits for here, if it does: its call raises CancelledError."""
    for cancel in _cancels.get(thread, ())[-1:]:
        with contextlib.suppress(RuntimeError):
            _running_loop().call_soon_threadsafe(cancel)


def loop() -> asyncio.AbstractEventLoop:
    """The bridge's loop, for what is to be done beside the callers; it is made if there is none."""
    return _running_loop()


_cancels: dict[int, list[Callable[[], None]]] = {}
_loop: asyncio.AbstractEventLoop | None = None
_lock = threading.Lock()


def loop_of_this_thread() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in the calling thread, or None."""
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
                threading.Thread(target=_run, args=(loop,), name="flowchan-bridge", daemon=True).start()
                _loop = loop
    return _loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    # The system hands a signal to any thread that takes it, and the main thread, which waits here for an answer,
    # would not wake to handle it.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    loop.run_forever()


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
