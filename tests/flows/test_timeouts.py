"""A flow whose time is over: it is stopped, and has failed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

import pytest

from flowchan import flow, receive_input
from flowchan.states import State
from flowchan.stops import StopRun
from tests.support.runs import seen_sync

pytestmark = pytest.mark.anyio

FOR_LONG = 30


def timed_out(state: State) -> bool:
    return (state.type.value, state.name, type(state.data)) == ("FAILED", "TimedOut", TimeoutError)


async def test_an_async_flow_is_stopped_where_it_awaits() -> None:
    @flow(timeout_seconds=0.1)
    async def sleeps() -> None:
        await asyncio.sleep(FOR_LONG)

    assert timed_out(await sleeps(return_state=True))  # type: ignore[call-arg]


async def test_what_it_raises_says_how_long_it_had() -> None:
    @flow(timeout_seconds=0.1)
    async def sleeps() -> None:
        await asyncio.sleep(FOR_LONG)

    with pytest.raises(TimeoutError, match=r"exceeded timeout of 0\.1 second"):
        await sleeps()


async def test_the_task_of_a_flow_that_was_stopped_goes_on() -> None:
    @flow(timeout_seconds=0.1)
    async def sleeps() -> None:
        await asyncio.sleep(FOR_LONG)

    with pytest.raises(TimeoutError):
        await sleeps()
    task: Any = asyncio.current_task()
    assert task.cancelling() == 0
    await asyncio.sleep(0)


def test_a_sync_flow_in_the_main_thread_is_stopped_in_a_blocking_call() -> None:
    @flow(timeout_seconds=0.1)
    def sleeps() -> None:
        time.sleep(FOR_LONG)

    assert timed_out(sleeps(return_state=True))  # type: ignore[call-arg]


def test_a_sync_flow_in_the_main_thread_is_stopped_where_it_waits_for_the_broker() -> None:
    @flow(timeout_seconds=0.1)
    def waits() -> None:
        receive_input(str, timeout=FOR_LONG).next()

    assert timed_out(waits(return_state=True))  # type: ignore[call-arg]


async def test_a_sync_flow_in_another_thread_is_stopped_between_two_lines() -> None:
    @flow(timeout_seconds=0.1)
    def counts() -> None:
        while True:
            time.sleep(0.001)

    assert timed_out(await asyncio.to_thread(counts, return_state=True))


async def test_a_sync_flow_in_another_thread_is_stopped_where_it_waits_for_the_broker() -> None:
    @flow(timeout_seconds=0.1)
    def waits() -> None:
        receive_input(str, timeout=FOR_LONG).next()

    assert timed_out(await asyncio.to_thread(waits, return_state=True))


async def test_a_sync_flow_on_a_running_loop_is_stopped() -> None:
    @flow(timeout_seconds=0.1)
    def sleeps() -> None:
        time.sleep(FOR_LONG)

    assert timed_out(sleeps(return_state=True))  # type: ignore[call-arg]


def test_a_flow_that_is_done_in_time_is_not_stopped_later() -> None:
    @flow(timeout_seconds=0.05)
    def quick() -> str:
        return "done"

    over = threading.Event()
    threading.Timer(0.2, over.set).start()
    assert quick() == "done"
    assert over.wait(20)


async def test_a_flow_that_turns_its_end_into_another_error_has_failed_with_that() -> None:
    @flow(timeout_seconds=0.1)
    async def sleeps() -> None:
        try:
            await asyncio.sleep(FOR_LONG)
        except asyncio.CancelledError:
            raise ZeroDivisionError from None

    with pytest.raises(ZeroDivisionError):
        await sleeps()


def test_what_catches_every_exception_does_not_catch_the_end() -> None:
    @flow(timeout_seconds=0.1)
    def stubborn() -> None:
        while True:
            with contextlib.suppress(Exception):
                time.sleep(FOR_LONG)

    assert timed_out(stubborn(return_state=True))  # type: ignore[call-arg]
    assert not issubclass(StopRun, Exception)


def test_each_attempt_has_its_own_time() -> None:
    tries: list[int] = []

    @flow(timeout_seconds=0.1, retries=1)
    def sleeps() -> str:
        tries.append(1)
        if len(tries) == 1:
            time.sleep(FOR_LONG)
        return "done"

    assert sleeps() == "done"


@pytest.mark.parametrize("in_thread", [False, True], ids=["main thread", "other thread"])
async def test_the_time_of_a_run_ends_its_subflow_too(in_thread: bool) -> None:
    @flow
    def inner() -> None:
        while True:
            time.sleep(0.001)

    @flow(timeout_seconds=0.1)
    def outer() -> None:
        inner()

    state = await asyncio.to_thread(outer, return_state=True) if in_thread else outer(return_state=True)  # type: ignore[call-arg]
    assert timed_out(state)
    assert (await asyncio.to_thread(seen_sync, "inner", "CRASHED")).parent_id


async def test_the_time_of_a_subflow_is_its_own() -> None:
    @flow(timeout_seconds=0.1)
    async def inner() -> None:
        await asyncio.sleep(FOR_LONG)

    @flow(timeout_seconds=FOR_LONG)
    async def outer() -> str:
        try:
            await inner()
        except TimeoutError:
            return "went on"
        return "never"

    assert await outer() == "went on"
