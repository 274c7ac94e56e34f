"""Cancelling a run: whatever it does, it hears of it, and it stops."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from flowchan import flow, get_client, receive_input
from flowchan.broker.broker import broker_of_this_loop
from flowchan.context import FlowRun, new_run_id
from flowchan.errors import IllegalTransition, InvalidKeyError, NotPausedError, ObjectNotFound, RunCancelled
from flowchan.flow_runs import cancel_flow_run, pause_flow_run, resume_flow_run
from flowchan.runs import store
from flowchan.runs.store import Change
from flowchan.settings import current_settings
from flowchan.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Scheduled, State
from tests.support import programs
from tests.support.runs import seen, seen_sync, started, started_sync, state_of, state_of_sync

pytestmark = pytest.mark.anyio

FOR_LONG = 50


# --- paused --------------------------------------------------------------------------------------------------


async def test_a_paused_run_is_cancelled_at_once_and_its_flow_ends() -> None:
    @flow
    async def asks() -> None:
        await pause_flow_run(str)

    async with started(asks) as call:
        run = await seen("asks", "PAUSED")
        assert (await cancel_flow_run(run.id)).is_cancelled()
        assert (await state_of(run)).is_cancelled()
        with pytest.raises(RunCancelled):
            await call
    with pytest.raises(NotPausedError, match="Cancelled"):
        await resume_flow_run(run.id, {"value": "a"})


async def test_many_paused_runs_are_cancelled_and_each_says_so() -> None:
    # Who waits hears of it in two ways, by its states and by its keeper, and either may be first.
    @flow
    async def asks() -> None:
        await pause_flow_run(str)

    calls = [asyncio.ensure_future(asks(return_state=True)) for _ in range(50)]  # type: ignore[call-arg]
    waiting: list[FlowRun] = []
    while len(waiting) < 50:
        waiting = await get_client().read_flow_runs(state="PAUSED")
    await asyncio.gather(*(cancel_flow_run(run.id) for run in waiting))

    assert {state.type.value for state in await asyncio.gather(*calls)} == {"CANCELLED"}


def test_a_paused_sync_run_in_a_thread_ends_too() -> None:
    @flow
    def asks() -> None:
        pause_flow_run(str)

    with started_sync(asks) as end:
        cancel_flow_run(seen_sync("asks", "PAUSED").id)
        assert end.result(20).is_cancelled()


async def test_what_catches_every_exception_does_not_catch_it() -> None:
    @flow
    async def asks() -> str:
        try:
            await pause_flow_run(str)
        except Exception:  # noqa: BLE001
            return "caught"
        return "never"

    async with started(asks) as call:
        await cancel_flow_run((await seen("asks", "PAUSED")).id)
        with pytest.raises(RunCancelled):
            await call


# --- running -------------------------------------------------------------------------------------------------


async def test_an_async_run_is_cancelled_where_it_awaits() -> None:
    @flow
    async def works() -> None:
        await asyncio.sleep(FOR_LONG)

    async with started(works) as call:
        run = await seen("works", "RUNNING")
        assert (await cancel_flow_run(run.id)).is_cancelling()
        with pytest.raises(RunCancelled):
            await call
        assert not call.cancelled()
    names = [state.name for state in await get_client().read_flow_run_states(run.id)]
    assert names == ["Running", "Cancelling", "Cancelled"]


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda: time.sleep(FOR_LONG), id="sleeps"),
        pytest.param(lambda: receive_input(str, timeout=FOR_LONG).next(), id="receives"),
        pytest.param(lambda: [None for _ in iter(int, 1)], id="computes"),
    ],
)
def test_a_sync_run_in_the_main_thread_is_interrupted(work: Any) -> None:
    canceller = threading.Thread(target=lambda: cancel_flow_run(seen_sync("works", "RUNNING").id))
    canceller.start()
    state: Any = flow(name="works")(work)(return_state=True)  # type: ignore[call-arg]
    canceller.join(20)

    assert state.is_cancelled()


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda: [time.sleep(0.001) for _ in iter(int, 1)], id="works"),
        pytest.param(lambda: receive_input(str, timeout=FOR_LONG).next(), id="receives"),
        pytest.param(lambda: pause_flow_run(str), id="pauses"),
    ],
)
def test_a_sync_run_in_another_thread_is_interrupted(work: Any) -> None:
    with started_sync(flow(name="works")(work)) as end:
        cancel_flow_run(seen_sync("works", "RUNNING", "PAUSED").id)
        assert end.result(20).is_cancelled()
        assert state_of_sync(seen_sync("works", "CANCELLED")).is_cancelled()


def test_the_thread_of_a_run_that_was_interrupted_goes_on_unharmed() -> None:
    def call_many() -> list[str]:
        works: Any = flow(name="works")(lambda: receive_input(str, timeout=FOR_LONG).next())
        return [works(return_state=True).type.value for _ in range(20)]

    ends: list[list[str]] = []
    caller = threading.Thread(target=lambda: ends.append(call_many()))
    caller.start()
    cancelled: set[Any] = set()
    while len(cancelled) < 20:
        run = seen_sync("works", "RUNNING", "CANCELLING", "CANCELLED")
        if run.id not in cancelled:
            cancel_flow_run(run.id)
            cancelled.add(run.id)
    caller.join(20)
    assert ends == [["CANCELLED"] * 20]


async def test_an_async_run_that_blocks_its_loop_ends_when_it_comes_back() -> None:
    @flow
    async def blocks() -> str:
        canceller.start()
        canceller.join(20)
        await asyncio.sleep(FOR_LONG)
        return "never"

    canceller = threading.Thread(target=lambda: cancel_flow_run(seen_sync("blocks", "RUNNING").id))
    state: Any = await blocks(return_state=True)  # type: ignore[call-arg]
    assert state.is_cancelled()


async def test_a_run_that_ends_well_in_spite_of_it_is_cancelled_all_the_same() -> None:
    @flow
    async def stubborn() -> str:
        try:
            await asyncio.sleep(FOR_LONG)
        except asyncio.CancelledError:
            return "done"
        return "never"

    async with started(stubborn, return_state=True) as call:
        await cancel_flow_run((await seen("stubborn", "RUNNING")).id)
        assert (await call).is_cancelled()


async def test_a_run_that_fails_because_of_it_has_failed() -> None:
    @flow
    async def fragile() -> None:
        try:
            await asyncio.sleep(FOR_LONG)
        finally:
            raise ZeroDivisionError

    async with started(fragile, return_state=True) as call:
        await cancel_flow_run((await seen("fragile", "RUNNING")).id)
        assert (await call).is_failed()


async def test_a_flow_may_tidy_up_before_it_ends() -> None:
    tidied: list[str] = []

    @flow
    async def works() -> None:
        try:
            await asyncio.sleep(FOR_LONG)
        finally:
            await asyncio.sleep(0.01)
            tidied.append("up")

    async with started(works, return_state=True) as call:
        await cancel_flow_run((await seen("works", "RUNNING")).id)
        assert (await call).is_cancelled()
    assert tidied == ["up"]


@pytest.mark.parametrize("in_thread", [False, True], ids=["async", "sync in a thread"])
async def test_a_run_that_waits_for_its_subflow_is_cancelled(in_thread: bool) -> None:
    @flow
    async def inner_async() -> None:
        await asyncio.sleep(FOR_LONG)

    @flow
    def inner_sync() -> None:
        while True:
            time.sleep(0.001)

    @flow
    async def outer() -> None:
        await inner_async()

    @flow(name="outer")
    def outer_sync() -> None:
        inner_sync()

    task: Any = asyncio.to_thread(outer_sync, return_state=True) if in_thread else outer(return_state=True)  # type: ignore[call-arg]
    call = asyncio.ensure_future(task)
    await seen("inner-sync" if in_thread else "inner-async", "RUNNING")
    await cancel_flow_run((await seen("outer", "RUNNING")).id)

    assert (await call).is_cancelled()
    assert await seen("inner-sync" if in_thread else "inner-async", "CRASHED")


async def test_a_subflow_is_cancelled_by_itself() -> None:
    @flow
    async def inner() -> None:
        await asyncio.sleep(FOR_LONG)

    @flow
    async def outer() -> str:
        try:
            await inner()
        except RunCancelled:
            return "went on"
        return "never"

    async with started(outer) as call:
        await cancel_flow_run((await seen("inner", "RUNNING")).id)
        assert await call == "went on"


def test_a_run_of_another_process_is_cancelled() -> None:
    program = """
        import time
        from flowchan import flow

        @flow
        def works():
            print("started", flush=True)
            time.sleep(60)

        print(works(return_state=True).type.value)
    """
    with programs.running(program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        cancel_flow_run(seen_sync("works", "RUNNING").id)
        said, errors = process.communicate(timeout=20)
        assert (process.returncode, said, errors) == (0, "CANCELLED\n", "")


# --- what does not run ---------------------------------------------------------------------------------------


async def made(state: State) -> FlowRun:
    run = FlowRun(new_run_id(), "a-run")
    await store.begin(broker_of_this_loop(current_settings()), run, Change(state), None)
    return run


async def test_a_run_that_waits_for_a_server_is_cancelled_at_once() -> None:
    run = await made(Scheduled())

    assert (await cancel_flow_run(run.id)).is_cancelled()
    assert (await state_of(run)).is_cancelled()


async def test_a_run_that_is_about_to_start_is_told() -> None:
    run = await made(Pending())

    assert (await cancel_flow_run(run.id)).is_cancelling()


async def test_a_run_that_was_told_already_is_told_no_more() -> None:
    state = Cancelling()
    run = await made(state)

    assert await cancel_flow_run(run.id) == state
    assert len(await get_client().read_flow_run_states(run.id)) == 1


@pytest.mark.parametrize("kind", [Completed, Failed, Cancelled, Crashed], ids=lambda it: it.__name__)
async def test_a_run_that_has_ended_cannot_be_cancelled(kind: Any) -> None:
    run = await made(kind())

    with pytest.raises(IllegalTransition, match=f"cannot be cancelled: it is '{kind.__name__}'") as refused:
        await cancel_flow_run(run.id)
    assert refused.value.now.type.value == kind.__name__.upper()


@pytest.mark.parametrize("run", ["nobody", new_run_id()], ids=["a name", "a UUID"])
async def test_a_run_that_there_is_not_is_not_found(run: Any) -> None:
    with pytest.raises(ObjectNotFound):
        await cancel_flow_run(run)


@pytest.mark.parametrize("run", ["a b", None])
async def test_what_can_be_no_run_is_refused(run: Any) -> None:
    with pytest.raises(InvalidKeyError):
        await cancel_flow_run(run)


async def test_of_many_who_cancel_and_resume_a_run_each_is_told_what_is_so() -> None:
    @flow
    async def asks() -> Any:
        return await pause_flow_run(int)

    async with started(asks, return_state=True) as call:
        run = await seen("asks", "PAUSED")
        resumed, cancelled = await asyncio.gather(
            resume_flow_run(run.id, {"value": 1}), cancel_flow_run(run.id), return_exceptions=True
        )
        end = await call
    if isinstance(resumed, NotPausedError):
        assert isinstance(cancelled, State)
        assert end.is_cancelled()
    else:
        assert resumed is None
        assert end.is_completed() or end.is_cancelled()
