"""A run that stops, asks, and goes on with what it was given."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, Self
from uuid import UUID

import pytest
import redis
from pydantic import BaseModel, Field, ValidationError, field_validator

from flowchan import RunInput, flow, get_client, open_run
from flowchan.context import FlowRun, get_run_context
from flowchan.errors import InvalidKeyError, MissingRunError
from flowchan.flow_runs import pause_flow_run, resume_flow_run
from flowchan.input import keyset_from_base_key
from flowchan.wire import keys
from tests.support.runs import seen, seen_sync, started, started_sync, state_of

pytestmark = pytest.mark.anyio


class Order(BaseModel):
    size: Literal["small", "large"]
    count: int = 1


class Name(RunInput):
    name: str
    age: int | None = None

    @field_validator("name")
    @classmethod
    def _no_robot(cls, value: str) -> str:
        if value == "marvin":
            raise ValueError("robots are not greeted")
        return value


def asking(wanted: Any = None, **options: Any) -> Any:
    """A flow that asks, and returns what it was given."""

    @flow
    async def asks() -> Any:
        return await pause_flow_run(wanted, **options)

    return asks


async def paused() -> FlowRun:
    return await seen("asks", "PAUSED")


async def answered(wanted: Any, answer: Any, **options: Any) -> Any:
    """What a flow gets that asks for something of a type and is given an answer."""
    async with started(asking(wanted, **options)) as call:
        run = await paused()
        await resume_flow_run(run.id, answer)
        return await call


def stored(client: redis.Redis, namespace: str, run: FlowRun) -> dict[str, str]:
    """What is stored with a run for a pause."""
    kept: Any = client.hgetall(keys.inputs(namespace, keys.run_id(run.id)))
    return {name.decode(): value.decode() for name, value in kept.items()}


# --- what is asked for ---------------------------------------------------------------------------------------


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NUMBER = UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    "wanted, given, value",
    [
        (str, "andrew", "andrew"),
        (int, 42, 42),
        (float, 0.5, 0.5),
        (bool, True, True),
        (list[int], [1, 2], [1, 2]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (str | None, None, None),
        (Literal["a", "b"], "b", "b"),
        (UUID, NUMBER, NUMBER),
        (UUID, str(NUMBER), NUMBER),
        (datetime, NOW, NOW),
        (datetime, "2026-01-02T03:04:05Z", NOW),
        (date, "2026-01-02", date(2026, 1, 2)),
        (timedelta, timedelta(minutes=5), timedelta(minutes=5)),
        (Decimal, "1.5", Decimal("1.5")),
        (list[Order], [{"size": "large"}], [Order(size="large")]),
        (Any, {"a": [None]}, {"a": [None]}),
    ],
    ids=repr,
)
async def test_a_plain_type_is_given_as_a_value_and_comes_bare(wanted: Any, given: Any, value: Any) -> None:
    got = await answered(wanted, {"value": given})

    assert got == value
    assert type(got) is type(value)


async def test_a_model_is_given_field_by_field_and_comes_as_an_instance() -> None:
    got = await answered(Order, {"size": "large", "count": 2})

    assert isinstance(got, Order)
    assert (got.size, got.count) == ("large", 2)


async def test_a_run_input_comes_as_an_instance_that_knows_its_key_and_no_sender() -> None:
    async with started(asking(Name)) as call:
        run = await paused()
        await resume_flow_run(run.id, {"name": "andrew"})
        got = await call

    assert type(got) is Name
    assert (got.name, got.age) == ("andrew", None)
    assert (got.metadata.key, got.metadata.sender, got.metadata.receiver) == ("paused-1-response", None, run.id)


async def test_a_model_can_be_given_as_an_instance() -> None:
    assert (await answered(Order, Order(size="small"))).size == "small"


async def test_a_model_with_aliases_is_given_by_its_aliases() -> None:
    class Aliased(BaseModel):
        name: str = Field(alias="fullName")

    assert (await answered(Aliased, {"fullName": "andrew"})).name == "andrew"
    assert (await answered(Aliased, Aliased(fullName="andrew"))).name == "andrew"


async def test_a_pause_that_asks_for_nothing_returns_nothing() -> None:
    assert await answered(None, None) is None


async def test_initial_data_is_what_is_not_given() -> None:
    wanted = Name.with_initial_data(name="anonymous", age=42)
    got = await answered(wanted, {"age": 7})

    assert (got.name, got.age) == ("anonymous", 7)


async def test_with_defaults_for_all_nothing_need_be_given() -> None:
    assert (await answered(Name.with_initial_data(name="anonymous"), None)).name == "anonymous"


async def test_an_answer_of_another_type_that_json_has_no_number_for_keeps_its_value() -> None:
    class Precise(BaseModel):
        price: Decimal
        when: datetime

    got = await answered(Precise, {"price": Decimal("9.99"), "when": NOW})
    assert (got.price, got.when) == (Decimal("9.99"), NOW)


# --- what others see -----------------------------------------------------------------------------------------


async def test_schema_and_description_are_there_when_a_run_is_seen_to_be_paused(
    client: redis.Redis, namespace: str
) -> None:
    wanted = Name.with_initial_data(description="**Who** are _you_?", age=42)
    async with started(asking(wanted)):
        run = await paused()
        kept = stored(client, namespace, run)

    keyset = keyset_from_base_key("paused-1")
    assert json.loads(kept[keyset["schema"]]) == wanted.model_json_schema()
    assert kept[keyset["description"]] == "**Who** are _you_?"
    assert keyset["response"] not in kept


@pytest.mark.parametrize("wanted", [str, Name.with_initial_data(description="Who?")], ids=["a type", "a model"])
async def test_they_are_stored_before_the_state_is(wanted: Any, client: redis.Redis, namespace: str) -> None:
    # The stream of states and the hash of inputs are looked at in one transaction, again and again.
    async with started(asking(wanted)):
        while True:
            run = await seen("asks", "RUNNING", "PAUSED")
            key = keys.run_id(run.id)
            with client.pipeline(transaction=True) as pipe:
                pipe.hget(keys.record(namespace, key), "type")
                pipe.hexists(keys.inputs(namespace, key), "paused-1-schema")
                kind, is_stored = pipe.execute()
            assert kind == b"RUNNING" or is_stored
            if kind == b"PAUSED":
                break


async def test_a_paused_run_says_what_it_waits_for() -> None:
    async with started(asking(str)):
        run = await paused()

    assert run.state is not None
    assert (run.state.name, run.state.pause_key, run.waiting_for) == ("Paused", "1", "paused-1")


async def test_after_the_answer_it_runs() -> None:
    @flow
    async def asks() -> Any:
        await pause_flow_run()
        await asked.wait()

    asked = asyncio.Event()
    async with started(asks) as call:
        run = await paused()
        await resume_flow_run(run.id)
        assert (await state_of(run)).is_running()
        asked.set()
        await call
    names = [state.name for state in await get_client().read_flow_run_states(run.id)]
    assert names == ["Running", "Paused", "Running", "Completed"]


# --- validators ----------------------------------------------------------------------------------------------


async def test_what_passes_the_schema_and_not_the_validators_is_raised_in_the_flow() -> None:
    with pytest.raises(ValidationError, match="robots are not greeted"):
        await answered(Name, {"name": "marvin"})


async def test_a_flow_asks_again_until_it_has_a_good_answer() -> None:
    asked: list[str] = []

    @flow
    async def asks() -> Any:
        while True:
            try:
                return (await pause_flow_run(Name)).name
            except ValidationError:
                asked.append("again")

    async with started(asks) as call:
        for number, name in enumerate(["marvin", "marvin", "andrew"], 1):
            run = await paused()
            while run.waiting_for != f"paused-{number}":
                run = await paused()
            await resume_flow_run(run.id, {"name": name})
        assert await call == "andrew"
    assert asked == ["again", "again"]


# --- keys ----------------------------------------------------------------------------------------------------


async def test_pauses_are_numbered() -> None:
    @flow
    async def asks() -> list[Any]:
        return [await pause_flow_run(int) for _ in range(3)]

    async with started(asks) as call:
        for number in range(1, 4):
            run = await paused()
            while run.waiting_for != f"paused-{number}":
                run = await paused()
            await resume_flow_run(run.id, {"value": number})
        assert await call == [1, 2, 3]


async def test_a_pause_may_have_a_key_of_its_own() -> None:
    async with started(asking(str, key="approval")):
        assert (await paused()).waiting_for == "paused-approval"


@pytest.mark.parametrize("key", ["a b", "", "a:b", 3])
async def test_what_can_be_no_key_is_refused_and_the_run_goes_on(key: Any) -> None:
    @flow
    async def asks() -> str:
        with pytest.raises((InvalidKeyError, TypeError)):
            await pause_flow_run(str, key=key)
        return "went on"

    assert await asks() == "went on"


async def test_the_same_key_in_a_loop_asks_again() -> None:
    @flow
    async def asks() -> list[Any]:
        return [await pause_flow_run(int, key="mine") for _ in range(3)]

    async with started(asks) as call:
        last = None
        for number in range(3):
            run = await paused()
            while run.state is None or run.state.id == last:
                run = await paused()
            last = run.state.id
            await resume_flow_run(run.id, {"value": number})
        assert await call == [0, 1, 2]


async def test_a_key_that_asks_for_less_the_second_time_asks_for_no_more_than_that(
    client: redis.Redis, namespace: str
) -> None:
    @flow
    async def asks() -> Any:
        await pause_flow_run(Name.with_initial_data(description="Who?"), key="mine")
        return await pause_flow_run(key="mine")

    async with started(asks) as call:
        first = await paused()
        await resume_flow_run(first.id, {"name": "andrew"})
        run = await paused()
        while run.state is None or first.state is None or run.state.id == first.state.id:
            run = await paused()
        assert stored(client, namespace, run) == {}
        await resume_flow_run(run.id)
        assert await call is None


# --- where it can be -----------------------------------------------------------------------------------------


def test_a_sync_flow_pauses_and_blocks() -> None:
    @flow
    def asks() -> Any:
        return pause_flow_run(int)

    with started_sync(asks) as end:
        run = seen_sync("asks", "PAUSED")
        resume_flow_run(run.id, {"value": 42})
        assert end.result(20).result() == 42


async def test_a_sync_flow_in_a_thread_of_an_async_one_pauses_its_own_run() -> None:
    @flow
    def asks() -> Any:
        return get_run_context().run, pause_flow_run(int)

    @flow
    async def outer() -> Any:
        return await asyncio.to_thread(asks)

    async with started(outer) as call:
        run = await paused()
        await resume_flow_run(run.id, {"value": 42})
        assert await call == (str(run.id), 42)


async def test_a_subflow_pauses_and_the_run_that_called_it_runs_on() -> None:
    @flow
    async def outer() -> Any:
        return await asking(int)()

    async with started(outer) as call:
        run = await paused()
        assert (await state_of(run.parent_id)).is_running()
        await resume_flow_run(run.id, {"value": 42})
        assert await call == 42


async def test_several_runs_pause_at_once_each_for_itself() -> None:
    @flow(flow_run_name="{number}")
    async def asks(number: int) -> Any:
        return number, await pause_flow_run(int)

    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(asks(number)) for number in range(20)]  # type: ignore[arg-type]
        waiting: list[FlowRun] = []
        while len(waiting) < 20:
            waiting = await get_client().read_flow_runs(state="PAUSED")
        for run in waiting:
            await resume_flow_run(run.id, {"value": int(run.name) * 2})
    assert [call.result() for call in calls] == [(number, number * 2) for number in range(20)]


async def test_outside_a_flow_there_is_nothing_to_pause() -> None:
    with pytest.raises(RuntimeError, match="only be paused from within a flow run") as caught:
        await pause_flow_run(str)
    assert isinstance(caught.value, MissingRunError)


def test_so_it_is_in_sync_code() -> None:
    with pytest.raises(MissingRunError):
        pause_flow_run()


async def test_a_run_that_is_no_flows_cannot_be_paused() -> None:
    async with open_run():
        with pytest.raises(MissingRunError, match="only be paused from within a flow run"):
            await pause_flow_run(str)


@pytest.mark.parametrize(
    "options, error",
    [({"timeout": -1}, ValueError), ({"timeout": "soon"}, TypeError), ({"poll_interval": -1}, ValueError)],
    ids=repr,
)
async def test_an_argument_that_cannot_be_used_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        await asking(str, **options)()


# --- a run input that does it its own way --------------------------------------------------------------------


async def test_what_a_user_makes_of_saving_and_loading_is_what_is_done() -> None:
    called: list[str] = []

    class Own(RunInput):
        name: str

        @classmethod
        async def save(cls, keyset: Any, flow_run_id: Any = None) -> None:  # type: ignore[override]
            called.append(f"save {keyset['schema']}")
            await super().save(keyset, flow_run_id)

        @classmethod
        async def load(cls, keyset: Any, flow_run_id: Any = None) -> Self:  # type: ignore[override]
            called.append(f"load {keyset['response']}")
            loaded = await super().load(keyset, flow_run_id)
            return loaded.model_copy(update={"name": loaded.name.upper()})

    got = await answered(Own, {"name": "andrew"})
    assert got.name == "ANDREW"
    assert called == ["save paused-1-schema", "load paused-1-response"]


def test_so_it_is_in_a_sync_flow() -> None:
    called: list[str] = []

    class Own(RunInput):
        name: str

        @classmethod
        def load(cls, keyset: Any, flow_run_id: Any = None) -> Any:
            called.append("load")
            return super().load(keyset, flow_run_id)

    @flow
    def asks() -> Any:
        return pause_flow_run(Own)

    with started_sync(asks) as end:
        resume_flow_run(seen_sync("asks", "PAUSED").id, {"name": "andrew"})
        assert end.result(20).result().name == "andrew"
    assert called == ["load"]
