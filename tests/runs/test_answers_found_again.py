"""A flow that is executed again finds the answers that it has had, or asks again where it has none."""

from __future__ import annotations

import logging
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from flowchan import flow
from flowchan.context import FlowRun
from flowchan.flow_runs import pause_flow_run, resume_flow_run
from flowchan.states import State
from tests.support.runs import seen, started

pytestmark = pytest.mark.anyio


class Name(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def _no_robot(cls, value: str) -> str:
        if value == "marvin":
            raise ValueError("robots are not greeted")
        return value


class Once:
    """Fails the first time that it is called."""

    def __init__(self, times: int = 1) -> None:
        self._left = times

    def __call__(self) -> None:
        if self._left:
            self._left -= 1
            raise ZeroDivisionError


async def next_pause(after: FlowRun | None = None) -> FlowRun:
    """A pause that is another than that one."""
    last: State | None = after.state if after is not None else None
    while True:
        run = await seen("asks", "PAUSED")
        assert run.state is not None
        if last is None or run.state.id != last.id:
            return run


async def answer(call: Any, *values: Any) -> Any:
    """Answer each pause in its turn; what the flow returns. It asks as often as there are values, and no more."""
    run = None
    for value in values:
        run = await next_pause(run)
        await resume_flow_run(run.id, value)
    return await call


async def test_a_flow_that_is_tried_again_has_the_answers_that_it_had() -> None:
    fails = Once()

    @flow(retries=1)
    async def asks() -> Any:
        answers = [await pause_flow_run(int), await pause_flow_run(str)]
        fails()
        return answers

    async with started(asks) as call:
        assert await answer(call, {"value": 1}, {"value": "a"}) == [1, "a"]


async def test_it_asks_for_what_it_had_not_asked_for_yet() -> None:
    fails = Once()

    @flow(retries=1)
    async def asks() -> Any:
        first = await pause_flow_run(int)
        fails()
        return [first, await pause_flow_run(int)]

    async with started(asks) as call:
        assert await answer(call, {"value": 1}, {"value": 2}) == [1, 2]


async def test_a_pause_that_only_waited_has_been_waited_for() -> None:
    fails = Once(2)

    @flow(retries=2)
    async def asks() -> str:
        await pause_flow_run()
        fails()
        return "done"

    async with started(asks) as call:
        assert await answer(call, None) == "done"


async def test_an_answer_is_found_by_a_key_of_its_own_wherever_it_is_asked_for() -> None:
    fails = Once()
    order = [["a", "b"], ["b", "a"]]

    @flow(retries=1)
    async def asks() -> Any:
        answers = {key: await pause_flow_run(int, key=key) for key in order.pop(0)}
        fails()
        return answers

    async with started(asks) as call:
        assert await answer(call, {"value": 1}, {"value": 2}) == {"a": 1, "b": 2}


async def test_under_a_key_that_it_asks_again_it_has_the_last_answer_and_asks_again() -> None:
    fails = Once()

    @flow(retries=1)
    async def asks() -> Any:
        answers = [await pause_flow_run(int, key="mine") for _ in range(2)]
        fails()
        return answers

    async with started(asks) as call:
        assert await answer(call, {"value": 1}, {"value": 2}, {"value": 3}) == [2, 3]


async def test_a_flow_that_asked_until_the_answer_was_good_goes_the_same_way_again() -> None:
    fails = Once()
    errors: list[str] = []

    @flow(retries=1)
    async def asks() -> Any:
        while True:
            try:
                name = (await pause_flow_run(Name)).name
                break
            except ValidationError as error:
                errors.append(str(error))
        fails()
        return name

    async with started(asks) as call:
        assert await answer(call, {"name": "marvin"}, {"name": "andrew"}) == "andrew"
    assert len(errors) == 2


async def test_a_flow_that_failed_before_the_answer_came_asks_again() -> None:
    # The pause is there; the process that paused is not. What is left of the first attempt is no answer.
    attempts: list[int] = []

    @flow(retries=1)
    async def asks() -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            with pytest.raises(TypeError):
                await pause_flow_run(str, timeout="soon")  # type: ignore[call-overload]
            raise ZeroDivisionError
        return await pause_flow_run(str)

    async with started(asks) as call:
        assert await answer(call, {"value": "a"}) == "a"


# --- what is asked for changed between -----------------------------------------------------------------------


async def test_an_answer_that_fits_what_is_asked_for_by_now_is_taken() -> None:
    fails = Once()
    wanted: list[Any] = [int, int | str]

    @flow(retries=1)
    async def asks() -> Any:
        value = await pause_flow_run(wanted.pop(0))
        fails()
        return value

    async with started(asks) as call:
        assert await answer(call, {"value": 1}) == 1


async def test_an_answer_that_does_not_fit_any_more_is_asked_for_anew_and_that_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fails = Once()
    wanted: list[Any] = [Literal["small", "large"], Literal["s", "l"]]

    @flow(retries=1)
    async def asks() -> Any:
        value = await pause_flow_run(wanted.pop(0))
        fails()
        return value

    async with started(asks) as call:
        assert await answer(call, {"value": "small"}, {"value": "s"}) == "s"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["The answer that was stored for '1' does not fit any more."]


async def test_a_pause_that_asks_for_nothing_by_now_takes_any_answer() -> None:
    fails = Once()
    wanted: list[Any] = [int, None]

    @flow(retries=1)
    async def asks() -> Any:
        value = await pause_flow_run(wanted.pop(0))
        fails()
        return value

    async with started(asks) as call:
        assert await answer(call, {"value": 1}) is None


async def test_a_pause_that_asked_for_nothing_and_asks_now_is_asked_anew() -> None:
    fails = Once()
    wanted: list[Any] = [None, int]

    @flow(retries=1)
    async def asks() -> Any:
        value = await pause_flow_run(wanted.pop(0))
        fails()
        return value

    async with started(asks) as call:
        assert await answer(call, None, {"value": 1}) == 1
