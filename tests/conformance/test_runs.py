"""Runs: they ask and are answered, end and are waited for, are served, and are found by whoever looks."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from flowchan import flow, get_client, pause_flow_run, resume_flow_run
from flowchan.blocks.system import JSON
from flowchan.deployments import run_deployment
from flowchan.errors import InvalidRunInput, NotPausedError, ObjectNotFound, RunCancelled
from flowchan.flow_runs import cancel_flow_run, wait_for_flow_run
from tests.cli.program import FLOWCHAN, Program, run
from tests.support.runs import seen, seen_sync, started, state_of

pytestmark = pytest.mark.anyio


class Shirt(BaseModel):
    size: Literal["small", "large"]


@flow
async def asks() -> Any:
    return (await pause_flow_run(wait_for_input=Shirt)).size


async def test_a_run_asks_and_what_does_not_fit_is_refused() -> None:
    async with started(asks) as call:
        known = await seen("asks", "PAUSED")
        with pytest.raises(InvalidRunInput, match="size"):
            await resume_flow_run(known.id, {"size": "huge"})
        await resume_flow_run(known.id, {"size": "large"})
        with pytest.raises(NotPausedError):
            await resume_flow_run(known.id, {"size": "small"})
        assert await call == "large"
    states = await get_client().read_flow_run_states(known.id)
    assert [state.type.value for state in states] == ["RUNNING", "PAUSED", "RUNNING", "COMPLETED"]


async def test_of_many_who_resume_a_run_one_does() -> None:
    async with started(asks) as call:
        known = await seen("asks", "PAUSED")
        answers = [resume_flow_run(known.id, {"size": size}) for size in ("small", "large") * 5]
        ends = await asyncio.gather(*answers, return_exceptions=True)
        assert await call in ("small", "large")
    assert [type(end) for end in ends].count(NotPausedError) == 9


async def test_a_run_is_cancelled_and_who_waits_for_it_hears_of_it() -> None:
    async with started(asks) as call:
        known = await seen("asks", "PAUSED")
        waiting = asyncio.ensure_future(wait_for_flow_run(known.id, poll_interval=60, timeout=20))
        await asyncio.sleep(0)
        await cancel_flow_run(known.id)
        ended = await waiting
        with pytest.raises(RunCancelled):
            await call
    assert ended.state is not None
    assert ended.state.is_cancelled()


async def test_runs_are_found_by_what_they_are_and_newest_first() -> None:
    @flow
    async def works(number: int) -> int:
        return 6 // number

    for number in (1, 0, 2):
        await works(number, return_state=True)  # type: ignore[call-arg]

    async def found(**options: Any) -> list[Any]:
        return [each.id for each in await client.read_flow_runs(**options)]

    client = get_client()
    newest = await client.read_flow_runs(flow="works")
    assert [each.state.type.value for each in newest if each.state] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert await found(state="FAILED") == [newest[1].id]
    assert await found(limit=1) == [newest[0].id]
    assert await (await state_of(newest[0])).result() == 3
    with pytest.raises(ObjectNotFound):
        await client.read_flow_run("nobody")


SERVED = """
from flowchan import flow, suspend_flow_run

@flow
def asks(add: int):
    return suspend_flow_run(wait_for_input=int) + add

if __name__ == "__main__":
    asks.serve("it")
"""


def test_a_deployment_executes_what_it_is_asked_for_and_goes_on_after_a_suspension(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(SERVED)
    server = Program("-W", "error", str(tmp_path / "served.py"))
    try:
        server.says("$ flowchan run")
        asked: Any = run_deployment("asks/it", {"add": 1}, timeout=0)
        assert seen_sync("asks", "SUSPENDED").id == asked.id
        resume_flow_run(asked.id, {"value": 41})  # type: ignore[unused-coroutine]
        ended: Any = wait_for_flow_run(asked.id, timeout=20)
        assert ended.state.result() == 42
    finally:
        server.close()


def test_blocks_are_kept() -> None:
    for name in ("one", "two", "three"):
        JSON(value={"name": name}).save(name)  # type: ignore[unused-coroutine]

    assert [JSON.load(name).value["name"] for name in ("one", "two", "three")] == ["one", "two", "three"]  # type: ignore[attr-defined]


def test_the_doctor_finds_nothing_that_is_missing() -> None:
    found = run(*FLOWCHAN, "doctor", "--json")
    checks = {check["check"]: check for check in map(json.loads, found.stdout.splitlines())}
    assert (checks["broker"]["mark"], checks["messages"]["mark"]) == ("ok", "ok"), checks
