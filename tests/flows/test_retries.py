"""A flow that failed and is tried again."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from typing import Any

import pytest

from flowchan import flow, get_client
from flowchan.context import get_run_context
from flowchan.errors import RunCancelled
from flowchan.flow_runs import cancel_flow_run
from flowchan.states import Failed, State
from tests.support.runs import seen, seen_sync, state_of

pytestmark = pytest.mark.anyio

FOR_LONG = 30


class Fails:
    """Fails so many times, then not."""

    def __init__(self, times: int) -> None:
        self.calls = 0
        self._times = times

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._times:
            raise ZeroDivisionError(self.calls)
        return self.calls


def names(run: Any) -> list[str]:
    """What the states of a run were called, oldest first."""
    client: Any = get_client()
    return [state.name for state in client.read_flow_run_states(run)]


def test_a_flow_is_called_again_until_it_does_not_fail() -> None:
    fails = Fails(2)

    assert flow(name="tried", retries=2)(fails)() == 3


def test_it_fails_with_the_last_exception_when_no_attempt_is_left() -> None:
    fails = Fails(9)

    with pytest.raises(ZeroDivisionError, match="3"):
        flow(name="tried", retries=2)(fails)()
    assert fails.calls == 3


async def test_an_async_flow_is_called_again() -> None:
    fails = Fails(1)

    @flow(retries=1, retry_delay_seconds=0.01)
    async def tried() -> int:
        return fails()

    assert await tried() == 2


def test_all_attempts_are_one_run() -> None:
    runs = set()
    fails = Fails(1)

    @flow(retries=1)
    def tried() -> str:
        run = get_run_context().flow_run
        runs.add(run.id)
        fails()
        return str(run.id)

    run = tried()
    assert len(runs) == 1
    assert names(run) == ["Running", "AwaitingRetry", "Retrying", "Completed"]
    client: Any = get_client()
    assert client.read_flow_run(run).run_count == 2


def test_a_run_that_waits_for_its_next_attempt_says_so() -> None:
    @flow(retries=1, retry_delay_seconds=FOR_LONG)
    def tried() -> None:
        raise ZeroDivisionError

    caller = threading.Thread(target=lambda: tried(return_state=True))  # type: ignore[call-arg]
    caller.start()
    run: Any = seen_sync("tried", "SCHEDULED")
    assert "Attempt 1 of 2 failed" in run.state.message
    cancel_flow_run(run.id)
    caller.join(20)


@pytest.mark.parametrize("how", ["async", "main thread", "other thread"])
async def test_a_run_that_is_cancelled_before_its_next_attempt_ends_at_once(how: str) -> None:
    fails = Fails(9)
    slow = flow(retries=1, retry_delay_seconds=FOR_LONG, name="tried")

    async def tried_async() -> None:
        fails()

    def cancels() -> None:
        cancel_flow_run(seen_sync("tried", "SCHEDULED").id)

    canceller = threading.Thread(target=cancels)
    canceller.start()
    state: Any
    if how == "async":
        state = await slow(tried_async)(return_state=True)  # type: ignore[call-arg]
    elif how == "other thread":
        state = await asyncio.to_thread(slow(fails), return_state=True)
    else:
        state = slow(fails)(return_state=True)  # type: ignore[call-arg]
    canceller.join(20)

    assert state.is_cancelled()
    assert fails.calls == 1
    with pytest.raises(RunCancelled):
        await state.result()


async def test_a_task_that_is_cancelled_before_the_next_attempt_ends_its_run() -> None:
    @flow(retries=1, retry_delay_seconds=FOR_LONG)
    async def tried() -> None:
        raise ZeroDivisionError

    task = asyncio.ensure_future(tried())
    run = await seen("tried", "SCHEDULED")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await state_of(run)).is_crashed()


def test_ctrl_c_before_the_next_attempt_ends_its_run() -> None:
    @flow(retries=1, retry_delay_seconds=FOR_LONG)
    def tried() -> None:
        raise ZeroDivisionError

    def interrupts() -> None:
        seen_sync("tried", "SCHEDULED")
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupts)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        tried()
    interrupter.join(20)
    assert seen_sync("tried", "CRASHED")


def test_a_flow_that_returns_a_failure_is_tried_again() -> None:
    states = [Failed(message="first"), "done"]

    @flow(retries=1)
    def tried() -> Any:
        return states.pop(0)

    assert tried() == "done"


def test_each_attempt_gets_the_parameters_as_they_were_passed() -> None:
    fails = Fails(1)

    @flow(retries=1)
    def tried(numbers: list[int]) -> list[int]:
        numbers.append(len(numbers))
        fails()
        return numbers

    called: Any = tried
    assert called(("7",)) == [7, 1]


def test_each_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        flow(name="tried", retries=1)(Fails(1))()

    said = [record.levelname for record in caplog.records if record.name == "flowchan.flow_runs"]
    assert said == ["ERROR", "INFO"]
    assert "tried again in 0 second(s)" in caplog.text


def test_a_run_that_crashed_is_not_tried_again() -> None:
    calls: list[int] = []

    @flow(retries=3)
    def interrupted() -> None:
        calls.append(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(calls) == 1


def test_a_delay_lasts_as_long_as_it_says() -> None:
    @flow(retries=1, retry_delay_seconds=0.2)
    def tried(fails: Fails) -> int:
        return fails()

    began = time.monotonic()
    assert tried(Fails(1)) == 2
    assert time.monotonic() - began >= 0.2


def test_a_state_that_is_asked_for_is_the_last_one() -> None:
    state: State = flow(name="tried", retries=1)(Fails(9))(return_state=True)  # type: ignore[call-arg,assignment]

    assert state.is_failed()
    assert isinstance(state.data, ZeroDivisionError)
