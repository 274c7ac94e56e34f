"""Flows that call flows: each is a run of its own, of which the outer one is the parent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowchan import flow, get_client, open_run
from flowchan.context import get_run_context, tags

pytestmark = pytest.mark.anyio


@flow
def sync_one() -> str:
    return get_run_context().run


@flow
async def async_one() -> str:
    return get_run_context().run


@flow
def fails() -> None:
    raise ZeroDivisionError("inner")


@flow
async def fails_async() -> None:
    raise ZeroDivisionError("inner")


async def parents(*runs: str) -> set[str]:
    return {str((await get_client().read_flow_run(run)).parent_id) for run in runs}


async def test_a_flow_in_a_flow_has_it_as_its_parent_whatever_kind_they_are() -> None:
    @flow
    async def outer() -> list[str]:
        inner = [sync_one(), await async_one(), await asyncio.to_thread(sync_one)]
        return [get_run_context().run, *inner, *await asyncio.gather(async_one(), async_one())]

    mine, *inner = await outer()

    assert await parents(*inner) == {mine}
    assert await parents(mine) == {"None"}


def test_a_sync_flow_in_a_sync_flow_has_it_as_its_parent() -> None:
    @flow
    def outer() -> tuple[str, str]:
        return get_run_context().run, sync_one()

    mine, inner = outer()
    assert asyncio.run(parents(inner)) == {mine}


def test_an_async_flow_in_a_sync_flow_runs_on_a_loop_that_it_starts() -> None:
    @flow
    def outer() -> tuple[str, str]:
        return get_run_context().run, asyncio.run(async_one())  # type: ignore[arg-type]

    mine, inner = outer()
    assert asyncio.run(parents(inner)) == {mine}


def test_flows_nest_as_deep_as_they_like() -> None:
    @flow
    def nested(depth: int) -> list[str]:
        return [get_run_context().run, *(nested(depth - 1) if depth else [])]

    runs = nested(5)
    client: Any = get_client()
    assert [str(client.read_flow_run(run).parent_id) for run in runs] == ["None", *runs[:-1]]


def test_a_run_that_is_no_flows_is_no_parent() -> None:
    with open_run():
        run = sync_one()
    assert asyncio.run(parents(run)) == {"None"}


def test_an_exception_of_a_subflow_fails_both_unless_it_is_caught() -> None:
    @flow
    def outer(*, catches: bool) -> str:
        try:
            fails()
        except ZeroDivisionError:
            if not catches:
                raise
        return "went on"

    assert outer(catches=True) == "went on"
    with pytest.raises(ZeroDivisionError, match="inner"):
        outer(catches=False)
    client: Any = get_client()
    ends = [(run.flow_name, run.state.type.value) for run in client.read_flow_runs()]
    assert sorted(ends) == [("fails", "FAILED"), ("fails", "FAILED"), ("outer", "COMPLETED"), ("outer", "FAILED")]


async def test_an_exception_of_an_async_subflow_fails_both() -> None:
    @flow
    async def outer() -> None:
        await fails_async()

    with pytest.raises(ZeroDivisionError, match="inner"):
        await outer()
    assert {run.state.type.value for run in await get_client().read_flow_runs() if run.state} == {"FAILED"}


def test_tags_of_the_caller_are_a_subflows_too() -> None:
    @flow
    def outer() -> str:
        with tags("inner"):
            return sync_one()

    with tags("outer"):
        run = outer()
    client: Any = get_client()
    assert client.read_flow_run(run).tags == ("inner", "outer")


def test_an_outer_flow_that_is_tried_again_calls_new_subflows() -> None:
    inner: list[str] = []

    @flow(retries=1)
    def outer() -> None:
        inner.append(sync_one())
        if len(inner) == 1:
            raise ZeroDivisionError

    outer()
    assert len(set(inner)) == 2
