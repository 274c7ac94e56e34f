"""Waiting for the end of a run."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from flowchan import flow
from flowchan.context import FlowRun
from flowchan.errors import InvalidKeyError, ObjectNotFound
from flowchan.flow_runs import pause_flow_run, resume_flow_run, wait_for_flow_run
from tests.support.runs import seen, seen_sync, started, started_sync

pytestmark = pytest.mark.anyio

FOR_LONG = 50


@flow
async def asks() -> Any:
    return await pause_flow_run(int)


async def paused() -> FlowRun:
    return await seen("asks", "PAUSED")


async def test_who_waits_sees_the_end_without_looking_for_it() -> None:
    async with started(asks) as call:
        run = await paused()
        # If it had to look, it would not in the time of this test.
        waiting = asyncio.ensure_future(wait_for_flow_run(run.id, poll_interval=FOR_LONG))
        await asyncio.sleep(0)
        await resume_flow_run(run.id, {"value": 42})
        ended = await waiting
        await call

    assert ended.id == run.id
    assert ended.state is not None
    assert ended.state.is_completed()
    assert await ended.state.result() == 42


async def test_many_wait_for_one_run() -> None:
    async with started(asks):
        run = await paused()
        waiting = [asyncio.ensure_future(wait_for_flow_run(run.id, poll_interval=FOR_LONG)) for _ in range(20)]
        await asyncio.sleep(0)
        await resume_flow_run(run.id, {"value": 42})
        assert {ended.id for ended in await asyncio.gather(*waiting)} == {run.id}


async def test_a_run_that_has_ended_is_not_waited_for() -> None:
    async with started(asks) as call:
        run = await paused()
        await resume_flow_run(run.id, {"value": 42})
        await call

    ended = await wait_for_flow_run(run.id, timeout=0)
    assert ended.state is not None
    assert ended.state.is_completed()


@pytest.mark.parametrize("timeout", [0, 0.1])
async def test_a_run_that_does_not_end_in_time_is_a_timeout_that_names_its_state(timeout: float) -> None:
    async with started(asks):
        run = await paused()
        with pytest.raises(TimeoutError, match=f"{run.id} has not ended in time: it is 'Paused'"):
            await wait_for_flow_run(run.id, timeout=timeout)


async def test_a_run_that_there_is_not_is_not_found() -> None:
    with pytest.raises(ObjectNotFound):
        await wait_for_flow_run("nobody")


async def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(InvalidKeyError):
        await wait_for_flow_run("a b")
    with pytest.raises(ValueError, match="timeout"):
        await wait_for_flow_run("a", timeout=-1)


async def test_the_states_are_logged_if_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="flowchan"):
        async with started(asks):
            run = await paused()
            waiting = asyncio.ensure_future(wait_for_flow_run(run.id, log_states=True))
            await asyncio.sleep(0)
            await resume_flow_run(run.id, {"value": 42})
            await waiting

    said = [record.getMessage() for record in caplog.records if record.name == "flowchan.runs.control"]
    states = ("Running()", "Paused()", "Running()", "Completed()")
    assert said == [f"Run {run.id} is {state}." for state in states]


async def test_who_waits_no_more_leaves_nothing_behind() -> None:
    async with started(asks):
        run = await paused()
        waiting = asyncio.ensure_future(wait_for_flow_run(run.id))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


def test_in_sync_code_it_blocks() -> None:
    @flow
    def asks() -> Any:
        return pause_flow_run(int)

    with started_sync(asks):
        run = seen_sync("asks", "PAUSED")
        with started_sync(flow(name="waits")(lambda: wait_for_flow_run(run.id))) as waits:
            resume_flow_run(run.id, {"value": 42})
            ended: Any = waits.result(20).result()
    assert ended.state.is_completed()
