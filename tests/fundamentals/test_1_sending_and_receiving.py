"""First steps: a message into a run, and out of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from flowchan import flow, open_run, receive_input, send_input
from flowchan.context import get_run_context
from flowchan.errors import MissingRunError

pytestmark = pytest.mark.anyio


async def test_what_is_sent_to_a_run_is_received_by_it() -> None:
    async with open_run() as run:
        await send_input("andrew", run.id)

        name = await receive_input(str).next()

    assert name == "andrew"


def test_without_await_the_same_words_block() -> None:
    with open_run() as run:
        send_input("andrew", run.id)

        name = next(receive_input(str))

    assert name == "andrew"


async def test_a_receiver_is_a_loop() -> None:
    names = []
    async with open_run() as run:
        for name in ("andrew", "marvin", "q"):
            await send_input(name, run.id)

        async for name in receive_input(str):
            if name == "q":
                break
            names.append(name)

    assert names == ["andrew", "marvin"]


async def test_a_message_may_be_sent_before_anybody_receives() -> None:
    run = uuid4()
    await send_input("early", run)

    async with open_run(run):
        assert await receive_input(str).next() == "early"


async def test_any_run_can_be_received_from_by_its_id() -> None:
    await send_input("andrew", "some-run")

    assert await receive_input(str, flow_run_id="some-run").next() == "andrew"


async def test_a_send_that_is_not_awaited_arrives_all_the_same_and_in_order() -> None:
    async with open_run() as run:
        for number in range(100):
            send_input(number, run.id)

        numbers = receive_input(int)
        assert [await numbers.next() for _ in range(100)] == list(range(100))


async def test_every_receiver_gets_every_message_from_the_first() -> None:
    async with open_run() as run:
        await send_input("one", run.id)
        await send_input("two", run.id)

        first, second = receive_input(str), receive_input(str)
        assert [await first.next(), await first.next()] == ["one", "two"]
        assert [await second.next(), await second.next()] == ["one", "two"]


async def test_a_receiver_in_a_variable_keeps_its_place() -> None:
    async with open_run() as run:
        receiver = receive_input(str)
        for name in ("andrew", "marvin"):
            await send_input(name, run.id)
            assert await receiver.next() == name


async def test_a_receiver_frees_what_it_holds_at_the_end_of_its_block() -> None:
    async with open_run() as run:
        await send_input("andrew", run.id)

        async with receive_input(str) as names:
            assert await names.next() == "andrew"

        assert [name async for name in names] == []


async def test_sending_tells_what_was_stored() -> None:
    before = datetime.now(UTC)

    metadata = await send_input("andrew", "some-run")

    assert metadata.receiver == "some-run"
    assert metadata.sender is None
    assert metadata.key.startswith("strautomaticruninput-auto-")
    assert abs(metadata.sent_at - before) < timedelta(minutes=1)


async def test_a_flow_is_a_run() -> None:
    @flow
    async def talks_to_itself() -> str:
        await send_input("andrew", get_run_context().flow_run.id)
        return await receive_input(str).next()

    assert await talks_to_itself() == "andrew"


async def test_outside_a_run_the_run_must_be_named() -> None:
    with pytest.raises(MissingRunError):
        receive_input(str)
