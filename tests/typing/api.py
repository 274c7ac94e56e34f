"""What users write, as type checkers see it. Never run: mypy strict and basedpyright read it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, Optional, assert_type
from uuid import UUID

from pydantic import BaseModel

import flowchan
from flowchan import (
    Channels,
    RunInput,
    flow,
    get_client,
    get_run_logger,
    open_run,
    pause_flow_run,
    receive_input,
    resume_flow_run,
    send_input,
    suspend_flow_run,
    sync,
)
from flowchan.context import FlowRun, get_run_context
from flowchan.flow_runs import cancel_flow_run, wait_for_flow_run
from flowchan.input import (
    AutomaticRunInput,
    DeadLetter,
    FlowRunInput,
    InputReceiver,
    Keyset,
    RunInputMetadata,
    keyset_from_base_key,
    read_dead_letters,
    run_input_subclass_from_type,
)
from flowchan.states import State


class User(BaseModel):
    name: str


class NumberData(RunInput):
    number: int


class Name(AutomaticRunInput[str]):
    pass


async def sending(run: UUID, data: NumberData) -> None:
    assert_type(await send_input("andrew", run), RunInputMetadata)
    assert_type(
        await send_input(User(name="andrew"), str(run), None, "names", idempotency_key="once"), RunInputMetadata
    )
    assert_type(await data.send_to(run), RunInputMetadata)
    assert_type(await data.respond("seen"), RunInputMetadata)
    assert_type((await data.respond(data, key_prefix="numbers")).sent_at, datetime)
    # Not awaited, it is sent all the same, and no checker is to complain.
    send_input("andrew", run)
    data.send_to(run)


async def receiving_in_async_code() -> None:
    async for name in receive_input(str, timeout=None):
        assert_type(name, str)
    receiver = receive_input(int, 30, 0.1, False, ["key"], "numbers", "run", False, None, "key")  # noqa: FBT003 - by position
    assert_type(receiver, InputReceiver[int])
    assert_type(await receiver.next(), int)
    async with receive_input(list[tuple[str, float]]) as pairs:
        assert_type(await pairs.next(), list[tuple[str, float]])


def receiving_in_sync_code() -> None:
    for name in receive_input(str):
        assert_type(name, str)
    assert_type(next(receive_input(str)), str)
    with receive_input(datetime) as times:
        assert_type(next(times), datetime)


async def receiving_models() -> None:
    assert_type(await receive_input(User).next(), User)
    assert_type(await receive_input(NumberData).next(), NumberData)
    assert_type(await receive_input(NumberData, with_metadata=True).next(), NumberData)
    assert_type(await NumberData.receive(timeout=1, flow_run_id="run").next(), NumberData)
    async for data in NumberData.receive():
        assert_type(data.number, int)
        assert_type(data.metadata, RunInputMetadata)
        assert_type(data.metadata.key, str)
        assert_type(data.metadata.sender, str | None)
        assert_type(data.metadata.receiver, UUID | str)


async def receiving_with_metadata(flag: bool) -> None:
    async for name in receive_input(str, with_metadata=True, timeout=None, poll_interval=0.1):
        assert_type(name, AutomaticRunInput[str])
        assert_type(name.value, str)
        assert_type(name.metadata.key, str)
        await name.respond(f"Hello, {name.value}!")
    assert_type(await receive_input(str, with_metadata=False).next(), str)
    untold: InputReceiver[Any] = receive_input(str, with_metadata=flag)
    await untold.next()


async def receiving_automatic_inputs(flag: bool) -> None:
    assert_type(await receive_input(AutomaticRunInput[str]).next(), AutomaticRunInput[str])
    assert_type(await AutomaticRunInput[str].receive().next(), str)
    assert_type(await AutomaticRunInput[str].receive(with_metadata=True).next(), AutomaticRunInput[str])
    assert_type(await Name.receive(with_metadata=True).next(), Name)
    assert_type(await Name.receive().next(), str)
    untold: InputReceiver[Any] = Name.receive(with_metadata=flag)
    await untold.next()
    assert_type(AutomaticRunInput[int](value=3).value, int)


async def receiving_optional_types() -> tuple[str | None, int | str]:
    # mypy knows no type[str | None]; for it the value is Any, and any annotation holds.
    name: str | None = await receive_input(Optional[str]).next()  # noqa: UP045 - both spellings
    name = await receive_input(str | None).next()
    number: int | str = await receive_input(int | str).next()
    return name, number


async def receiving_with_a_group(channels: Channels) -> None:
    receiver = receive_input(int, group="shop", on_invalid="dead-letter", max_deliveries=5)
    assert_type(receiver, InputReceiver[int])
    await receiver.ack()
    assert_type(await receive_input(User, group="shop", on_invalid="skip").next(), User)
    assert_type(
        await receive_input(str, with_metadata=True, group="shop", max_deliveries=None).next(), AutomaticRunInput[str]
    )
    assert_type(await NumberData.receive(group="shop", on_invalid="raise", max_deliveries=1).next(), NumberData)
    assert_type(await Name.receive(group="shop", on_invalid="skip", max_deliveries=1).next(), str)
    assert_type(await channels.receive_input(str, group="shop", on_invalid="skip").next(), str)
    receive_input(str, group="shop", on_invalid="ignore")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    letters = await read_dead_letters("run", key_prefix="numbers", group="shop")
    assert_type(letters, list[DeadLetter])
    assert_type(await letters[0].resend(), RunInputMetadata)
    await letters[0].discard()
    assert_type(letters[0].died_at, datetime)
    assert_type(await channels.read_dead_letters("run"), list[DeadLetter])


async def storing(keyset: Keyset) -> None:
    await NumberData.save(keyset, flow_run_id="run")
    assert_type(await NumberData.load(keyset), NumberData)
    assert_type(keyset_from_base_key("base"), Keyset)
    assert_type(NumberData.keyset_from_type()["schema"], str)
    assert_type(NumberData.with_initial_data("A **number**, please.", number=3), type[NumberData])
    assert_type(NumberData.load_from_flow_run_input(FlowRunInput(flow_run_id="run", key="k", value="{}")), NumberData)
    assert_type(run_input_subclass_from_type(int), type[RunInput])
    assert_type(NumberData.subclass_from_base_model_type(User), type[RunInput])


@flow
def sync_flow(name: str, times: int = 1) -> list[str]:
    get_run_logger().info("called %s times", times)
    return [name] * times


@flow(name="named", flow_run_name="of-{name}")
async def async_flow(name: str) -> int:
    assert_type(get_run_context().flow_run, FlowRun)
    return len(name)


class Service:
    @flow
    def method(self, name: str) -> int:
        return len(name)

    @flow
    async def async_method(self, name: str) -> int:
        return len(name)


async def calling_flows(service: Service) -> None:
    assert_type(sync_flow("andrew", times=2), list[str])
    assert_type(sync_flow.name, str)
    assert_type(await async_flow("andrew"), int)
    called: Coroutine[Any, Any, int] = async_flow(name="andrew")
    assert_type(await called, int)
    assert_type(service.method("andrew"), int)
    assert_type(await service.async_method(name="andrew"), int)
    plain: Callable[[str], int] = service.method
    plain("andrew")
    # What does not fit is seen: without an error here, the comment would be one.
    sync_flow(3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await async_flow()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    service.method(3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def a_run_for_sync_code() -> None:
    with open_run("order-4711", name="an order") as run:
        assert_type(run, FlowRun)
        assert_type(run.id, UUID | str)
        assert_type(run.name, str)


async def a_run_for_async_code() -> None:
    async with open_run() as run:
        assert_type(run, FlowRun)


async def an_explicit_client(channels: Channels, flag: bool) -> None:
    assert_type(await channels.send_input("andrew", "run"), RunInputMetadata)
    assert_type(await channels.receive_input(str, flow_run_id="run").next(), str)
    assert_type(await channels.receive_input(User, 3.0).next(), User)
    assert_type(await channels.receive_input(str, with_metadata=True).next(), AutomaticRunInput[str])
    untold: InputReceiver[Any] = channels.receive_input(str, with_metadata=flag)
    await untold.next()
    async with channels.open_run("run") as run:
        assert_type(run, FlowRun)
    Channels("redis://localhost", namespace="mine", retention=60)


class PlainNumber(sync.RunInput):
    number: int


def plain_signatures(run: UUID, keyset: Keyset, flag: bool) -> int | None:
    assert_type(sync.send_input("andrew", run), RunInputMetadata)
    receiver = sync.receive_input(str, timeout=3)
    assert_type(receiver, sync.InputReceiver[str])
    assert_type(receiver.next(), str)
    for name in receiver:
        assert_type(name, str)
    answered = sync.receive_input(str, with_metadata=True).next()
    assert_type(answered.value, str)
    assert_type(answered.respond("Hello!"), RunInputMetadata)
    assert_type(sync.receive_input(User).next(), User)
    assert_type(PlainNumber.receive().next(), PlainNumber)
    assert_type(PlainNumber(number=3).send_to(run), RunInputMetadata)
    assert_type(PlainNumber.load(keyset), PlainNumber)
    assert_type(sync.receive_input(str, group="shop", on_invalid="skip", max_deliveries=3).next(), str)
    assert_type(PlainNumber.receive(group="shop", on_invalid="dead-letter").next(), PlainNumber)
    sync.receive_input(str, group="shop").ack()
    (letter,) = sync.read_dead_letters(run)
    assert_type(letter, sync.DeadLetter)
    assert_type(letter.resend(), RunInputMetadata)
    letter.discard()
    untold: sync.InputReceiver[Any] = sync.receive_input(str, with_metadata=flag)
    untold.next()
    number: int | None = sync.receive_input(int | None).next()
    return number


async def runs_that_ask(run: UUID) -> int | None:
    assert_type(await pause_flow_run(), None)
    assert_type(await pause_flow_run(wait_for_input=str), str)
    assert_type(await pause_flow_run(wait_for_input=User, timeout=None, key="user"), User)
    assert_type(await pause_flow_run(NumberData.with_initial_data(number=3)), NumberData)
    untold: int | None = await pause_flow_run(wait_for_input=int | None)
    assert_type(await suspend_flow_run(wait_for_input=User), User)
    assert_type(await suspend_flow_run(flow_run_id=run, timeout=10), None)
    await resume_flow_run(run, {"name": "andrew"})
    await resume_flow_run(str(run), User(name="andrew"))
    assert_type(await cancel_flow_run(run), State)
    assert_type(await wait_for_flow_run(run, timeout=3), FlowRun)
    async with get_client() as client:
        known = await client.read_flow_run(run)
        assert_type(known, FlowRun)
        assert_type(known.state, State | None)
        assert_type(await client.read_flow_runs(state=["PAUSED"], flow="greeter"), list[FlowRun])
        assert_type(await client.read_flow_run_states(run), list[State])
    return untold


def runs_that_ask_in_sync_code(run: UUID) -> None:
    assert_type(sync.pause_flow_run(wait_for_input=str), str)
    assert_type(sync.suspend_flow_run(wait_for_input=User), User)
    sync.resume_flow_run(run)
    assert_type(sync.cancel_flow_run(run), State)
    assert_type(sync.wait_for_flow_run(run), FlowRun)
    assert_type(sync.get_client().read_flow_run(run).name, str)


def what_the_face_has() -> Callable[[str, UUID], Awaitable[RunInputMetadata]]:
    assert_type(flowchan.__version__, str)
    return flowchan.send_input
