"""A wall clock that is set ahead and back by an hour, the server's and a client's: order and deadlines are not its."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowchan.wire import keys
from tests.faults.checker import hold
from tests.faults.conversation import BACK, Conversation, conversation
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.surroundings import RUN, looking, own_server
from tests.support.programs import run
from tests.support.server import Server
from tests.support.streams import CHANNEL

HOUR = 3600
SETTINGS = (HOUR, 0, -HOUR, 0)
LATE = 1.0
"""Seconds by which a deadline may be missed on a busy machine."""

CLIENT = """
import asyncio, pathlib, sys, time
from flowchan import receive_input, send_input

shift = pathlib.Path(SHIFT)

async def main():
    receiver = receive_input(int, flow_run_id="client", timeout=0.5)
    for number, seconds in enumerate((3600, 0, -3600, 0)):
        before = time.time()
        waiting = asyncio.ensure_future(receiver.next())
        await asyncio.sleep(0.1)
        shift.write_text(str(seconds))
        assert abs(time.time() - before) > 3000, "the clock was not set"
        start = time.monotonic()
        try:
            await waiting
        except TimeoutError:
            pass
        assert 0.2 < time.monotonic() - start < 0.4 + LATE, "its deadline moved with the clock"
        await send_input(number, "client")
        assert await receiver.next() == number

asyncio.run(main())
"""


class Clock:
    """The wall clock of what is started within :meth:`ruled`.

    Where that cannot be (it takes a C compiler, on Linux), the server is told of later IDs instead, as a clock that was ahead leaves them.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "shift"
        self.file.write_text("0")
        self._library = folder / "clock.so"
        compiler = shutil.which("cc") if sys.platform == "linux" else None
        self.is_real = compiler is not None
        if compiler is not None:
            source = Path(__file__).parent / "clock.c"
            subprocess.run([compiler, "-shared", "-fPIC", "-o", self._library, source, "-ldl"], check=True)

    @contextmanager
    def ruled(self) -> Iterator[None]:
        names = {"LD_PRELOAD": str(self._library), "CLOCK_SHIFT": str(self.file)} if self.is_real else {}
        os.environ.update(names)
        try:
            yield
        finally:
            for name in names:
                del os.environ[name]

    @contextmanager
    def set(self, server: Server, seconds: int) -> Iterator[None]:
        """Set it, and leave it so."""
        if self.is_real:
            self.file.write_text(str(seconds))
        elif seconds > 0:
            with looking(server) as streams:
                ahead = int((time.time() + seconds) * 1000)
                streams.client.execute_command("XSETID", streams.key(RUN), f"{ahead}-0")
        yield


async def _settings(server: Server, clock: Clock, count: int, progress: Progress) -> Conversation:
    async with conversation(count) as mine:
        for done, seconds in enumerate(itertools.islice(itertools.cycle(SETTINGS), count)):
            await mine.refused(lambda seconds=seconds: clock.set(server, seconds))  # type: ignore[misc]
            progress(done + 1)
    return mine


def sets_the_clock(count: int, progress: Progress) -> Seen:
    """``count`` times, ahead and back and right again."""
    counted = f"{count:,} times"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fck-")))
        clock = Clock(folder)
        with clock.ruled():
            server = stack.enter_context(own_server())
        mine = asyncio.run(_settings(server, clock, count, progress))
        with looking(server) as streams:
            stored = streams.values(RUN)
            times = _times(streams.client, streams.key(RUN, CHANNEL))
        clock.file.write_text("0")
        with clock.ruled():
            program = CLIENT.replace("SHIFT", repr(str(clock.file))).replace("LATE", str(LATE))
            told = "no clock was set: IDs of an hour ahead stood for it"
            if clock.is_real:
                run(program)
                told = "a client's deadlines held, too"
    hold(stored, [mine.sender]).must_be_none(counted)
    if clock.is_real and times < 0.9 * HOUR * 1000:
        raise Broken(counted, "the server's clock was not set")
    if mine.slowest > BACK:
        raise Broken(counted, f"it took {mine.slowest:.1f} s to go on")
    return Seen(
        f"{counted}, {len(stored):,} sends",
        f"all stored and received once, in order; on again after ≤ {mine.slowest:.1f} s; {told}",
    )


def _times(client: Any, stream: str) -> int:
    """Milliseconds between the first entry and the last."""
    entries = [keys.EntryId.parse(entry) for entry, _ in client.xrange(stream)]
    return entries[-1].ms - entries[0].ms


FAULTS = (Fault("wall clock ± 1 h", "order kept, deadlines kept", 4, 40, sets_the_clock),)
