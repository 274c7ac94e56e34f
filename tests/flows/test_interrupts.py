"""Ctrl-C in a flow, as a person at a terminal presses it."""

from __future__ import annotations

import signal
import textwrap

import pytest

from tests.support import programs
from tests.support.runs import seen_sync

FLOWS = {
    "that sleeps": """
        @flow
        def waits():
            print("started", flush=True)
            time.sleep(60)
        call = waits
    """,
    "that computes": """
        @flow
        def waits():
            print("started", flush=True)
            while True:
                pass
        call = waits
    """,
    "that receives": """
        @flow
        def waits():
            print("started", flush=True)
            receive_input(str, timeout=60).next()
        call = waits
    """,
    "that pauses": """
        @flow
        def waits():
            print("started", flush=True)
            pause_flow_run(str)
        call = waits
    """,
    "that is async": """
        @flow
        async def waits():
            print("started", flush=True)
            await asyncio.sleep(60)
        call = lambda: asyncio.run(waits())
    """,
    "that is async and pauses": """
        @flow
        async def waits():
            print("started", flush=True)
            await pause_flow_run(str)
        call = lambda: asyncio.run(waits())
    """,
    "in another flow": """
        @flow
        def waits():
            print("started", flush=True)
            time.sleep(60)
        @flow
        def call():
            waits()
    """,
}


@pytest.mark.parametrize("kind", FLOWS)
def test_ctrl_c_ends_a_flow_at_once_and_its_run_has_crashed(kind: str) -> None:
    program = f"""
import asyncio, time
from flowchan import flow, pause_flow_run, receive_input
{textwrap.dedent(FLOWS[kind])}
try:
    call()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with programs.running(program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        if "pauses" in kind:
            seen_sync("waits", "PAUSED")
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=20)
        assert (process.returncode, said, errors) == (0, "interrupted\n", "")
    run = seen_sync("waits", "CRASHED")
    assert run.state is not None
    assert "Execution was ended from outside" in (run.state.message or "")
