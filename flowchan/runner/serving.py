"""Serving as a program does it: from the call to its end by a signal, with a word to the person at the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Coroutine, Generator, Sequence
from types import FrameType
from typing import Any

from flowchan import bridge
from flowchan.context import calls_are_async
from flowchan.errors import CodeError
from flowchan.runner import entry
from flowchan.runner.entry import Entry
from flowchan.runner.server import Server
from flowchan.runs.catalogue import Deployment
from flowchan.settings import current_settings

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WIDTH = 70
_FAREWELL = 1.0


class Served(Coroutine[Any, Any, None]):
    """What a server that has ended leaves behind: it may be awaited, or given to ``asyncio.run``, and need not be."""

    def send(self, value: Any, /) -> Any:
        """End at once."""
        del value
        raise StopIteration

    def throw(self, kind: Any, value: Any = None, traceback: Any = None, /) -> Any:
        """Raise what is thrown in."""
        del value, traceback
        raise kind

    def close(self) -> None:
        """There is nothing to close."""

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


def serve(
    deployments: Sequence[tuple[Deployment, Entry]], limit: int | None, *, print_starting_message: bool = True
) -> Awaitable[None]:
    """Serve until a signal ends it: awaited in async code, blocking in sync code.

    Raises:
        CodeError: the code cannot be imported by another process, or serves when it is imported.
    """
    if entry.loading:
        raise CodeError(
            "Each run is executed by a process that imports this code, and this code serves when it is imported. Guard"
            ' it: put the call of serve() under `if __name__ == "__main__":`.'
        )
    settings = current_settings()
    loop = bridge.loop()

    def began() -> None:
        if print_starting_message:
            print(starting_message([deployment for deployment, _ in deployments]), flush=True)  # noqa: T201 - that is what is asked for

    def told(text: str) -> None:
        print(f"\n{text}", file=sys.stderr, flush=True)  # noqa: T201 - behind the terminal's ^C

    server = Server(settings, deployments, limit, told, began)
    if calls_are_async():
        return _awaited(server, loop)
    with _signals(server, loop):
        bridge.call(lambda _: server.serve(), settings)
    return Served()


async def _awaited(server: Server, loop: asyncio.AbstractEventLoop) -> None:
    # On the bridge's loop, which no code of a user blocks: runs must not be overdue because of that.
    ending = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(server.serve(), loop))
    with _signals(server, loop):
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            loop.call_soon_threadsafe(server.stop_now)
            with contextlib.suppress(Exception):
                await ending
            raise


@contextlib.contextmanager
def _signals(server: Server, loop: asyncio.AbstractEventLoop) -> Generator[None]:
    """Have signals stop the server within the block, where this thread is the one that takes them.

    The loop reads their numbers itself. Python's own handler runs in the main thread, which waits for a lock, and
    is not woken by a signal that the kernel gave to another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)  # noqa: FBT003 - that is how it is called
        wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        is_read_here = wakeup == -1
        if not is_read_here:
            signal.set_wakeup_fd(wakeup)  # an event loop in this thread, which is woken and has the handler called

        def read() -> None:
            for number in ours.recv(64):
                if number in _SIGNALS:
                    server.stop()

        def take(number: int, frame: FrameType | None) -> None:
            del number, frame
            if not is_read_here:
                loop.call_soon_threadsafe(server.stop)

        loop.call_soon_threadsafe(loop.add_reader, ours, read)
        before = {each: signal.signal(each, take) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler if handler is not None else signal.SIG_DFL)
            if is_read_here:
                signal.set_wakeup_fd(-1)
            removed = threading.Event()
            loop.call_soon_threadsafe(loop.remove_reader, ours)
            loop.call_soon_threadsafe(removed.set)
            removed.wait(_FAREWELL)  # before its number is another socket's


def starting_message(deployments: Sequence[Deployment]) -> str:
    """What a person is told when a server waits for requests."""
    names = [deployment.full_name for deployment in deployments]
    if len(deployments) == 1:
        lines = [
            f"Your flow {deployments[0].flow!r} is being served and waits for runs!",
            "",
            "To trigger a run for this flow, use the following command:",
        ]
    else:
        lines = [
            "Your deployments are being served and wait for runs!",
            "",
            "To trigger a run, use one of the following commands:",
        ]
    lines += ["", *(f"        $ flowchan run '{name}'" for name in names)]
    width = max(_WIDTH, *map(len, lines))
    lines = ["", *lines, ""]
    if sys.stdout.isatty():
        return "\n".join(
            [
                f"╭{'─' * (width + 2)}╮",
                *(f"│ {line:<{width}} │" for line in lines),
                f"╰{'─' * (width + 2)}╯",
            ]
        )
    return "\n".join(["_" * (width + 4), *(f"| {line:<{width}} |" for line in lines), "_" * (width + 4)])
