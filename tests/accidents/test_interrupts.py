"""Ctrl-C, and signals that leave no time for a farewell."""

from __future__ import annotations

import os
import signal
import time

import pytest

from flowchan import sync
from tests.support import programs
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually

START = f"""
import signal
from flowchan import receive_input

def receiver(run, **options):
    return receive_input(int, flow_run_id=run, key_prefix={CHANNEL!r}, **{{"timeout": 20, **options}})
"""


@pytest.mark.parametrize(
    "wait", ["receiver('r').next()", "list(receiver('r'))", "next(iter(receiver('r', timeout=None)))"]
)
def test_ctrl_c_ends_a_synchronous_wait_at_once(wait: str, streams: Streams) -> None:
    program = f"""{START}
try:
    {wait}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with programs.running(program) as process:
        eventually(streams.groups, "the wait")
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=10)
        assert time.monotonic() - start < 5
        assert (process.returncode, said, errors) == (0, "interrupted\n", "")
    assert not streams.groups()


def test_ctrl_c_that_nobody_catches_ends_the_process(streams: Streams) -> None:
    with programs.running(f"{START}\nreceiver('r').next()") as process:
        eventually(streams.groups, "the wait")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert process.returncode
        assert errors.rstrip().endswith("KeyboardInterrupt")


def test_a_receiver_goes_on_after_ctrl_c_without_a_loss(streams: Streams) -> None:
    program = f"""{START}
mine = receiver("r")
value = -1
while value < 29:
    try:
        while value < 29:
            value = mine.next()
            print("got", value, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
    with programs.running(program) as process:
        assert process.stdout is not None
        eventually(streams.groups, "the wait")
        for value in range(30):
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            sync.send_input(value, "r", key_prefix=CHANNEL)
            assert process.stdout.readline() == f"got {value}\n"
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")


def test_processes_that_end_in_the_middle_leave_groups_that_end_with_their_stream(streams: Streams) -> None:
    with programs.running(f"{START}\nreceiver('r').next()") as process:
        eventually(streams.groups, "the wait")
        os.kill(process.pid, signal.SIGKILL)
    assert streams.groups() == 1
    assert 0 < int(streams.client.pttl(streams.key("r"))) <= 7 * 24 * 3600 * 1000  # type: ignore[arg-type]
