"""A server that dies, hangs or is cut off under those who send and wait, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis

from flowchan import receive_input, send_input, sync
from flowchan.errors import BrokerUnavailable
from tests.conftest import connections
from tests.support.proxy import Fate, Proxy
from tests.support.server import Server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

Receiver = Any


def receiver(run: str = "r", **options: Any) -> Receiver:
    options = {"timeout": 30, "poll_interval": 10, **options}
    return receive_input(int, flow_run_id=run, key_prefix=CHANNEL, **options)


def send(value: int, run: str = "r") -> Any:
    return send_input(value, run, key_prefix=CHANNEL)


async def take(receiver: Receiver, count: int) -> list[int]:
    return [await receiver.next() for _ in range(count)]


def is_reading(server: Server) -> bool:
    with contextlib.suppress(redis.ConnectionError), server.client() as client:
        return any(each["cmd"] == "xreadgroup" for each in connections(client))
    return False


@asynccontextmanager
async def following(mine: Receiver, count: int) -> AsyncIterator[list[int]]:
    """Take ``count`` messages meanwhile; they are all there at the end of the block."""
    got: list[int] = []

    async def follow() -> None:
        for _ in range(count):
            got.append(await mine.next())  # noqa: PERF401 - what came is wanted, though the rest does not

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        yield got


# --- killed and started again on its data ------------------------------------------------------------------------


async def test_those_who_wait_go_on_when_a_killed_server_is_back(server: Server) -> None:
    mine = [receiver(f"r{i}") for i in range(70)]
    tasks = [asyncio.get_running_loop().create_task(take(each, 2)) for each in mine]
    for i in range(70):
        await send(i, f"r{i}")
    await eventually_async(lambda: is_reading(server))
    server.kill()
    server.start()
    for i in range(70):
        await send(1000 + i, f"r{i}")
    assert [await task for task in tasks] == [[i, 1000 + i] for i in range(70)]


async def test_nothing_is_lost_or_doubled_while_a_server_is_killed_again_and_again(
    make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server("--appendfsync", "always")
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    count = 1500
    await send(0)
    async with following(receiver(), count) as got, following(receiver(), count) as again:
        deaths = 0
        for value in range(1, count):
            send(value)
            if value % 10 == 0:
                await anyio.sleep(0.001)
            if value % 300 == 0:
                server.kill()
                await anyio.sleep(0.01)
                await anyio.to_thread.run_sync(server.start)
                deaths += 1
    assert deaths == 4
    assert got == again == list(range(count))


async def test_what_was_sent_by_others_while_all_was_down_is_received_too(server: Server) -> None:
    await send(0)
    async with following(receiver(), 3) as got:
        await eventually_async(lambda: got and is_reading(server))
        server.kill()
        server.start()
        # Before flowchan has noticed, or just then: a process that has connected already
        with server.client() as client:
            (key,) = client.scan_iter("*}:r:*")
            ((_, fields),) = client.xrange(key)  # type: ignore[misc]
            for value in (1, 2):
                fields[b"id"], fields[b"seq"] = f"00000000000000cc-{value}".encode(), b"%d" % value
                fields[b"body"] = b"\x81\xa5value" + bytes([value])
                client.xadd(key, fields)
    assert got == [0, 1, 2]


async def test_a_wait_that_ends_while_the_broker_is_away_says_so_and_can_go_on(server: Server) -> None:
    await send(0)
    mine = receiver(timeout=0.5)
    assert await mine.next() == 0
    server.kill()
    with anyio.fail_after(5), pytest.raises(BrokerUnavailable, match=r"No message came in time.*cannot be reached"):  # noqa: PT012 - it is to come in the end
        while True:
            with contextlib.suppress(TimeoutError):  # until it has been noticed
                await mine.next()
    server.start()
    await send(1)
    with anyio.fail_after(20):
        while True:
            with contextlib.suppress(TimeoutError, BrokerUnavailable):
                assert await mine.next() == 1
                break


async def test_an_excluding_receiver_keeps_its_deadline_while_the_broker_is_away(server: Server) -> None:
    given = [(await send(value)).key for value in range(100)]
    server.kill()
    mine = receiver(timeout=0.5, exclude_keys=given)
    with anyio.fail_after(5), pytest.raises((BrokerUnavailable, TimeoutError)):
        await mine.next()
    server.start()
    await send(100)
    with anyio.fail_after(20):
        while True:
            with contextlib.suppress(TimeoutError, BrokerUnavailable):
                assert await mine.next() == 100
                break


async def test_a_first_wait_on_a_broker_that_is_not_there_fails_and_the_next_one_works(server: Server) -> None:
    server.kill()
    mine = receiver(timeout=20)
    start = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        await mine.next()
    assert time.monotonic() - start < 10
    server.start()
    await send(1)
    assert await mine.next() == 1


def test_synchronous_code_goes_on_when_a_killed_server_is_back(server: Server) -> None:
    mine = receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=30)
    for value in range(3):
        sync.send_input(value, "r", key_prefix=CHANNEL)
        assert next(mine) == value
        server.restart()


async def test_a_return_of_the_broker_is_told_once_however_many_wait_for_it(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    mine = [receiver(f"r{i}") for i in range(200)]
    tasks = [asyncio.get_running_loop().create_task(each.next()) for each in mine]
    await send(0)
    await eventually_async(lambda: is_reading(server))
    server.kill()
    await eventually_async(lambda: "Trying again" in caplog.text)
    server.start()
    for i in range(200):
        await send(i, f"r{i}")
    assert [await task for task in tasks] == list(range(200))
    assert caplog.text.count("Trying again") <= 2
    assert caplog.text.count("is back") <= 2


async def test_other_data_in_place_of_what_was_there_is_received_from_its_first_message(server: Server) -> None:
    # Given a receiver that has come far
    with server.client() as client:
        client.config_set("appendonly", "no")
        await send(0)
        async with following(receiver(), 4) as got:
            await eventually_async(lambda: got and is_reading(server))
            # When the server comes back without its data, and with IDs that are behind the old ones
            (key,) = client.scan_iter("*}:r:*")
            ((_, fields),) = client.xrange(key)  # type: ignore[misc]
            with client.pipeline(transaction=True) as pipe:
                pipe.delete(key)
                for value in (1, 2):
                    fields[b"id"], fields[b"seq"] = f"00000000000000cc-{value}".encode(), b"%d" % value
                    fields[b"body"] = b"\x81\xa5value" + bytes([value])
                    pipe.xadd(key, fields, id=f"1000-{value}")
                pipe.execute()
            await eventually_async(lambda: len(got) == 3)
            await send(3)
    # Then it is all new
    assert got == [0, 1, 2, 3]


# --- held up --------------------------------------------------------------------------------------------------------


async def test_a_server_that_hangs_for_seconds_holds_up_no_deadline_and_doubles_nothing(server: Server) -> None:
    mine = receiver(timeout=0.4)
    await send(0)
    assert await mine.next() == 0
    with server.paused():
        sends = [send(value) for value in range(1, 300)]
        start = time.monotonic()
        for _ in range(5):
            with pytest.raises((TimeoutError, BrokerUnavailable)):
                await mine.next()
        fresh = receiver(timeout=0.4)
        with pytest.raises((TimeoutError, BrokerUnavailable)):
            await fresh.next()
        assert time.monotonic() - start < 10
    for each in sends:
        await each
    after = receiver()
    assert await take(after, 300) == list(range(300))
    mine._timeout = 30.0
    assert await take(mine, 299) == list(range(1, 300))


async def test_a_server_that_hangs_for_longer_than_a_send_may_take_stores_each_message_at_most_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given sends that are larger than what a server reads at once
    monkeypatch.setenv("FLOWCHAN_SEND_TIMEOUT", "0.7")
    monkeypatch.setenv("FLOWCHAN_CONNECT_TIMEOUT", "0.7")
    await send(0)
    unknown: list[int] = []
    with server.paused():
        sends = [send_input(bytes(2000), "bytes", key_prefix=CHANNEL) for _ in range(200)]
        with anyio.fail_after(20):
            for number, each in enumerate(sends):
                try:
                    await each
                except BrokerUnavailable:  # most of them SendOutcomeUnknown; a busy machine writes some too late
                    unknown.append(number)
    assert unknown == list(range(200))
    # When it goes on, with what it had not read yet still in its sockets
    with anyio.fail_after(20):
        while True:
            with contextlib.suppress(BrokerUnavailable):  # until it has been noticed that it does
                await send_input(b"end", "bytes", key_prefix=CHANNEL)
                break
    # Then no message is there twice
    with server.client() as client:
        (key,) = client.scan_iter("*}:bytes:*")
        ids = [fields[b"id"] for _, fields in client.xrange(key)]  # type: ignore[union-attr]
    assert len(ids) == len(set(ids))


async def test_a_network_that_swallows_everything_is_noticed_and_gone_round(
    shared_server: Server,
    make_proxy: Callable[[Path], Proxy],
    streams: Streams,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowchan.broker.dialler.REPLY_PATIENCE", 0.3)
    monkeypatch.setattr("flowchan.broker.lane._GRACE", 0.3)
    proxy = make_proxy(shared_server.socket)
    async with following(receiver(poll_interval=0.2), 60) as got:
        await send(0)
        await eventually_async(lambda: got)
        # Given connections that look well and are dead
        dead = proxy.connections
        proxy.swallow()
        # When sends and waits go on
        for value in range(1, 60):
            await send(value)
        assert proxy.connections > dead
    # Then all is there, once
    assert got == list(range(60))
    assert streams.values("r") == list(range(60))


async def test_a_broken_pipe_under_a_large_send_is_found_out(
    shared_server: Server, make_proxy: Callable[[Path], Proxy], streams: Streams
) -> None:
    proxy = make_proxy(shared_server.socket)
    await send(0)
    cut = iter([Fate.HALVE_REQUEST, Fate.LOSE_REQUEST, Fate.HALVE_REQUEST])
    proxy.fate = lambda data: next(cut, Fate.PASS) if len(data) > 10_000 else Fate.PASS
    sends = [send_input(bytes([value]) * 900_000, "bytes", key_prefix=CHANNEL) for value in range(10)]
    for each in sends:
        await each
    assert [value[0] for value in streams.values("bytes")] == list(range(10))
