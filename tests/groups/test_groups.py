"""Receivers with a group: a position that outlives them, work that is shared, and nothing of it lost."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis

from flowchan import open_run, receive_input, send_input, sync
from flowchan.channels import Channels
from flowchan.errors import InvalidKeyError
from tests.support import programs
from tests.support.groups import GROUP, LEASE, RUN, all_of, consumers, idle, pending, receiver, send
from tests.support.proxy import Fate, Proxy, losing
from tests.support.server import Server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually, eventually_async

pytestmark = pytest.mark.anyio

# --- sharing --------------------------------------------------------------------------------------------


async def test_receivers_of_a_group_share_the_messages() -> None:
    send(*range(10))
    one, other = receiver(), receiver()

    got = [await one.next(), await other.next(), await one.next(), await other.next()]

    assert sorted([*got, *await all_of(one), *await all_of(other)]) == list(range(10))
    assert got == [0, 1, 2, 3]


async def test_groups_do_not_take_each_other_s_messages() -> None:
    send(1, 2, 3)

    assert await all_of(receiver("shop")) == [1, 2, 3]
    assert await all_of(receiver("store")) == [1, 2, 3]
    assert await all_of(
        receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=0, raise_timeout_error=False)
    ) == [
        1,
        2,
        3,
    ]


async def test_a_group_s_position_outlives_its_receivers() -> None:
    send(1, 2, 3)
    async with receiver() as first:
        assert await first.next() == 1
        assert await first.next() == 2
        await first.ack()

    assert await all_of(receiver()) == [3]


async def test_a_message_is_pushed_to_one_who_waits() -> None:
    async with receiver(timeout=20) as mine:
        waiting = asyncio.ensure_future(mine.next())
        await anyio.wait_all_tasks_blocked()
        await send_input(1, "r", key_prefix=CHANNEL)

        assert await waiting == 1


async def test_each_message_goes_to_one_of_many_who_wait() -> None:
    receivers = [receiver(timeout=20) for _ in range(20)]
    waiting = [asyncio.ensure_future(each.next()) for each in receivers]
    await anyio.wait_all_tasks_blocked()

    for number in range(20):
        send_input(number, "r", key_prefix=CHANNEL)

    assert sorted(await asyncio.gather(*waiting)) == list(range(20))


async def test_two_waits_on_one_receiver_get_two_messages() -> None:
    async with receiver(timeout=20) as mine:
        waiting = [asyncio.ensure_future(mine.next()) for _ in range(2)]
        await anyio.wait_all_tasks_blocked()
        send(1, 2)

        assert sorted(await asyncio.gather(*waiting)) == [1, 2]


async def test_a_union_s_channels_are_all_worked_on() -> None:
    async with open_run("r"):
        await send_input("text", "r")
        await send_input(3, "r")
        mine = receive_input(int | str, group="shop", timeout=0, raise_timeout_error=False)

        assert sorted([value async for value in mine], key=str) == [3, "text"]


# --- acknowledging --------------------------------------------------------------------------------------


async def test_asking_for_the_next_message_acknowledges_the_last(streams: Streams) -> None:
    send(1, 2)
    async with receiver() as mine:
        await mine.next()
        assert pending(streams) == 1
        await mine.next()
        await eventually_async(lambda: pending(streams) == 1)
        await mine.ack()
        assert pending(streams) == 0


async def test_a_task_that_asks_does_not_acknowledge_what_another_works_on(streams: Streams) -> None:
    send(1, 2, 3)
    async with receiver() as mine:
        working, may_end = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            await mine.next()
            working.set()
            await may_end.wait()
            await mine.ack()

        task = asyncio.ensure_future(work())
        await working.wait()
        await mine.next()
        await mine.next()
        await mine.ack()
        assert pending(streams) == 1

        may_end.set()
        await task
        assert pending(streams) == 0


async def test_what_was_not_acknowledged_comes_again_when_its_receiver_is_closed(
    streams: Streams, client: redis.Redis
) -> None:
    send(1, 2)

    async def works_badly() -> None:
        async with receiver() as first:
            await first.next()
            client.script_flush()  # as on a server that nothing was given back on
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await works_badly()
    assert idle(streams) > 10_000

    again: Any = receiver(with_metadata=True)
    got = [(message.value, message.metadata.delivery_count) async for message in again]
    assert sorted(got) == [(1, 2), (2, 1)]


def test_without_a_group_there_is_nothing_to_acknowledge() -> None:
    with pytest.raises(RuntimeError, match="group"):
        receive_input(int, flow_run_id="r").ack()


async def test_excluded_messages_are_passed_over_and_done_with(streams: Streams) -> None:
    send(1)
    key = (await send_input(2, "r", key_prefix=CHANNEL)).key
    send(3)

    assert await all_of(receiver(exclude_keys=[key])) == [1, 3]
    await eventually_async(lambda: pending(streams) == 0)


# --- who is gone ----------------------------------------------------------------------------------------

WORKER = f"""
import sys
from flowchan import receive_input, sync
mine = receive_input(int, group="shop", timeout=20, key_prefix="{CHANNEL}", flow_run_id="r")
print(mine.next(), flush=True)
sys.stdin.readline()
"""


@pytest.mark.usefixtures("short_lease")
async def test_a_killed_receiver_s_message_comes_to_another() -> None:
    send(1)
    with programs.running(WORKER) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "1\n"
        worker.kill()
        worker.wait()

        again: Any = receiver(timeout=20, with_metadata=True)
        message = await again.next()

        assert (message.value, message.metadata.delivery_count) == (1, 2)
        again.close()


@pytest.mark.usefixtures("short_lease")
async def test_a_message_is_its_worker_s_however_long_the_work_blocks_its_loop(streams: Streams) -> None:
    send(1)
    async with receiver(timeout=20) as mine:
        await mine.next()
        other = receiver(timeout=3.5 * LEASE, raise_timeout_error=True)
        outcome: list[BaseException] = []

        def wait_for_it() -> None:
            try:
                with other:
                    next(other)
            except BaseException as error:  # noqa: BLE001 - looked at below
                outcome.append(error)

        thread = threading.Thread(target=wait_for_it)
        thread.start()
        thread.join()  # holds up this loop

        assert isinstance(outcome[0], TimeoutError)
        await mine.ack()
        assert pending(streams) == 0


@pytest.mark.usefixtures("short_lease")
async def test_consumers_of_the_dead_do_not_gather(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "0.05")
    send(1)
    for _ in range(3):
        assert await all_of(receiver()) in ([1], [])

    async with receiver(timeout=20) as mine:
        waiting = asyncio.ensure_future(mine.next())
        await eventually_async(lambda: len(consumers(streams)) <= 2)
        waiting.cancel()


# --- what cannot be had ---------------------------------------------------------------------------------


def test_a_group_that_can_be_none_is_told() -> None:
    for name in ("", "a b", "x" * 129, "flowchan-mine", "{a}"):
        with pytest.raises(InvalidKeyError):
            receive_input(int, flow_run_id="r", group=name)


def test_a_group_has_its_own_position() -> None:
    with pytest.raises(ValueError, match="after"):
        receive_input(int, flow_run_id="r", group="shop", after="key")


# --- time -----------------------------------------------------------------------------------------------


async def test_no_message_in_time_is_a_timeout_and_the_receiver_goes_on() -> None:
    async with receiver(timeout=0.05, raise_timeout_error=True) as mine:
        with pytest.raises(TimeoutError):
            await mine.next()
        send(1)
        assert await mine.next() == 1


async def test_a_cancelled_wait_loses_nothing() -> None:
    async with receiver(timeout=20) as mine:
        got = []
        for number in range(200):
            waiting = asyncio.ensure_future(mine.next())
            sending = asyncio.ensure_future(send_input(number, "r", key_prefix=CHANNEL))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                got.append(await waiting)
            await sending
        while len(got) < 200:
            got.append(await mine.next())

    assert sorted(got) == list(range(200))


# --- sync code ------------------------------------------------------------------------------------------


def test_threads_share_the_work_of_one_receiver_each_with_its_own(streams: Streams) -> None:
    send(*range(100))
    got: list[int] = []
    with receiver() as mine:

        def work() -> None:
            got.extend(mine)

        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(got) == list(range(100))
    eventually(lambda: pending(streams) == 0)


def test_sync_code_acknowledges(streams: Streams) -> None:
    send(1, 2)
    mine = sync.receive_input(int, group="shop", timeout=0, key_prefix=CHANNEL, flow_run_id="r")
    with mine:
        assert mine.next() == 1
        mine.ack()
        assert pending(streams) == 0


# --- accidents ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_lease")
async def test_who_hears_of_its_message_when_its_lease_is_over_leaves_it_to_whom_it_was_given(
    server: Server, make_proxy: Callable[[Path], Proxy], namespace: str
) -> None:
    # Given a receiver that has asked, and does not hear the answer
    send(0)
    proxy = make_proxy(server.socket)
    held_up = receiver(timeout=4 * LEASE)
    assert await held_up.next() == 0
    await held_up.ack()
    send(1)

    def fate(request: bytes) -> Fate:
        if b"EVALSHA" in request:
            proxy.hold_replies()
        return Fate.PASS

    proxy.fate = fate
    asking = asyncio.ensure_future(held_up.next())
    # When another one is given the message meanwhile
    async with Channels(url=server.url).receive_input(
        int, group=GROUP, flow_run_id=RUN, key_prefix=CHANNEL, timeout=20, with_metadata=True
    ) as other:
        with server.client() as client:
            await eventually_async(lambda: pending(Streams(client, namespace)) == 1, "its message")
        message = await other.next()
        assert (message.value, message.metadata.delivery_count) == (1, 2)
        proxy.fate = lambda _: Fate.PASS
        proxy.release_replies()
        # Then the first one is not
        with pytest.raises(TimeoutError):
            await asking
        held_up.close()


@pytest.mark.usefixtures("short_lease")
async def test_nothing_is_lost_where_replies_are(server: Server, make_proxy: Callable[[Path], Proxy]) -> None:
    proxy = make_proxy(server.socket)
    async with receiver(timeout=20) as mine:
        send(*range(60))
        proxy.fate = losing(b"EVALSHA", b"XACK", fates={1: Fate.LOSE_REPLY, 3: Fate.LOSE_REQUEST}, of=4)
        got = [await mine.next() for _ in range(60)]
        proxy.fate = lambda _: Fate.PASS

    assert set(got) == set(range(60))
    assert proxy.cuts > 10


@pytest.mark.usefixtures("short_lease")
async def test_a_killed_server_that_comes_back_goes_on_with_the_group(
    make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server("--appendfsync", "always")
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    send(*range(10))
    async with receiver(timeout=20) as mine:
        first = [await mine.next() for _ in range(5)]
        await mine.ack()
        server.restart()
        rest = [await mine.next() for _ in range(5)]

    assert sorted({*first, *rest}) == list(range(10))
    assert first == [0, 1, 2, 3, 4]


async def test_a_deleted_stream_begins_anew(streams: Streams) -> None:
    send(1)
    async with receiver(timeout=20) as mine:
        assert await mine.next() == 1
        waiting = asyncio.ensure_future(mine.next())
        await anyio.wait_all_tasks_blocked()
        streams.client.delete(streams.key("r"))
        send(2)
        assert await waiting == 2


async def test_a_thousand_idle_groups_have_few_connections(streams: Streams) -> None:
    receivers = [receive_input(int, group="main", timeout=30, flow_run_id=f"run-{number}") for number in range(300)]
    waiting = [asyncio.ensure_future(each.next()) for each in receivers]
    await anyio.wait_all_tasks_blocked()
    for number in range(300):
        send_input(number, f"run-{number}")

    assert await asyncio.gather(*waiting) == list(range(300))
    assert len([each for each in streams.client.client_list() if each["name"].startswith("flowchan")]) < 20
    for each in receivers:
        each.close()
