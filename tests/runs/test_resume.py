"""Resuming a run: with what fits, by one, and in time."""

from __future__ import annotations

import logging
from typing import Any, Literal
from uuid import uuid4

import anyio
import pytest
import redis
from pydantic import BaseModel, Field

from flowchan import flow, get_client, send_input
from flowchan.context import FlowRun
from flowchan.errors import (
    FlowPauseTimeout,
    InvalidKeyError,
    InvalidRunInput,
    MessageTooLarge,
    NotPausedError,
    ObjectNotFound,
)
from flowchan.flow_runs import pause_flow_run, resume_flow_run
from flowchan.wire import keys
from tests.support.runs import seen, seen_sync, started, started_sync, state_of, state_of_sync

pytestmark = pytest.mark.anyio


class Address(BaseModel):
    city: str


class Order(BaseModel):
    size: Literal["small", "large"]
    count: int = Field(default=1, ge=1)
    to: Address | None = None
    extras: list[str] = []


GOOD = {"size": "large"}


@flow
async def asks() -> Any:
    return await pause_flow_run(Order)


async def paused() -> FlowRun:
    return await seen("asks", "PAUSED")


# --- what does not fit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, field, told",
    [
        ({"size": "tiny"}, "size", "small"),
        ({"size": 3}, "size", ""),
        ({}, "size", "required"),
        (None, "size", "required"),
        ({**GOOD, "count": "many"}, "count", "integer"),
        ({**GOOD, "count": "2"}, "count", "integer"),
        ({**GOOD, "count": 1.5}, "count", "integer"),
        ({**GOOD, "count": 0}, "count", "1"),
        ({**GOOD, "count": None}, "count", "integer"),
        ({**GOOD, "colour": "red"}, "colour", "unexpected"),
        ({**GOOD, "to": "Berlin"}, "to", ""),
        ({**GOOD, "extras": ["a", 3]}, "extras.1", "string"),
        ({**GOOD, "extras": "a"}, "extras", "array"),
    ],
    ids=repr,
)
async def test_what_does_not_fit_is_refused_with_the_field_and_the_reason_and_the_run_stays_paused(
    given: Any, field: str, told: str
) -> None:
    async with started(asks) as call:
        run = await paused()
        with pytest.raises(InvalidRunInput) as refused:
            await resume_flow_run(run.id, given)
        assert refused.value.field == field
        assert told in refused.value.reason
        assert str(run.id) in str(refused.value)
        assert refused.value.reason in str(refused.value)
        assert await state_of(run) == run.state

        await resume_flow_run(run.id, GOOD)
        assert (await call).size == "large"


async def test_a_refusal_does_not_tell_the_value() -> None:
    async with started(asks):
        run = await paused()
        with pytest.raises(InvalidRunInput) as refused:
            await resume_flow_run(run.id, {"size": "a secret"})
    assert "secret" not in str(refused.value)


async def test_a_run_that_waits_for_nothing_takes_nothing() -> None:
    @flow
    async def asks() -> None:
        await pause_flow_run()

    async with started(asks) as call:
        run = await paused()
        with pytest.raises(InvalidRunInput, match="waits for no input"):
            await resume_flow_run(run.id, {"value": 1})
        await resume_flow_run(run.id, {})
        assert await call is None


@pytest.mark.parametrize(
    "given", [{"size": object()}, {"size": float("nan")}, {"size": "\ud800"}], ids=["an object", "nan", "half a pair"]
)
async def test_what_json_has_no_form_for_is_refused(given: Any) -> None:
    async with started(asks):
        run = await paused()
        with pytest.raises(InvalidRunInput):
            await resume_flow_run(run.id, given)
        assert (await state_of(run)).is_paused()


@pytest.mark.parametrize("given", [[1], "large", 3, ("size", "large")], ids=repr)
async def test_what_is_no_dict_is_a_type_error(given: Any) -> None:
    async with started(asks):
        run = await paused()
        with pytest.raises(TypeError, match=type(given).__name__):
            await resume_flow_run(run.id, given)
        assert (await state_of(run)).is_paused()


async def test_what_is_too_large_is_refused_with_both_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_MAX_MESSAGE_BYTES", "1000")
    async with started(asks) as call:
        run = await paused()
        with pytest.raises(MessageTooLarge) as refused:
            await resume_flow_run(run.id, {**GOOD, "extras": ["x" * 1000]})
        assert refused.value.limit == 1000
        assert refused.value.size > 1000
        await resume_flow_run(run.id, GOOD)
        await call


# --- what is not paused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [uuid4(), "nobody"])
async def test_a_run_that_there_is_not_is_not_found(run: Any) -> None:
    with pytest.raises(ObjectNotFound):
        await resume_flow_run(run, GOOD)


async def test_a_run_that_was_only_sent_to_is_not_found() -> None:
    await send_input("x", "somebody")
    with pytest.raises(ObjectNotFound):
        await resume_flow_run("somebody")


@pytest.mark.parametrize("run", ["a b", 3])
async def test_what_can_be_no_run_is_refused(run: Any) -> None:
    with pytest.raises(InvalidKeyError):
        await resume_flow_run(run)


async def test_a_run_that_runs_is_not_paused() -> None:
    @flow
    async def runs() -> None:
        from flowchan.context import get_run_context  # noqa: PLC0415

        with pytest.raises(NotPausedError, match="is not paused: it is 'Running'"):
            await resume_flow_run(get_run_context().flow_run.id)

    await runs()


async def test_a_run_that_has_ended_is_not_paused() -> None:
    @flow
    async def ends() -> None: ...

    await ends()
    (run,) = await get_client().read_flow_runs()
    with pytest.raises(NotPausedError, match="it is 'Completed'") as refused:
        await resume_flow_run(run.id)
    assert refused.value.now == run.state


async def test_a_run_is_resumed_once() -> None:
    async with started(asks) as call:
        run = await paused()
        await resume_flow_run(run.id, GOOD)
        with pytest.raises(NotPausedError):
            await resume_flow_run(run.id, GOOD)
        await call


# --- in time -------------------------------------------------------------------------------------------------


async def test_a_run_that_nobody_resumes_in_time_has_failed_with_a_timeout() -> None:
    @flow
    async def asks() -> None:
        await pause_flow_run(Order, timeout=0.1)

    with pytest.raises(FlowPauseTimeout, match="was paused and never resumed") as expired:
        await asks()
    assert isinstance(expired.value, TimeoutError)
    (run,) = await get_client().read_flow_runs()
    assert run.state is not None
    assert run.state.is_failed()
    assert run.state.message == "Flow run was paused and never resumed."


async def test_who_resumes_it_later_is_told_so() -> None:
    @flow
    async def asks() -> None:
        await pause_flow_run(timeout=0)

    await asks(return_state=True)  # type: ignore[call-arg]
    (run,) = await get_client().read_flow_runs()
    with pytest.raises(FlowPauseTimeout, match=str(run.id)):
        await resume_flow_run(run.id)


def test_a_sync_run_expires_too() -> None:
    @flow
    def asks() -> None:
        pause_flow_run(timeout=0.1)

    with pytest.raises(FlowPauseTimeout):
        asks()


async def test_a_run_that_expired_is_not_tried_again() -> None:
    calls: list[int] = []

    @flow(retries=3)
    async def asks() -> None:
        calls.append(1)
        await pause_flow_run(timeout=0)

    with pytest.raises(FlowPauseTimeout):
        await asks()
    assert len(calls) == 1


async def test_a_run_has_failed_even_if_its_flow_goes_on() -> None:
    @flow
    async def asks() -> str:
        try:
            await pause_flow_run(timeout=0)
        except TimeoutError:
            return "went on"
        return "never"

    state: Any = await asks(return_state=True)  # type: ignore[call-arg]
    assert state.is_failed()
    (run,) = await get_client().read_flow_runs()
    assert await state_of(run) == run.state


async def test_by_the_brokers_clock_a_pause_expires_though_its_flow_is_busy(
    client: redis.Redis, namespace: str
) -> None:
    async with started(asks):
        run = await paused()
        # As if the time had come, and the flow had not heard of it yet.
        client.hset(keys.record(namespace, keys.run_id(run.id)), "expires", 1)
        with pytest.raises(FlowPauseTimeout):
            await resume_flow_run(run.id, GOOD)


async def test_without_a_limit_a_pause_does_not_expire() -> None:
    @flow
    async def asks() -> Any:
        return await pause_flow_run(int, timeout=None)

    async with started(asks) as call:
        await resume_flow_run((await paused()).id, {"value": 42})
        assert await call == 42


# --- from everywhere -----------------------------------------------------------------------------------------


def test_a_run_can_be_resumed_in_sync_code_and_by_its_id_as_text() -> None:
    @flow
    def asks() -> Any:
        return pause_flow_run(int)

    with started_sync(asks) as end:
        run = seen_sync("asks", "PAUSED")
        assert resume_flow_run(str(run.id), {"value": 42}) is None
        assert end.result(20).result() == 42
    assert state_of_sync(run).is_completed()


async def test_a_flow_can_resume_another() -> None:
    @flow
    async def resumes() -> None:
        await resume_flow_run((await paused()).id, GOOD)

    async with started(asks) as call:
        await resumes()
        assert (await call).size == "large"


async def test_an_answer_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with started(asks) as call:
            await resume_flow_run((await paused()).id, {**GOOD, "extras": ["a secret"]})
            await call
    assert "secret" not in caplog.text


# --- which question ------------------------------------------------------------------------------------------


async def test_an_answer_to_one_question_is_none_to_the_next() -> None:
    @flow(name="asks")
    async def asks_twice() -> tuple[Any, Any]:
        return await pause_flow_run(Order), await pause_flow_run(Order)

    async with started(asks_twice) as running:
        run = await paused()
        assert run.waiting_for == "paused-1"
        await resume_flow_run(run.id, GOOD, waiting_for="paused-1")
        while (await get_client().read_flow_run(run.id)).waiting_for != "paused-2":
            await anyio.sleep(0.005)

        with pytest.raises(NotPausedError, match="paused-2"):
            await resume_flow_run(run.id, {"size": "small"}, waiting_for="paused-1")

        await resume_flow_run(run.id, GOOD, waiting_for="paused-2")
        first, second = await running
        assert (first.size, second.size) == ("large", "large")
