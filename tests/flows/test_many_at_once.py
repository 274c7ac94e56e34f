"""Many runs at once, in tasks and in threads."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flowchan import flow, get_client
from flowchan.context import get_run_context

pytestmark = pytest.mark.anyio


async def test_two_hundred_async_flows_at_once_are_two_hundred_runs_that_end_each_as_it_should() -> None:
    @flow(flow_run_name="of-{number}")
    async def works(number: int) -> int:
        await asyncio.sleep(0)
        if number % 10 == 0:
            raise ZeroDivisionError(number)
        return number

    ends = await asyncio.gather(*map(works, range(200)), return_exceptions=True)

    assert [end if isinstance(end, int) else str(end) for end in ends] == [n if n % 10 else str(n) for n in range(200)]
    known = await get_client().read_flow_runs(limit=500)
    assert Counter(run.state.type.value for run in known if run.state) == {"COMPLETED": 180, "FAILED": 20}
    assert {run.name for run in known} == {f"of-{number}" for number in range(200)}


def test_twenty_threads_call_flows_each_for_itself() -> None:
    @flow
    def works(number: int) -> tuple[int, str]:
        return number, get_run_context().run

    with ThreadPoolExecutor(20) as pool:
        ends = list(pool.map(works, range(100)))

    assert [number for number, _ in ends] == list(range(100))
    client: Any = get_client()
    known = client.read_flow_runs()
    assert {str(run.id) for run in known} == {run for _, run in ends}
    assert all(run.state.is_completed() for run in known)
