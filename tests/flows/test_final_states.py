"""How a flow ends, and what its caller and everybody else get to know of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from flowchan import flow, get_client, states
from flowchan.context import get_run_context
from flowchan.errors import RunCancelled, RunCrashed, RunFailed
from flowchan.flow_runs import cancel_flow_run
from flowchan.runs.keeper import keeper_of_this_process
from flowchan.settings import current_settings
from flowchan.states import Cancelled, Completed, Crashed, Failed, State
from tests.support.runs import state_of, state_of_sync

pytestmark = pytest.mark.anyio


@flow
def returns(value: Any) -> Any:
    return value


@flow
async def returns_async(value: Any) -> Any:
    return value


@flow
def raises(error: BaseException) -> None:
    raise error


@flow
async def raises_async(error: BaseException) -> None:
    raise error


def state(flow: Any, *args: Any) -> State:
    made: State = flow(*args, return_state=True)
    return made


# --- asked for its state --------------------------------------------------------------------------------------


def test_a_flow_can_be_asked_for_its_state_instead_of_its_result() -> None:
    end = state(returns, 42)

    assert end.is_completed()
    assert end.result() == 42
    assert repr(end) == "Completed(type=COMPLETED, result=42)"


async def test_an_async_flow_can_be_asked_for_its_state() -> None:
    called: Any = returns_async
    end = await called(42, return_state=True)

    assert end.is_completed()
    assert await end.result() == 42


def test_the_state_of_a_failure_has_the_exception() -> None:
    error = ZeroDivisionError("why")
    end = state(raises, error)

    assert end.is_failed()
    assert end.message == "Flow run encountered an exception: ZeroDivisionError: why"
    assert end.result(raise_on_failure=False) is error
    with pytest.raises(ZeroDivisionError) as caught:
        end.result()
    assert caught.value is error


async def test_the_state_of_an_async_failure_has_the_exception() -> None:
    called: Any = raises_async
    end = await called(ZeroDivisionError("why"), return_state=True)

    assert end.is_failed()
    with pytest.raises(ZeroDivisionError, match="why"):
        await end.result()


def test_a_flow_that_cancels_its_own_run_is_cancelled() -> None:
    @flow
    def cancels() -> None:
        cancel_flow_run(get_run_context().flow_run.id)
        while True:
            pass

    end = state(cancels)
    assert end.is_cancelled()
    with pytest.raises(RunCancelled):
        end.result()


# --- a flow that returns a state ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, error", [(Failed, RunFailed), (Crashed, RunCrashed), (Cancelled, RunCancelled)], ids=lambda it: it.__name__
)
def test_a_flow_may_say_itself_how_it_ended(kind: Callable[..., State], error: type[Exception]) -> None:
    end = state(returns, kind(name="Special", message="my message"))

    assert (end.type, end.name, end.message) == (kind().type, "Special", "my message")
    with pytest.raises(error, match="my message"):
        returns(kind(message="my message"))


def test_a_state_that_a_flow_returns_is_its_runs_state() -> None:
    @flow
    def ends(kind: str) -> Any:
        runs.append(get_run_context().flow_run)
        return getattr(states, kind)(message="so it says")

    runs: list[Any] = []
    for kind in ("Completed", "Failed", "Cancelled", "Crashed"):
        state(ends, kind)
        known = state_of_sync(runs[-1])
        assert (known.type.value.title(), known.message) == (kind, "so it says")


def test_the_data_of_a_state_that_a_flow_returns_is_its_result() -> None:
    assert returns(Completed(data=42)) == 42


def test_a_state_that_is_no_end_is_a_result_like_any_other() -> None:
    running = states.Running()
    end = state(returns, running)

    assert end.is_completed()
    assert end.result() is running


def test_a_flow_may_pass_on_how_its_subflow_ended() -> None:
    @flow
    def outer() -> Any:
        return state(raises, ZeroDivisionError("inner"))

    end = state(outer)
    assert end.is_failed()
    with pytest.raises(ZeroDivisionError, match="inner"):
        outer()


# --- what others know of it -----------------------------------------------------------------------------------


def test_a_result_is_kept_with_its_run_if_it_can_be() -> None:
    @flow
    def gives(*, kept: bool) -> Any:
        runs.append(get_run_context().flow_run.id)
        return {"a": (1, b"x")} if kept else object()

    runs: list[Any] = []
    gives(kept=True)
    gives(kept=False)
    assert [state_of_sync(run).result() for run in runs] == [{"a": (1, b"x")}, None]


async def test_the_exception_of_a_run_elsewhere_is_known_by_its_text() -> None:
    with pytest.raises(ZeroDivisionError):
        await raises_async(ZeroDivisionError("why"))
    (run,) = await get_client().read_flow_runs()
    known = await state_of(run)

    with pytest.raises(RunFailed, match="ZeroDivisionError: why"):
        await known.result()


def test_the_broker_knows_of_the_end_before_the_call_returns() -> None:
    @flow
    def tells() -> Any:
        run = get_run_context().flow_run
        return run.id, state_of_sync(run).type.value

    run, within = tells()
    assert (within, state_of_sync(run).type.value) == ("RUNNING", "COMPLETED")


# --- what is logged -------------------------------------------------------------------------------------------


def test_an_exception_is_logged_once_with_where_it_came_from(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError):
        raises(ZeroDivisionError("why"))

    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.levelname == "ERROR"
    assert record.getMessage() == "Encountered an exception:"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    assert record.flow_name == "raises"  # type: ignore[attr-defined]


def test_a_flow_that_ends_well_has_nothing_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="flowchan"):
        returns(1)

    assert [record for record in caplog.records if record.name != "flowchan.engine"] == []


async def test_a_caught_exception_of_a_subflow_leaves_the_outer_one_well() -> None:
    @flow
    async def outer() -> str:
        try:
            await raises_async(ZeroDivisionError())
        except ZeroDivisionError:
            return "well"
        return "never"

    assert await outer() == "well"


# --- ended from outside ---------------------------------------------------------------------------------------


async def test_a_flow_whose_task_is_cancelled_has_crashed_and_the_task_is_cancelled() -> None:
    started = asyncio.Event()
    runs: list[Any] = []

    @flow
    async def waits() -> None:
        runs.append(get_run_context().flow_run)
        started.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(waits())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    known = await state_of(runs[0])
    assert known.is_crashed()
    assert "CancelledError" in (known.message or "")


async def test_a_flow_within_a_timeout_of_the_caller_has_crashed() -> None:
    runs: list[Any] = []

    @flow
    async def waits() -> None:
        runs.append(get_run_context().flow_run)
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await waits()
    assert (await state_of(runs[0])).is_crashed()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=lambda e: type(e).__name__)
def test_what_is_no_exception_passes_through(error: BaseException) -> None:
    with pytest.raises(type(error)):
        raises.with_options(validate_parameters=False)(error)


def test_a_flow_that_exits_has_crashed() -> None:
    with pytest.raises(SystemExit):
        raises.with_options(validate_parameters=False)(SystemExit(3))
    client: Any = get_client()
    (run,) = client.read_flow_runs()
    assert run.state.is_crashed()


async def test_a_flow_that_is_closed_before_its_end_is_kept_alive_no_more() -> None:
    started = asyncio.Event()

    @flow
    async def waits() -> None:
        started.set()
        await asyncio.Event().wait()

    coroutine: Any = waits()
    task = asyncio.ensure_future(coroutine)
    await started.wait()
    assert len(keeper_of_this_process(current_settings())._runs) == 1
    coroutine.close()  # as a loop does that is closed without notice
    task.cancel()
    with pytest.raises((asyncio.CancelledError, RuntimeError)):
        await task

    assert keeper_of_this_process(current_settings())._runs == {}


def test_a_flow_that_was_never_awaited_is_no_run() -> None:
    @flow
    async def waits() -> None: ...

    coroutine: Any = waits()
    coroutine.close()
    client: Any = get_client()
    assert client.read_flow_runs() == []
