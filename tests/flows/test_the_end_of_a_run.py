"""A run does not end before what it sent has been stored."""

from __future__ import annotations

import asyncio
import logging

import anyio
import pytest
import redis

from flowchan import Channels, flow, open_run, receive_input, send_input
from flowchan.context import get_run_context
from flowchan.errors import BrokerRefused
from flowchan.input import AutomaticRunInput
from flowchan.wire import keys
from tests.support import programs
from tests.support.server import Server
from tests.support.streams import Streams

pytestmark = pytest.mark.anyio

CHANNEL = "strautomaticruninput-auto"


async def test_sends_that_nobody_awaits_are_stored_when_the_flow_has_returned(streams: Streams) -> None:
    @flow
    async def talks() -> None:
        for number in range(500):
            send_input(str(number), "run")

    await talks()

    assert streams.values("run", CHANNEL) == [str(number) for number in range(500)]


async def test_an_answer_in_the_last_line_is_stored(streams: Streams) -> None:
    @flow
    async def answers(name: AutomaticRunInput[str]) -> None:
        name.respond("goodbye")

    async with open_run("asker"):
        await send_input("andrew", "greeter")
    await answers(await receive_input(str, flow_run_id="greeter", with_metadata=True).next())

    assert streams.values("asker", CHANNEL) == ["goodbye"]


async def test_so_they_are_when_the_flow_raises(streams: Streams) -> None:
    @flow
    async def fails() -> None:
        send_input("last words", "run")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()

    assert streams.values("run", CHANNEL) == ["last words"]


async def test_so_they_are_when_the_flow_is_cancelled(streams: Streams) -> None:
    @flow
    async def waits() -> None:
        send_input("before", "run")
        try:
            await anyio.sleep_forever()
        finally:
            send_input("after", "run")

    with anyio.move_on_after(0.05):
        await waits()

    assert streams.values("run", CHANNEL) == ["before", "after"]


async def test_so_they_are_at_the_end_of_a_run_that_is_no_flows(streams: Streams) -> None:
    async with open_run():
        send_input("x", "run")

    assert streams.values("run", CHANNEL) == ["x"]


async def test_so_are_those_of_its_tasks(streams: Streams) -> None:
    @flow
    async def talks() -> None:
        async def whisper(word: str) -> None:
            send_input(word, "run")

        await asyncio.gather(*(whisper(str(number)) for number in range(20)))

    await talks()

    assert streams.length("run", CHANNEL) == 20


def test_a_sync_flow_has_stored_each_send_when_the_call_returns(streams: Streams) -> None:
    @flow
    def talks() -> int:
        send_input("one", "run")
        return streams.length("run", CHANNEL)

    assert talks() == 1


async def test_a_run_does_not_wait_for_the_answer_to_what_it_did_not_send() -> None:
    @flow
    async def silent() -> str:
        return str(get_run_context().flow_run.id)

    assert await silent()


async def test_a_send_that_failed_does_not_fail_the_run_and_is_in_the_log(
    client: redis.Redis, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    client.set(keys.stream(namespace, "some-run", CHANNEL), "no stream", px=60_000)

    @flow
    async def talks() -> str:
        send_input("a secret", "some-run")
        return "done"

    assert await talks() == "done"

    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    for told in ("some-run", CHANNEL, "unix://", "WRONGTYPE"):
        assert told in record.getMessage()
    assert "secret" not in caplog.text


async def test_an_awaited_send_that_failed_fails_the_run(client: redis.Redis, namespace: str) -> None:
    client.set(keys.stream(namespace, "run", CHANNEL), "no stream", px=60_000)

    @flow
    async def talks() -> None:
        await send_input("x", "run")

    with pytest.raises(BrokerRefused):
        await talks()


def test_a_program_may_end_right_after_its_sends(streams: Streams) -> None:
    programs.run("""
        import asyncio
        from flowchan import flow, send_input

        @flow
        async def talks():
            for number in range(1000):
                send_input(str(number), "run")

        asyncio.run(talks())
    """)

    assert streams.length("run", CHANNEL) == 1000


def test_even_without_a_run(streams: Streams) -> None:
    programs.run("""
        import asyncio
        from flowchan import send_input

        async def talks():
            for number in range(1000):
                send_input(str(number), "run")

        asyncio.run(talks())
    """)

    assert streams.length("run", CHANNEL) == 1000


async def test_so_are_those_that_it_sent_by_an_explicit_client(server: Server) -> None:
    mine = Channels(namespace="mine")

    @flow
    async def talks() -> None:
        mine.send_input("x" * 500_000, "run")

    await mine.send_input("first", "run")
    await talks()
    with server.client() as client:
        (key,) = client.scan_iter("mine:*", _type="stream")
        assert client.xlen(key) == 2
