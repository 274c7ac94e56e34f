"""Many who resume one run at once: one does, and the others are told so."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from flowchan import flow
from flowchan.errors import NotPausedError
from flowchan.flow_runs import pause_flow_run, resume_flow_run
from tests.support import programs
from tests.support.runs import seen, seen_sync, started, started_sync

pytestmark = pytest.mark.anyio

# Each of them has nothing left to do but to resume when the pipe is closed.
RESUMERS = """
import os
from flowchan.errors import NotPausedError
from flowchan.flow_runs import resume_flow_run

waiting, go = os.pipe()
ready, there = os.pipe()
for number in range(32):
    if not os.fork():
        os.close(go)
        os.write(there, b"1")
        os.read(waiting, 1)
        try:
            resume_flow_run(os.environ["run"], {"value": number})
            line = f"won {number}\\n"
        except NotPausedError:
            line = "lost\\n"
        except BaseException as error:
            line = f"{error!r}\\n"
        os.write(1, line.encode())
        os._exit(0)
for _ in range(32):
    os.read(ready, 1)
os.close(go)
for _ in range(32):
    os.wait()
"""


def test_of_thirty_two_processes_that_resume_a_run_one_does() -> None:
    @flow
    def asks() -> Any:
        return pause_flow_run(int)

    with started_sync(asks) as end:
        run = seen_sync("asks", "PAUSED")
        told = Counter(programs.run(RESUMERS, run=str(run.id)).splitlines())
        assert told.pop("lost") == 31
        (winner,) = told
        assert end.result(20).result() == int(winner.removeprefix("won "))


async def test_so_it_is_within_one_process() -> None:
    @flow
    async def asks() -> Any:
        return await pause_flow_run(int)

    async with started(asks) as call:
        run = await seen("asks", "PAUSED")
        ends = await asyncio.gather(
            *(resume_flow_run(run.id, {"value": number}) for number in range(100)), return_exceptions=True
        )
        (winner,) = [number for number, end in enumerate(ends) if end is None]
        assert await call == winner
    assert Counter(map(type, ends)) == {type(None): 1, NotPausedError: 99}
