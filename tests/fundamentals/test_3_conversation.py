"""Two that talk: who sent a message, and how to answer."""

from __future__ import annotations

import asyncio
import threading
from uuid import UUID

import pytest

from flowchan import RunInput, flow, open_run, receive_input, send_input, sync
from flowchan.context import get_run_context
from flowchan.errors import RespondError

pytestmark = pytest.mark.anyio


class NumberData(RunInput):
    number: int


async def test_the_receiver_of_a_message_can_answer_its_sender() -> None:
    @flow
    async def greeter(is_there: asyncio.Future[UUID | str]) -> None:
        is_there.set_result(get_run_context().flow_run.id)
        async for name in receive_input(str, with_metadata=True):
            if name.value == "q":
                return
            await name.respond(f"Hello, {name.value}!")

    @flow
    async def sender(greeter_id: UUID | str) -> str:
        await send_input("andrew", greeter_id)
        greeting = await receive_input(str).next()
        await send_input("q", greeter_id)
        return greeting

    is_there: asyncio.Future[UUID | str] = asyncio.get_running_loop().create_future()
    greeting = asyncio.create_task(greeter(is_there))

    assert await sender(await is_there) == "Hello, andrew!"
    await greeting


async def test_metadata_tells_who_sent_it_and_where_it_stands() -> None:
    async with open_run("sender"):
        sent = await send_input("andrew", "receiver")

    name = await receive_input(str, flow_run_id="receiver", with_metadata=True).next()

    assert name.value == "andrew"
    assert name.metadata == sent
    assert name.metadata.sender == "flowchan.flow-run.sender"


async def test_an_answer_may_be_of_any_type() -> None:
    async with open_run("sender"):
        await NumberData(number=3).send_to("receiver")
    data = await NumberData.receive(flow_run_id="receiver").next()

    await data.respond(NumberData(number=data.number**2))
    await data.respond("that was easy")

    assert (await NumberData.receive(flow_run_id="sender").next()).number == 9
    assert await receive_input(str, flow_run_id="sender").next() == "that was easy"


async def test_who_is_no_run_cannot_be_answered() -> None:
    await send_input("from nowhere", "receiver")
    name = await receive_input(str, flow_run_id="receiver", with_metadata=True).next()

    with pytest.raises(RespondError):
        await name.respond("hello?")


async def test_a_channel_of_its_own_name_keeps_a_conversation_apart() -> None:
    await send_input("for everybody", "run")
    await send_input("for support", "run", key_prefix="support")

    assert await receive_input(str, flow_run_id="run", key_prefix="support").next() == "for support"
    assert await receive_input(str, flow_run_id="run").next() == "for everybody"


def test_two_synchronous_flows_talk_from_two_threads() -> None:
    @flow
    def greeter() -> None:
        greeters.append(str(get_run_context().flow_run.id))
        is_there.set()
        for name in sync.receive_input(str, with_metadata=True, timeout=30):
            if name.value == "q":
                return
            name.respond(f"Hello, {name.value}!")

    @flow
    def sender(greeter_id: str) -> list[str]:
        greetings = sync.receive_input(str, timeout=30)
        heard = []
        for name in ("andrew", "marvin"):
            sync.send_input(name, greeter_id)
            heard.append(greetings.next())
        sync.send_input("q", greeter_id)
        return heard

    greeters: list[str] = []
    is_there = threading.Event()
    other = threading.Thread(target=greeter)
    other.start()
    assert is_there.wait(30)

    assert sender(greeters[0]) == ["Hello, andrew!", "Hello, marvin!"]
    other.join(30)
    assert not other.is_alive()
