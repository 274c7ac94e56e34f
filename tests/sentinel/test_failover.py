"""Sentinels choose another primary: whoever sends and whoever receives goes on there."""

from __future__ import annotations

import signal
import time

import anyio.to_thread
import pytest

from flowchan import Channels, receive_input, resume_flow_run, send_input
from tests.support import programs
from tests.support.bridge import end_of_bridge
from tests.support.numbers import numbers_flow
from tests.support.runs import seen_sync, state_of_sync
from tests.support.sentinels import Sentinels
from tests.support.server import Server
from tests.support.waiting import eventually, eventually_async

pytestmark = pytest.mark.anyio

RUNS = [f"run-{number}" for number in range(3)]


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


async def test_who_only_listens_hears_from_another_primary_though_the_first_one_hangs(sentinels: Sentinels) -> None:
    async def listen() -> None:
        async with receive_input(int, flow_run_id="run", timeout=60, poll_interval=60) as receiver:
            heard.append(await receiver.next())
            heard.append(await receiver.next())

    heard: list[int] = []
    await send_input(0, "run")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        former = sentinels.primary
        await eventually_async(lambda: heard == [0] and is_waited_at(former), "the wait")
        # A hung connection is closed by nobody: nothing tells of it but that it says nothing
        with former.paused():
            await anyio.to_thread.run_sync(lambda: eventually(lambda: sentinels.primary is not former))
            await Channels(max_pending=10).send_input(1, "run")
            with anyio.fail_after(10):
                await eventually_async(lambda: heard == [0, 1], "the message")


def is_waited_at(server: Server) -> bool:
    with server.client() as client:
        return any(each["cmd"].startswith("xreadgroup") for each in client.client_list())


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
