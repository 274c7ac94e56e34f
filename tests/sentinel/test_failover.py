"""Sentinels choose another primary: whoever sends and whoever receives goes on there."""

from __future__ import annotations

import signal
import time

import anyio.to_thread
import pytest

from flowchan import resume_flow_run
from tests.support import programs
from tests.support.bridge import end_of_bridge
from tests.support.numbers import numbers_flow
from tests.support.runs import seen_sync, state_of_sync
from tests.support.sentinels import Sentinels

pytestmark = pytest.mark.anyio

RUNS = [f"run-{number}" for number in range(4)]


@pytest.mark.parametrize("times", [2])
async def test_numbers_go_on_when_the_sentinels_choose_another_primary(sentinels: Sentinels, times: int) -> None:
    async with numbers_flow(RUNS, some_may_be_lost=True) as numbers:
        for _ in range(times):
            await anyio.to_thread.run_sync(sentinels.fail_over)
            await numbers.progress()


async def test_numbers_go_on_when_the_primary_is_killed(sentinels: Sentinels) -> None:
    async with numbers_flow(RUNS, some_may_be_lost=True) as numbers:
        sentinels.primary.kill()
        await numbers.progress()


def test_a_run_whose_lease_ran_out_while_no_server_was_primary_is_given_time_to_be_heard_of(
    sentinels: Sentinels, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = 2.0
    monkeypatch.setenv("FLOWCHAN_LEASE", str(lease))
    program = "from flowchan import flow, pause_flow_run\n@flow\ndef asks():\n    pause_flow_run(str)\nasks()"
    with programs.running(program) as process:
        run = seen_sync("asks", "PAUSED")
        end_of_bridge()
        process.send_signal(signal.SIGSTOP)  # it is not the first to be back
        stopped = time.monotonic()
        sentinels.primary.kill()
        assert sentinels.primary.answers
        while time.monotonic() < stopped + lease + 0.1:
            time.sleep(0.01)

        assert state_of_sync(run) == run.state

        process.send_signal(signal.SIGCONT)
        resume_flow_run(run.id, {"value": "a"})
        process.communicate(timeout=20)
        assert process.returncode == 0
    assert state_of_sync(run).is_completed()
