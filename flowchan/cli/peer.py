"""A peer: a flow that runs in a process of its own, so that there is somebody to talk to."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import IO, Any, Self

from flowchan.cli.echo import echo
from flowchan.errors import FlowchanError

_FAREWELL = 2.0  # seconds that a peer may take to end


class PeerEnded(FlowchanError):  # noqa: N818 - it is no error of the one to whom it happens
    """The peer's process ended, and nobody had asked it to."""


class Peer:
    """A process of its own, in which this Python runs a module that calls :func:`run_as_peer`.

    Guarantees: the process ends with the ``with`` block, and with this process, however that ends. If it fails
    within the block, ``PeerEnded`` is raised there, whatever the main thread waits for.

    Args:
        name: what it is called if it fails.
        module: the name of the module.
    """

    def __init__(self, name: str, module: str) -> None:
        self._name = name
        self._process = subprocess.Popen(  # noqa: S603 - this Python and a module of ours
            [sys.executable, "-P", "-m", module],  # -P: a file in the user's folder may bear any module's name
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C goes to each process of a terminal; this one hears of it from us
        )

    @property
    def pid(self) -> int:
        """The process's ID."""
        return self._process.pid

    @functools.cached_property
    def id(self) -> str:
        """The ID of the peer's run. Waits while the process is starting."""
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise PeerEnded
        return line.strip()

    def __enter__(self) -> Self:
        # A signal, because that reaches the main thread in input(), too.
        self._handler = signal.signal(signal.SIGCHLD, self._look)
        self._look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGCHLD, self._handler)
        with self._process:
            if kind is None:
                self._wait()  # it was told to end, and is doing so
            _pipe(self._process.stdin).close()
            self._wait()
            self._process.kill()
            if kind is PeerEnded:
                raise PeerEnded(f"The {self._name} ended unexpectedly ({self._reason()}).") from None

    def _wait(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_FAREWELL)

    def _look(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        if self._process.poll():
            raise PeerEnded

    def _reason(self) -> str:
        said = _pipe(self._process.stdout).read().strip()
        code = self._process.returncode
        if code < 0:
            return signal.Signals(-code).name
        return said.splitlines()[-1] if said else f"exit code {code}"


def run_as_peer(flow: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a flow until it ends or the process that started this one has; for the end of a module.

    The flow prints its run's ID first, as one line.
    """

    async def run() -> None:
        await echo()  # so that the first who talks to it need not wait for the broker
        running = asyncio.ensure_future(flow())

        def left() -> None:
            asyncio.get_running_loop().remove_reader(sys.stdin)
            running.cancel()

        # Nothing is ever written to it: it can only end.
        asyncio.get_running_loop().add_reader(sys.stdin, left)
        with contextlib.suppress(asyncio.CancelledError):
            await running

    try:
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            runner.run(run())
    except FlowchanError as error:
        sys.exit(str(error))


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - only there if it was installed
    except ImportError:
        return None
    return uvloop.new_event_loop


def _pipe(end: IO[str] | None) -> IO[str]:
    assert end is not None  # noqa: S101 - for the type checker: the process was started with pipes
    return end
