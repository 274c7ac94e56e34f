"""A program that a test talks to, over pipes or through a terminal; it does not outlive the test."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

import flowchan
from tests.support.waiting import eventually

PATIENCE = 20.0
FLOWCHAN = ("-c", "from flowchan.cli import main; main()")
"""The arguments of a Python that make it the command ``flowchan``."""

# Makes the terminal that it was given its own, as a shell's would be, so that Ctrl-C is a signal for it.
_WITH_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
_COLOURS = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def environment() -> dict[str, str]:
    """The test's own, in which a program finds the flowchan that is tested, and nothing of the folder it runs in."""
    return {
        **os.environ,
        "PYTHONPATH": str(Path(flowchan.__file__).parent.parent),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "TERM": "xterm-256color",
        "COLUMNS": "80",
    }


def run(
    *arguments: str, given: str = "", stdout: int = subprocess.PIPE, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """What a Python with these arguments has to say to its input, from its beginning to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        input=given,
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=PATIENCE,
        env=environment(),
        cwd=cwd,
        check=False,
    )


class Program:
    """A Python with the given arguments that runs while the test goes on.

    Args:
        arguments: the Python's.
        terminal: whether it runs in a terminal, or reads from and writes to pipes.
    """

    def __init__(self, *arguments: str, terminal: bool = False) -> None:
        self._terminal = terminal
        self._seen = b""
        self._read = 0
        if terminal:
            self._out, inside = pty.openpty()
            self._in = self._out
            ends = {"stdin": inside, "stdout": inside, "stderr": inside}
            arguments = ("-c", _WITH_TERMINAL, *arguments)
        else:
            inside, self._in = os.pipe()
            self._out, outside = os.pipe()
            ends = {"stdin": inside, "stdout": outside, "stderr": outside}
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            **ends,
            env=environment(),
            start_new_session=True,  # what it starts is found by it, and Ctrl-C on the tests is for the tests
        )
        for end in set(ends.values()):
            os.close(end)

    @property
    def pid(self) -> int:
        """The process's ID."""
        return self._process.pid

    @property
    def screen(self) -> str:
        """All that it has said so far, without the colours."""
        return _COLOURS.sub(b"", self._seen).decode().replace("\r\n", "\n")

    def children(self) -> list[psutil.Process]:
        """The processes that it has started."""
        return psutil.Process(self.pid).children(recursive=True)

    def type(self, text: str) -> None:
        """Type as a person would, or write to its pipe."""
        os.write(self._in, text.encode())

    def hang_up(self) -> None:
        """Nothing more will be typed."""
        os.close(self._in)
        self._in = -1

    def says(self, text: str) -> str:
        """Wait until it says this, behind what was waited for before; return what it said up to there."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.screen.find(text, self._read)) < 0:
            assert self._more(deadline), f"It ended, and did not say {text!r}:\n{self.screen}"
        begin, self._read = self._read, found + len(text)
        return self.screen[begin : self._read]

    def interrupt(self) -> None:
        """Ctrl-C: typed, or as a shell sends it to a program without a terminal.

        Comes when the program waits, as a person's would: between its prompt and its read(), Python would not see it.
        """
        eventually(lambda: psutil.Process(self.pid).status() == psutil.STATUS_SLEEPING, "a moment's rest", PATIENCE)
        if self._terminal:
            self.type("\x03")
        else:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it as the kernel would; it is gone when this returns."""
        self._process.kill()
        self._process.wait()

    def ends(self) -> int:
        """Wait until it has ended and nobody writes to its output any more; return its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._more(deadline):
            pass
        return self._process.wait(max(0.1, deadline - time.monotonic()))

    def close(self) -> None:
        """End it and all that it has started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in self.children():
                child.kill()
        self._process.kill()
        self._process.wait()
        for end in {self._in, self._out} - {-1}:
            os.close(end)

    def _more(self, deadline: float) -> bool:
        """Read on; False at the end."""
        ready = select.select([self._out], [], [], max(0.0, deadline - time.monotonic()))[0]
        assert ready, f"It says nothing more, and has not ended:\n{self.screen}"
        try:
            more = os.read(self._out, 65536)
        except OSError:  # how Linux tells that nobody is left in a terminal
            return False
        self._seen += more
        return bool(more)
