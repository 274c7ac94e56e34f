"""Starting the watchdog, which starts the server."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flowchan.broker.embedded import environment, log
from flowchan.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Generator

    from flowchan.broker.embedded.place import Place
    from flowchan.settings import Settings

_WATCHDOG = Path(__file__).with_name("watchdog.py")
# Isolated and without site-packages, so that nothing of its user's Python reaches it; it leaves no compiled files.
_BARE = ("-I", "-S", "-B")
_LOADER = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
_PATIENCE = 10.0  # seconds to detach


class Launch:
    """A watchdog on its way: the pipe ends when it has reached the server, or has given up."""

    def __init__(self, pipe: int) -> None:
        self.ended = False
        self._pipe = pipe
        # Not select(), which cannot look at the descriptors of a process with more than 1024.
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)

    def wait_for_end(self, seconds: float) -> None:
        """Wait for the end, but no longer than that; ``ended`` says whether it has come."""
        deadline = time.monotonic() + seconds
        while not self.ended and self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            self.ended = not os.read(self._pipe, 64)


@contextlib.contextmanager
def launched(place: Place, settings: Settings, command: list[str]) -> Generator[Launch]:
    """Start the watchdog of a place, with the command line of a server to start or none.

    Raises:
        BrokerUnavailable: there is no Python that runs it.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        # There is no Python that could run the watchdog; a frozen program would run itself.
        raise BrokerUnavailable(
            "An embedded server needs a Python interpreter: set FLOWCHAN_URL to a server that runs."
        )
    files = str(place.data / "appendonlydir") if settings.server_fsync == "everysec" else ""
    arguments = [str(place.folder), str(place.socket), repr(settings.server_idle), files, *command]
    # The loader's variables are what this interpreter may need to run; the server does not get them.
    variables = environment.VARIABLES | {name: os.environ[name] for name in _LOADER if name in os.environ}
    log.turn_over(place.log)
    place.log.touch(mode=0o600)
    with place.log.open("ab") as errors:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, *_BARE, str(_WATCHDOG), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd="/",
                env=variables,
                start_new_session=True,
            )
        except OSError as error:
            raise BrokerUnavailable(f"The watchdog does not run with {sys.executable}: {error}") from None
    assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
    with process.stdout:
        try:
            process.wait(_PATIENCE)  # it detaches at once
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        yield Launch(process.stdout.fileno())
