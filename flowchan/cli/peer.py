"""A peer: a flow that runs in a process of its own, so that there is somebody to talk to."""

from __future__ import annotations

import contextlib
import functools
import signal
import subprocess
import sys
from types import FrameType, TracebackType
from typing import Self

from flowchan.errors import FlowchanError

_FAREWELL = 5.0  # seconds that a peer may take to end


class PeerEnded(FlowchanError):  # noqa: N818 - to whom it happens, it is no error of their own
    """The peer's process ended, and nobody had asked it to."""


class Peer:
    """A process of its own in which this Python runs a module that calls :func:`run_as_peer`.

    Guarantees: the process ends with the ``with`` block, and with this process, however that ends. If it fails
    within the block, ``PeerEnded`` is raised there, whatever the main thread waits for.

    Args:
        name: what it is called when it fails.
        module: the name of the module.
    """

    def __init__(self, name: str, module: str) -> None:
        self.name = name
        self._process = subprocess.Popen(  # noqa: S603 - this Python and a module of ours
            [sys.executable, "-P", "-m", module],  # -P: nothing in the folder that the user is in stands for a module
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C goes to all of a terminal's processes; this one hears of it from us
        )

    @property
    def pid(self) -> int:
        """The process's ID."""
        return self._process.pid

    @functools.cached_property
    def id(self) -> str:
        """The ID of the peer's run; blocks while the process is starting."""
        assert self._process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise self._ended()
        return line.strip()

    def __enter__(self) -> Self:
        self._handler = signal.signal(signal.SIGCHLD, self._on_child)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGCHLD, self._handler)
        with self._process:
            if kind is None:
                self._wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._wait()
            self._process.kill()

    def _wait(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_FAREWELL)

    def _on_child(self, _signal: int, _frame: FrameType | None) -> None:
        if self._process.poll():
            raise self._ended()
