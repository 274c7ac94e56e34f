"""A client that reads what is known of runs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from flowchan import flow, get_client
from flowchan.broker.broker import broker_of_this_loop
from flowchan.context import FlowRun, get_run_context, new_run_id
from flowchan.errors import DecodeError, InvalidKeyError, ObjectNotFound
from flowchan.flow_runs import wait_for_flow_run
from flowchan.runs import store
from flowchan.runs.store import Change
from flowchan.settings import current_settings
from flowchan.states import Completed, Failed, Running, StateType
from flowchan.wire import keys

pytestmark = pytest.mark.anyio


@flow
def greet(name: str) -> str:
    if not name:
        raise ValueError("nobody")
    return get_run_context().run


async def many(count: int, flow: str = "many") -> list[UUID]:
    """Make runs, as many in a millisecond as can be; every third has failed."""
    broker = broker_of_this_loop(current_settings())
    runs = [FlowRun(new_run_id(), f"run-{number}", flow) for number in range(count)]
    changes = [Change(Completed() if number % 3 else Failed()) for number in range(count)]
    await asyncio.gather(*(store.begin(broker, *each, None) for each in zip(runs, changes, strict=True)))
    return [run.id for run in runs if isinstance(run.id, UUID)]


# --- one run -----------------------------------------------------------------------------------------------


def test_what_is_known_of_a_run_can_be_read() -> None:
    before = datetime.now(UTC)
    run = greet.with_options(flow_run_name="of-{name}")("andrew")
    client: Any = get_client()
    known = client.read_flow_run(run)

    assert (str(known.id), known.name, known.flow_name) == (run, "of-andrew", "greet")
    assert known.state.is_completed()
    assert known.state.result() == run
    assert known.parameters == {"name": "andrew"}
    assert abs((known.created - before).total_seconds()) < 60
    assert (known.run_count, known.parent_id, known.deployment_id, known.waiting_for) == (1, None, None, None)


@pytest.mark.parametrize("kept", [b"\xc1", b"\x81\xa5value\x90", b"\x90", b"\x01"])
def test_a_result_that_cannot_be_read_is_in_nobodys_way_but_who_asks_for_it(
    kept: bytes, client: redis.Redis, namespace: str
) -> None:
    greet("andrew")
    reader: Any = get_client()
    (run,) = reader.read_flow_runs()
    client.hset(keys.record(namespace, str(run.id)), "result", kept)

    (known,) = reader.read_flow_runs()

    assert known.state.is_completed()
    with pytest.raises(DecodeError, match=f"The result of run {run.id} cannot be read: .*\\.$"):
        known.state.result()


async def test_a_client_can_be_used_bare_and_as_a_context_in_async_code() -> None:
    run = await asyncio.to_thread(greet, "andrew")
    bare = await get_client().read_flow_run(run)
    async with get_client() as client:
        within = await client.read_flow_run(UUID(run))

    assert bare.id == within.id == UUID(run)


def test_and_in_sync_code() -> None:
    run = greet("andrew")
    bare: Any = get_client()
    with bare as client:
        assert client.read_flow_run(run).id == bare.read_flow_run(UUID(run)).id


def test_the_states_that_a_run_has_had_can_be_read() -> None:
    client: Any = get_client()

    assert [state.name for state in client.read_flow_run_states(greet("andrew"))] == ["Running", "Completed"]
    assert client.read_flow_run_states("nobody") == []


@pytest.mark.parametrize("run", [uuid4(), "nobody"])
async def test_a_run_that_there_is_not_is_not_found(run: Any) -> None:
    with pytest.raises(ObjectNotFound, match=f"There is no flow run {run}"):
        await get_client().read_flow_run(run)


@pytest.mark.parametrize("run", ["a b", "", 3])
def test_what_can_be_no_run_is_refused(run: Any) -> None:
    with pytest.raises(InvalidKeyError):
        get_client().read_flow_run(run)


async def test_a_run_that_was_only_sent_to_is_not_found() -> None:
    from flowchan import send_input  # noqa: PLC0415

    await send_input("x", "somebody")
    with pytest.raises(ObjectNotFound):
        await get_client().read_flow_run("somebody")


# --- many runs ---------------------------------------------------------------------------------------------


def test_the_newest_run_comes_first() -> None:
    runs = [greet("andrew") for _ in range(5)]
    client: Any = get_client()

    assert [str(run.id) for run in client.read_flow_runs()] == runs[::-1]
    assert [str(run.id) for run in client.read_flow_runs(limit=2)] == runs[:-3:-1]


async def test_without_a_run_the_list_is_empty() -> None:
    assert await get_client().read_flow_runs() == []


def test_runs_of_a_flow_are_found_by_its_name() -> None:
    greet("andrew")
    other = greet.with_options(name="other")("andrew")
    client: Any = get_client()

    assert [str(run.id) for run in client.read_flow_runs(flow="other")] == [other]
    assert client.read_flow_runs(flow="nobody") == []


@pytest.mark.parametrize(
    "state", ["FAILED", "failed", StateType.FAILED, ["FAILED", "CRASHED"], {StateType.FAILED}], ids=repr
)
def test_runs_are_found_by_their_state(state: Any) -> None:
    greet("andrew")
    with pytest.raises(ValueError, match="nobody"):
        greet("")
    client: Any = get_client()

    (run,) = client.read_flow_runs(state=state)
    assert run.state.is_failed()


def test_a_state_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="ASLEEP"):
        get_client().read_flow_runs(state="asleep")


async def test_runs_that_are_many_pages_behind_are_found() -> None:
    (old,) = await many(1, "old")
    await many(300)

    (found,) = await get_client().read_flow_runs(flow="old", limit=1)
    assert found.id == old


async def test_of_runs_of_one_millisecond_none_is_left_out_on_the_way() -> None:
    made = set(await many(500))
    found = [run.id for run in await get_client().read_flow_runs(state="COMPLETED", limit=500)]
    failed = [run.id for run in await get_client().read_flow_runs(state="FAILED", limit=500)]
    some = [run.id for run in await get_client().read_flow_runs(state="FAILED", limit=100)]

    assert len(found) + len(failed) == 500
    assert {*found, *failed} == made
    assert some == failed[:100]


async def test_a_run_that_is_kept_no_more_is_left_out(namespace: str) -> None:
    broker = broker_of_this_loop(current_settings())
    run, gone = await many(2)
    await broker.persistent.call("a run", "DEL", next(key for key in await _keys(namespace) if f"{gone}:@run" in key))

    assert [known.id for known in await get_client().read_flow_runs()] == [run]


async def _keys(namespace: str) -> list[str]:
    broker = broker_of_this_loop(current_settings())
    return [key.decode() for key in await broker.persistent.call("keys", "KEYS", f"{namespace}:*")]


async def test_runs_of_another_namespace_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    await many(1)
    monkeypatch.setenv("FLOWCHAN_NAMESPACE", "another")

    assert await get_client().read_flow_runs() == []


async def test_a_run_that_runs_is_read_as_it_is_now() -> None:
    broker = broker_of_this_loop(current_settings())
    await store.begin(broker, FlowRun("order-4711", "a-run"), Change(Running(), holder="me", lease=60), None)

    known = await get_client().read_flow_run("order-4711")
    assert (known.id, known.name, known.flow_name) == ("order-4711", "a-run", None)
    assert known.state is not None
    assert known.state.is_running()


async def test_the_states_of_a_run_are_known_when_their_stream_is_gone(client: redis.Redis, namespace: str) -> None:
    @flow
    async def works() -> None: ...

    await works()
    (run,) = await get_client().read_flow_runs()
    before = await get_client().read_flow_run_states(run.id)
    client.delete(keys.states(namespace, str(run.id)))

    after = await get_client().read_flow_run_states(run.id)

    assert [(state.type, state.name, state.timestamp) for state in after] == [
        (state.type, state.name, state.timestamp) for state in before
    ]
    assert (await wait_for_flow_run(run.id, log_states=True)).id == run.id
