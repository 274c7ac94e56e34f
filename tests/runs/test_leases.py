"""A run outlives its process by its lease, no longer; and a process that lives keeps its runs, whatever they do."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from subprocess import Popen
from typing import Any

import pytest
import redis

from flowchan import flow, get_client
from flowchan.errors import IllegalTransition, NotPausedError
from flowchan.flow_runs import cancel_flow_run, resume_flow_run, wait_for_flow_run
from flowchan.wire import keys
from tests.support import programs
from tests.support.bridge import end_of_bridge
from tests.support.runs import seen, seen_sync, started, state_of_sync
from tests.support.server import Server
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio

FLOWS = """
import asyncio, sys, time
from flowchan import flow, pause_flow_run

@flow
def works():
    print("started", flush=True)
    time.sleep(60)

@flow
def asks():
    print("started", flush=True)
    pause_flow_run(str)

@flow(retries=1, retry_delay_seconds=60)
def fails():
    print("started", flush=True)
    raise ZeroDivisionError

@flow
async def blocks(seconds):
    print("started", flush=True)
    time.sleep(seconds)
    await asyncio.sleep(0)
    return "done"

@flow
async def outer():
    works()
"""

LEASE = 1.0


@pytest.fixture(autouse=True)
def lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", str(LEASE))


def killed(call: str, *states: str) -> Any:
    """A run whose process was killed when the run was in one of these states."""
    with programs.running(f"{FLOWS}\n{call}") as process:
        run = seen_sync(call.partition("(")[0], *states)
        process.kill()
        process.wait()
    return run


def test_the_runs_of_a_process_that_was_killed_have_crashed_for_whoever_looks() -> None:
    program = f"""{FLOWS}
from threading import Thread
for each in (works, asks, fails, lambda: asyncio.run(outer())):
    Thread(target=each).start()
"""
    states = {"works": "RUNNING", "outer": "RUNNING", "asks": "PAUSED", "fails": "SCHEDULED"}
    with programs.running(program) as process:
        runs = [seen_sync(name, state) for name, state in states.items()]
        process.kill()
        process.wait()
    for run in runs:
        crashed = eventually(lambda run=run: (now := state_of_sync(run)).is_final() and now, "the crash")  # type: ignore[misc]
        assert (crashed.type.value, crashed.message) == ("CRASHED", "Its process was not heard of for 1 s.")


def test_who_waits_for_it_sees_it_crash() -> None:
    ended: Any = wait_for_flow_run(killed("works()", "RUNNING").id, poll_interval=0.2)
    assert ended.state.is_crashed()


def test_what_has_crashed_is_listed_so_and_can_neither_be_resumed_nor_cancelled() -> None:
    run = killed("asks()", "PAUSED")
    assert seen_sync("asks", "CRASHED").id == run.id
    with pytest.raises(NotPausedError, match="Crashed"):
        resume_flow_run(run.id, {"value": "a"})
    with pytest.raises(IllegalTransition, match="Crashed"):
        cancel_flow_run(run.id)


def test_who_resumes_it_before_anybody_noticed_has_it_crash_later() -> None:
    run = killed("asks()", "PAUSED")
    resume_flow_run(run.id, {"value": "a"})
    assert state_of_sync(run).is_running()
    assert eventually(lambda: state_of_sync(run).is_crashed(), "the crash")


def test_a_run_that_was_cancelled_when_its_process_was_dead_is_cancelled() -> None:
    run = killed("works()", "RUNNING")
    assert cancel_flow_run(run.id).is_cancelling()  # type: ignore[attr-defined]
    assert eventually(lambda: state_of_sync(run).is_cancelled(), "the end")


# --- who lives -----------------------------------------------------------------------------------------------


def looked_at(run: Any, process: Popen[str]) -> Iterator[str]:
    """The types of a run's state while its process lives, as somebody sees them who looks all the time."""
    while process.poll() is None:
        yield state_of_sync(run).type.value
        time.sleep(0.02)


def test_a_flow_that_blocks_its_event_loop_for_longer_than_the_lease_is_alive() -> None:
    program = f"{FLOWS}\nprint(asyncio.run(blocks({LEASE * 2})))"
    with programs.running(program) as process:
        run = seen_sync("blocks", "RUNNING")
        assert set(looked_at(run, process)) <= {"RUNNING", "COMPLETED"}
        assert process.communicate(timeout=20) == ("started\ndone\n", "")
    assert state_of_sync(run).is_completed()


async def test_a_run_that_is_paused_for_longer_than_the_lease_is_alive() -> None:
    from flowchan import pause_flow_run  # noqa: PLC0415

    @flow
    async def asks() -> Any:
        return await pause_flow_run(int)

    async with started(asks) as call:
        run = await seen("asks", "PAUSED")
        end = time.monotonic() + LEASE * 2
        while time.monotonic() < end:
            known = await get_client().read_flow_run(run.id)
            assert known.state == run.state
            await asyncio.sleep(0.02)
        await resume_flow_run(run.id, {"value": 42})
        assert await call == 42


def test_a_process_that_stood_still_for_too_long_ends_its_run() -> None:
    with programs.running(f"{FLOWS}\nworks()") as process:
        run = seen_sync("works", "RUNNING")
        process.send_signal(signal.SIGSTOP)
        assert eventually(lambda: state_of_sync(run).is_crashed(), "the crash")
        process.send_signal(signal.SIGCONT)
        said, errors = process.communicate(timeout=20)
        assert process.returncode
        assert said == "started\n"
        assert "AbandonRun" in errors
    assert state_of_sync(run).is_crashed()


def away(server: Server) -> Callable[[], None]:
    """It is killed; what it returns has it started again."""
    server.kill()
    return server.start


def held_up(server: Server) -> Callable[[], None]:
    """It answers nothing; what it returns has it go on, and nobody can see by it that anything was."""
    server.pause()
    return server.resume


@pytest.mark.parametrize("go", [away, held_up])
@pytest.mark.parametrize("looker", ["one who comes", "one who was there"])
def test_a_server_that_was_away_for_longer_than_the_lease_leaves_everybody_time_to_be_heard_of(
    server: Server, monkeypatch: pytest.MonkeyPatch, go: Callable[[Server], Callable[[], Any]], looker: str
) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "2")
    with programs.running(f"{FLOWS}\nasks()") as process:
        run = seen_sync("asks", "PAUSED")
        until = time.monotonic() + 2.5  # the server is up for longer than a lease, and who looks all the time knows
        while time.monotonic() < until:
            assert seen_sync("asks", "PAUSED").state == run.state
        if looker == "one who comes":
            end_of_bridge()
        process.send_signal(signal.SIGSTOP)  # it is not the first to be back
        back = go(server)
        time.sleep(2.1)
        back()
        assert seen_sync("asks", "PAUSED", "CRASHED").state == run.state
        process.send_signal(signal.SIGCONT)
        resume_flow_run(run.id, {"value": "a"})
        process.communicate(timeout=20)
        assert process.returncode == 0
    assert state_of_sync(run).is_completed()


def test_who_looked_all_the_time_does_not_doubt_that_a_process_is_dead(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "3")
    with programs.running(f"{FLOWS}\nworks()") as process:
        run = seen_sync("works", "RUNNING")
        until = time.monotonic() + 3.5
        while time.monotonic() < until:
            assert seen_sync("works", "RUNNING").id == run.id
        process.kill()
        process.wait()
    while seen_sync("works", "RUNNING", "CRASHED").state == run.state:
        assert client.hget(keys.record(namespace, keys.run_id(run.id)), "doubted") is None


def test_who_comes_later_doubts_it_first(client: redis.Redis, namespace: str) -> None:
    run = killed("works()", "RUNNING")
    end_of_bridge()
    assert eventually(
        lambda: client.zcount(
            keys.due(namespace, keys.partition_tag(keys.run_id(run.id))), "-inf", int(time.time() * 1000)
        ),
        "its time",
    )

    assert state_of_sync(run) == run.state

    assert client.hexists(keys.record(namespace, keys.run_id(run.id)), "doubted")
    assert eventually(lambda: state_of_sync(run).is_crashed(), "the crash")
    assert not client.hexists(keys.record(namespace, keys.run_id(run.id)), "doubted")
