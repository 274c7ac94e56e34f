"""A process that executes one run, as the server sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flowchan.runner.entry import Entry
from flowchan.settings import Settings

_PROGRAM = (
    "import os, sys; sys.path[:] = os.environ.pop('_FLOWCHAN_PATH').split(os.pathsep);"
    " from flowchan.runner.child import main; main()"
)
_LONGEST = 1 << 16


class Setup(NamedTuple):
    """What such a process is to have at hand before it is told of a run."""

    settings: Settings
    entries: Mapping[str, Entry]
    """Where the flows are, by the IDs of their deployments."""


class Process:
    """Its life: it imports the code, is ready, is given a run, and has ended.

    All callbacks come on the loop that it was made on.

    Attributes:
        born: when it was started, by the loop's clock.
        is_ready: whether it can be given a run.
        has_begun: whether it has heard of the run that it was given.
        is_over: whether it has executed it, and ends.
        problems: why it cannot execute runs of some deployments: a reason for each.
        exit_code: as in :mod:`subprocess`; None while it runs.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        setup: Setup,
        changed: Callable[[Process], None],
    ) -> None:
        self._loop = loop
        self._changed = changed
        self._entries = setup.entries
        self._files: dict[str, tuple[int, int]] = {}
        self._rest = b""
        self.born = loop.time()
        self.is_ready = False
        self._was_ready = False
        self.has_begun = False
        self.is_over = False
        self.problems: dict[str, str] = {}
        self.exit_code: int | None = None
        self._line, theirs = socket.socketpair()
        self._line.setblocking(False)  # noqa: FBT003 - that is how it is called
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this Python
                [sys.executable, *_flags(), "-c", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "_FLOWCHAN_PATH": os.pathsep.join(sys.path)},
                start_new_session=True,  # Ctrl-C is for the server, which tells its runs what it means
            )
        loop.add_reader(self._line, self._read)
        threading.Thread(target=self._watch, name=f"flowchan-run-{self.pid}", daemon=True).start()
        self._say(
            argv=sys.argv,
            settings=setup.settings.in_the_clear(),
            entries=setup.entries,
        )

    @property
    def pid(self) -> int:
        """The process's ID."""
        return self._process.pid

    def heard_by(self, changed: Callable[[Process], None]) -> None:
        """Have somebody else called when something changes."""
        self._changed = changed

    @property
    def is_stale(self) -> bool:
        """Whether code that it has imported was changed since."""
        return any(_about(path) != about for path, about in self._files.items())

    def give(self, deployment: str, run: str, holder: str) -> None:
        """Have it execute a run."""
        self.is_ready = False
        self._say(deployment=deployment, run=run, holder=holder)

    def tell(self, kind: str) -> None:
        """Tell it what state its run has."""
        self._say(told=kind)

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it, and what it has started in its session."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, how)

    def _say(self, **what: Any) -> None:
        # Far less than the socket holds. One that has died is found out by its end.
        with contextlib.suppress(OSError):
            self._line.send(json.dumps(what).encode() + b"\n")

    def _read(self) -> None:
        try:
            data = self._line.recv(_LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._take(data)
        else:
            self._loop.remove_reader(self._line)

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._hear(json.loads(line))

    def _hear(self, what: dict[str, Any]) -> None:
        if "ready" in what:
            self.is_ready = self._was_ready = True
            self.problems = what["ready"]["problems"]
            self._files = {path: (about[0], about[1]) for path, about in what["ready"]["files"].items()}
        elif "begun" in what:
            self.has_begun = True
        elif "over" in what:
            self.is_over = True
        self._changed(self)

    def _watch(self) -> None:
        # Not by the end of its socket: what it has started may hold that open.
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)  # not reaped before nobody can signal it any more
        else:
            self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        self._loop.remove_reader(self._line)
        with contextlib.suppress(OSError):
            while data := self._line.recv(_LONGEST):
                self._take(data)
        self._line.close()
        self.exit_code = self._process.wait()
        self.is_ready = False
        if not self._was_ready:
            reason = f"its code ended the process that imported it ({how_it_ended(self.exit_code)})"
            self.problems = dict.fromkeys(self._entries, reason)
        self._changed(self)


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _about(path: str) -> tuple[int, int] | None:
    try:
        about = os.stat(path)  # noqa: PTH116 - each time a run is given away
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size


def _flags() -> list[str]:
    """The options that this Python was started with, as far as its children are to have them."""
    made = getattr(subprocess, "_args_from_interpreter_flags", None)
    return list(made()) if made is not None else []
