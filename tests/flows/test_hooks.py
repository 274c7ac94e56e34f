"""Functions of the user's that are called when a run gets a state."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from flowchan import flow, send_input
from flowchan.context import get_run_context
from flowchan.flow_runs import cancel_flow_run
from flowchan.states import Cancelled, Completed, Crashed, Failed
from tests.support.runs import state_of_sync
from tests.support.streams import Streams

pytestmark = pytest.mark.anyio

KINDS = ("running", "completion", "failure", "cancellation", "crashed")


class Calls:
    """Hooks of each kind that note what they are called with."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []

    def hooks(self) -> dict[str, Any]:
        return {f"on_{kind}": [self._hook(kind)] for kind in KINDS}

    def _hook(self, kind: str) -> Any:
        def hook(flow: Any, run: Any, state: Any) -> None:
            assert run.flow_name == flow.name
            self.made.append((kind, state.type.value))

        return hook


@pytest.mark.parametrize(
    "end, called",
    [
        (Completed(), ("completion", "COMPLETED")),
        (Failed(), ("failure", "FAILED")),
        (Cancelled(), ("cancellation", "CANCELLED")),
        (Crashed(), ("crashed", "CRASHED")),
    ],
    ids=lambda it: it.name if hasattr(it, "name") else "",
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_the_hook_of_its_end_is_called_and_no_other(end: Any, called: Any, is_async: bool) -> None:
    calls = Calls()

    async def ends_async() -> Any:
        return end

    if is_async:
        await flow(**calls.hooks())(ends_async)(return_state=True)  # type: ignore[call-arg]
    else:
        flow(**calls.hooks())(lambda: end)(return_state=True)  # type: ignore[call-arg]

    assert calls.made == [("running", "RUNNING"), called]


def test_a_flow_that_raises_has_its_hook_of_failure_called() -> None:
    calls = Calls()

    @flow(**calls.hooks())
    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert calls.made[1:] == [("failure", "FAILED")]


def test_a_flow_that_was_cancelled_has_its_hook_of_cancellation_called() -> None:
    calls = Calls()

    @flow(**calls.hooks())
    def cancels() -> None:
        cancel_flow_run(get_run_context().flow_run.id)
        while True:
            time.sleep(0.001)

    cancels(return_state=True)  # type: ignore[call-arg]
    assert calls.made[1:] == [("cancellation", "CANCELLED")]


def test_a_flow_that_was_interrupted_has_its_hook_of_crashes_called() -> None:
    calls = Calls()

    @flow(**calls.hooks())
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert calls.made[1:] == [("crashed", "CRASHED")]


def test_hooks_are_called_in_their_order() -> None:
    order: list[int] = []

    @flow(on_completion=[lambda *_: order.append(1), lambda *_: order.append(2)])
    def ends() -> None: ...

    ends()
    assert order == [1, 2]


def test_a_retried_run_ends_once_and_began_once() -> None:
    calls = Calls()

    @flow(retries=2, **calls.hooks())
    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert [kind for kind, _ in calls.made] == ["running", "failure"]


def test_the_broker_knows_of_a_state_before_its_hook_is_called() -> None:
    seen: list[str] = []

    def look(_: Any, run: Any, __: Any) -> None:
        seen.append(state_of_sync(run).type.value)

    @flow(on_running=[look], on_completion=[look])
    def ends() -> None: ...

    ends()
    assert seen == ["RUNNING", "COMPLETED"]


def test_a_hook_is_within_the_run(streams: Streams) -> None:
    @flow(on_completion=[lambda *_: send_input("last words", get_run_context().run, key_prefix="a")])
    def ends() -> str:
        return get_run_context().run

    assert streams.values(ends(), "a") == ["last words"]


# --- async ---------------------------------------------------------------------------------------------------


async def test_an_async_hook_of_an_async_flow_is_awaited() -> None:
    called: list[str] = []

    async def hook(*_: Any) -> None:
        await asyncio.sleep(0)
        called.append(get_run_context().run)

    @flow(on_completion=[hook])
    async def ends() -> str:
        return get_run_context().run

    assert [await ends()] == called


def test_an_async_hook_of_a_sync_flow_is_awaited_within_the_run(streams: Streams) -> None:
    called: list[str] = []

    async def hook(*_: Any) -> None:
        await asyncio.sleep(0)
        called.append(get_run_context().run)
        send_input("not awaited", get_run_context().run, key_prefix="a")

    @flow(on_completion=[hook])
    def ends() -> str:
        return get_run_context().run

    run = ends()
    assert called == [run]
    assert streams.values(run, "a") == ["not awaited"]


async def test_so_it_is_where_a_loop_runs_already() -> None:
    called: list[str] = []

    async def hook(*_: Any) -> None:
        await asyncio.sleep(0)
        called.append(get_run_context().run)

    @flow(on_completion=[hook])
    def ends() -> str:
        return get_run_context().run

    assert [ends()] == called


# --- that fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["on_running", "on_completion"])
def test_a_hook_that_fails_is_logged_and_changes_nothing(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    called: list[int] = []

    def breaks(*_: Any) -> None:
        raise ZeroDivisionError("in a hook")

    options: Any = {kind: [breaks, lambda *_: called.append(1)]}
    assert flow(name="ends", **options)(lambda: 42)() == 42
    assert called == [1]
    (record,) = caplog.records
    assert record.getMessage() == "A hook of flow 'ends' failed: breaks."
    assert "in a hook" in caplog.text


async def test_an_async_hook_that_fails_is_logged_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(*_: Any) -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    @flow(on_completion=[breaks])
    async def ends() -> int:
        return 42

    assert await ends() == 42
    assert "breaks" in caplog.text


async def test_a_run_whose_first_hook_is_cancelled_has_crashed() -> None:
    runs: list[Any] = []
    started = asyncio.Event()

    async def waits(_: Any, run: Any, __: Any) -> None:
        runs.append(run)
        started.set()
        await asyncio.Event().wait()

    @flow(on_running=[waits])
    async def never() -> None: ...

    task = asyncio.ensure_future(never())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await asyncio.to_thread(state_of_sync, runs[0])).is_crashed()


def test_a_run_whose_first_hook_is_interrupted_has_crashed() -> None:
    runs: list[Any] = []

    def interrupted(_: Any, run: Any, __: Any) -> None:
        runs.append(run)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow(on_running=[interrupted])(lambda: 42)()
    assert state_of_sync(runs[0]).is_crashed()
