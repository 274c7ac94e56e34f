"""Runs as anybody sees them from outside: looked for again and again until they are as they should be."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import anyio

from flowchan import get_client
from flowchan.context import FlowRun
from flowchan.states import State
from tests.support.waiting import PATIENCE, eventually


async def seen(flow: str, *states: str, seconds: float = PATIENCE) -> FlowRun:
    """The newest run of a flow, once it is in one of these states."""
    deadline = time.monotonic() + seconds
    while True:
        for run in await get_client().read_flow_runs(flow=flow, limit=1):
            if run.state is not None and run.state.type.value in states:
                return run
        assert time.monotonic() < deadline, f"no run of {flow} was {' or '.join(states)} in time"
        await anyio.sleep(0.005)


def seen_sync(flow: str, *states: str, seconds: float = PATIENCE) -> FlowRun:
    """As ``seen``, for sync code."""
    client: Any = get_client()

    def look() -> FlowRun | None:
        for run in client.read_flow_runs(flow=flow, limit=1):
            if run.state.type.value in states:
                return run  # type: ignore[no-any-return]
        return None

    found = eventually(look, f"a run of {flow} that is {' or '.join(states)}", seconds)
    assert found is not None
    return found


async def state_of(run: Any) -> State:
    """The state that a run is in by now; ``run`` is a run or its ID."""
    known = await get_client().read_flow_run(getattr(run, "id", run))
    assert known.state is not None
    return known.state


def state_of_sync(run: Any) -> State:
    """As ``state_of``, for sync code."""
    client: Any = get_client()
    state: State = client.read_flow_run(getattr(run, "id", run)).state
    return state


@contextlib.asynccontextmanager
async def started(flow: Any, *args: Any, **kwargs: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """The call of an async flow, as a task that ends with the block at the latest."""
    task: asyncio.Task[Any] = asyncio.ensure_future(flow(*args, **kwargs))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        assert task.done(), "the flow does not end"


@contextlib.contextmanager
def started_sync(flow: Any, *args: Any, **kwargs: Any) -> Iterator[Future[State]]:
    """The call of a sync flow in a thread: the future has its final state."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(flow, *args, return_state=True, **kwargs)
