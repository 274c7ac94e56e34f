"""Ctrl-C in more places: in a flow, in a loop, in a storm of them, and at a server that does not answer."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import psutil
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
    assert process.returncode


def test_interrupts_at_any_moment_of_a_receive_lose_and_repeat_nothing(start: Start) -> None:
    count = 3000
    program = f"""
        import itertools, os
        import flowchan

        home = os.path.dirname(flowchan.__file__)
        chance = random.Random(1)

        def interrupt(number, frame):
            # Only while it is flowchan's turn: between two steps of the program nobody could keep a message safe.
            while frame is not None:
                if frame.f_code.co_filename.startswith(home):
                    raise KeyboardInterrupt
                frame = frame.f_back

        mine, got, interrupts = receiver(), [], 0
        signal.signal(signal.SIGALRM, interrupt)
        say("ready")
        for turn in itertools.count():
            if turn % 2:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.000_001, 0.000_3))
            try:
                got.append(mine.next())
            except KeyboardInterrupt:
                interrupts += 1
            if got and got[-1] == {count - 1}:
                break
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
    assert process.returncode == 0, errors
    assert "Warning" not in errors
    assert int(said) > count / 100


@pytest.mark.parametrize("what", ["send(1)", "receiver().next()", "list(receiver('s'))"])
def test_what_waits_for_a_server_that_does_not_answer_ends_at_once(
    what: str, start: Start, server: Server, namespace: str
) -> None:
    program = f"""
        send(0)
        assert receiver().next() == 0
        try:
            say("ready")
            sys.stdin.readline()
            {what}
        except KeyboardInterrupt:
            say("interrupted")
    """
    with start(program) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with server.paused():
            process.stdin.write("\n")
            process.stdin.flush()
            eventually(lambda: is_asleep(process), "the wait")
            said, errors = interrupt(process)
    assert (process.returncode, said) == (0, "interrupted\n")
    assert_nothing_but_the_fate_of_sends(errors)
    # What was sent was on its way already, so it may be stored; once, if so.
    with server.client() as client:
        assert Streams(client, namespace).values("r") in ([0], [0, 1])


@pytest.mark.parametrize("what", ["send(0)", "receiver().next()", "run(receiver().next())"])
def test_what_waits_for_a_server_that_never_answered_ends_at_once(what: str, start: Start, server: Server) -> None:
    program = f"""
        try:
            say("ready")
            {what}
        except KeyboardInterrupt:
            say("interrupted")
    """
    with server.paused(), start(program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        eventually(lambda: is_asleep(process), "the wait")
        said, errors = interrupt(process)
    assert (process.returncode, said) == (0, "interrupted\n")
    assert_nothing_but_the_fate_of_sends(errors)


def assert_nothing_but_the_fate_of_sends(errors: str) -> None:
    """One line for each that was not stored, or may not have been."""
    assert [line for line in errors.splitlines() if "(run r, channel numbers)" not in line] == []


def is_asleep(process: Process) -> bool:
    """Whether none of a process's threads has anything to do, for a while."""
    tasks = [psutil.Process(process.pid).cpu_times() for _ in (0, time.sleep(0.2))]
    return tasks[0] == tasks[1]


# --- in asynchronous code ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wait", ["await mine.next()", "async for value in mine: pass", "await asyncio.wait_for(mine.next(), 20)"]
)
@pytest.mark.parametrize("call", ["run(main())", "run(flow(main)())"])
def test_an_asynchronous_wait_ends_with_one_traceback(call: str, wait: str, start: Start, streams: Streams) -> None:
    program = f"""
        async def main():
            mine, other = receiver(), receiver("other")
            waiter = asyncio.ensure_future(other.next())
            send(0, "sent")
            {wait}

        {call}
    """
    with start(program) as process:
        eventually(lambda: streams.groups() == 2, "the wait")
        said, errors = interrupt(process)
    assert (process.returncode, said) == (INTERRUPTED, "")
    assert_nothing_but_the_interrupt(errors)
    assert streams.values("sent") == [0]
    assert not streams.groups()


def test_a_receiver_goes_on_on_the_next_loop_after_an_interrupt(start: Start, streams: Streams) -> None:
    program = """
        mine = receiver()
        got = []

        async def main():
            async for value in mine:
                got.append(value)
                if value == 99:
                    return

        for turn in range(10):
            say("ready")
            try:
                run(main())
                break
            except KeyboardInterrupt:
                pass
        say(got == list(range(100)))
    """
    with start(program) as process:
        assert process.stdout is not None
        for turn in range(10):
            assert process.stdout.readline() == "ready\n"
            for value in range(10 * turn, 10 * turn + 10):
                sync.send_input(value, "r", key_prefix=CHANNEL)
            if turn < 9:
                eventually(streams.groups, "the wait")
                process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("True\n", "")
        assert process.returncode == 0


def test_a_blocking_wait_on_the_thread_of_a_loop_ends_with_the_second_interrupt(start: Start, streams: Streams) -> None:
    # The first is the loop's: asyncio cancels its main task, which hears of it when the wait has ended.
    program = """
        @flow
        def blocking():
            return receiver().next()

        async def main():
            try:
                blocking()
            except KeyboardInterrupt:
                say("interrupted")
                raise

        run(main())
    """
    with start(program) as process:
        eventually(streams.groups, "the wait")
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
        said, _ = process.communicate()
    assert said == "interrupted\n"
    assert not streams.groups()
