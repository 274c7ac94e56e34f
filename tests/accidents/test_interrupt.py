"""Ctrl-C in more places: in a flow, in a loop, in a storm of them, and at a server that does not answer."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from flowchan import sync
from tests.support import programs
from tests.support.server import Server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually

Process = subprocess.Popen[str]
Start = Callable[[str], AbstractContextManager[Process]]

INTERRUPTED = -signal.SIGINT

PRELUDE = """
import asyncio, random, signal, sys, time
from flowchan import flow, open_run, receive_input, send_input

new_loop = asyncio.new_event_loop
if {use_uvloop}:
    import uvloop
    new_loop = uvloop.new_event_loop

def receiver(run="r", **options):
    return receive_input(int, flow_run_id=run, key_prefix="numbers", **{{"timeout": 20, **options}})

def send(value, run="r"):
    return send_input(value, run, key_prefix="numbers")

def run(main):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)

def say(what):
    print(what, flush=True)
"""


@pytest.fixture
def start(anyio_backend: tuple[str, dict[str, Any]]) -> Start:
    """Starts a program, and ends it with the block."""

    @contextlib.contextmanager
    def started(program: str) -> Iterator[Process]:
        with programs.running(PRELUDE.format(**anyio_backend[1]) + textwrap.dedent(program)) as process:
            yield process

    return started


def interrupt(process: Process) -> tuple[str, str]:
    """Ctrl-C, and what the program says until it has ended, which is to be soon."""
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=15)


def assert_nothing_but_the_interrupt(errors: str) -> None:
    """That is one traceback (asyncio's tells of the cancelled task before), and no word of what else ended."""
    assert errors.startswith("Traceback (most recent call last):\n"), errors
    assert errors.rstrip().endswith("\nKeyboardInterrupt"), errors
    said = [line for line in errors.splitlines() if line and not line.startswith(" ")]
    allowed = ("Traceback (most recent call last):", "asyncio.exceptions.CancelledError", "KeyboardInterrupt")
    assert [line for line in said if line not in (*allowed, DURING)] == [], errors
    assert errors.count("\nKeyboardInterrupt") == 1, errors


DURING = "During handling of the above exception, another exception occurred:"


# --- in synchronous code ----------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["main()", "flow(main)()", "with open_run('r'): main()"])
@pytest.mark.parametrize("wait", ["mine.next()", "for value in mine: pass"])
def test_a_blocking_wait_ends_with_one_traceback(call: str, wait: str, start: Start, streams: Streams) -> None:
    program = f"""
        def main():
            with receiver() as mine:
                {wait}

        {call}
    """
    with start(program) as process:
        eventually(streams.groups, "the wait")
        said, errors = interrupt(process)
    assert (process.returncode, said) == (INTERRUPTED, "")
    assert_nothing_but_the_interrupt(errors)
    assert not streams.groups()


def test_an_impatient_user_is_not_held_up_either(start: Start, streams: Streams) -> None:
    with start("receiver().next()") as process:
        eventually(streams.groups, "the wait")
        for _ in range(5):
            process.send_signal(signal.SIGINT)
        interrupt(process)
    assert process.returncode == INTERRUPTED


def test_a_receiver_in_a_storm_of_interrupts_misses_and_repeats_nothing(start: Start) -> None:
    count = 3000
    program = f"""
        import os, sysconfig
        import flowchan

        home = os.path.dirname(flowchan.__file__)

        def storm(number, frame):
            # Only while it is flowchan's turn: between two lines of the program nobody could keep a message safe.
            where = frame
            while where is not None:
                if where.f_code.co_filename.startswith(home):
                    raise KeyboardInterrupt
                where = where.f_back

        mine, got, interrupts = receiver(), [], 0
        say("ready")
        signal.signal(signal.SIGALRM, storm)
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.000_7)
        while len(got) < {count}:
            try:
                got.append(mine.next())
            except KeyboardInterrupt:
                interrupts += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert got == list(range({count})), [(i, value) for i, value in enumerate(got) if i != value][:5]
        say(interrupts)
    """
    with start(program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for value in range(count):
            sync.send_input(value, "r", key_prefix=CHANNEL)
        said, errors = process.communicate(timeout=40)
    assert (process.returncode, errors) == (0, "")
    assert int(said) > 50
