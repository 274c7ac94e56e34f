"""Programs of their own process: what they print is what is looked at, standard error too."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator


def run(program: str, *options: str, timeout: float = 40, **environment: str) -> str:
    """What a program prints; it must end well, and have nothing to say on standard error."""
    ended = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(program)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    return ended.stdout


@contextlib.contextmanager
def running(program: str, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A program that runs within the block; it is killed at its end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, *options, "-c", textwrap.dedent(program)],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
