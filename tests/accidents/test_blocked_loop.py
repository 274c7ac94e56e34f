"""An event loop held up by user code, as by ``input()``, while messages come: they are there afterwards, each once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest
import redis

from flowchan import flow, receive_input, send_input, sync
from tests.conftest import connections
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

POLL = 0.1
TIMEOUT = 0.4
LATE = 0.15

Receiver = Any


def receiver(run: str = "r", **options: Any) -> Receiver:
    options = {"timeout": TIMEOUT, "poll_interval": POLL, **options}
    return receive_input(int, flow_run_id=run, key_prefix=CHANNEL, **options)


def send_from_a_thread(values: Iterable[int], *runs: str) -> None:
    """As another process would: the loop that is held up has no part in it."""

    def send_all() -> None:
        for value in values:
            for run in runs or ("r",):
                sync.send_input(value, run, key_prefix=CHANNEL)

    thread = threading.Thread(target=send_all)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def hold_up_until(moment: float) -> None:
    """What ``input()`` does to a loop."""
    time.sleep(max(0.0, moment - time.monotonic()))


async def take(mine: Receiver, count: int) -> list[int]:
    return [await mine.next() for _ in range(count)]


async def read_up_to_here(mine: Receiver) -> None:
    """Connections are there, and the receiver is at the end of its stream."""
    await send_input(-1, "r", key_prefix=CHANNEL)
    assert await mine.next() == -1


async def assert_nothing_comes_twice(mine: Receiver, run: str = "r") -> None:
    """What comes next is what is sent next."""
    await send_input(99, run, key_prefix=CHANNEL)
    assert await mine.next() == 99


async def waiting(streams: Streams, *receivers: Receiver) -> list[asyncio.Task[int]]:
    """Tasks that wait, each a part of a read that is under way."""
    tasks = [asyncio.get_running_loop().create_task(each.next()) for each in receivers]
    await eventually_async(lambda: streams.groups() == len(receivers))
    return tasks


@pytest.mark.parametrize("late", [0.02, LATE], ids=["just past the deadline", "long past the deadline"])
@pytest.mark.parametrize("after", [0.0, 2 * POLL], ids=["into the read", "after the read"])
async def test_one_who_waited_all_the_while_gets_what_came(after: float, late: float, streams: Streams) -> None:
    async with receiver() as mine:
        await read_up_to_here(mine)
        # Given one who waits
        start = time.monotonic()
        (waiter,) = await waiting(streams, mine)
        # When messages come in time, but the loop is held up until the time is over
        hold_up_until(start + after)
        send_from_a_thread(range(3))
        hold_up_until(start + TIMEOUT + late)
        # Then they are there, and nobody is told that none came
        assert await waiter == 0
        assert await take(mine, 2) == [1, 2]
        await assert_nothing_comes_twice(mine)


@pytest.mark.parametrize("timeout", [0, POLL, None])
async def test_one_who_asks_afterwards_gets_what_came(timeout: float | None, streams: Streams) -> None:
    async with receiver(timeout=20) as other, receiver(timeout=timeout) as mine:
        await read_up_to_here(mine)
        assert await other.next() == -1
        (waiter,) = await waiting(streams, other)  # a read is under way
        start = time.monotonic()
        send_from_a_thread(range(3))
        hold_up_until(start + 3 * POLL)
        # All the ways to ask
        assert await mine.next() == 0
        assert await first_in_a_loop(mine) == 1
        assert await asyncio.get_running_loop().create_task(mine.next()) == 2
        assert [await waiter, *await take(other, 2)] == [0, 1, 2]
        await assert_nothing_comes_twice(mine)
        await assert_nothing_comes_twice(other)


async def first_in_a_loop(mine: Receiver) -> int:
    async for value in mine:
        return int(value)
    raise AssertionError


async def test_one_who_asks_afterwards_has_all_the_time_that_was_asked_for() -> None:
    async with receiver() as mine:
        await read_up_to_here(mine)
        # Given a loop that has not looked at its clock for longer than the wait may take
        hold_up_until(time.monotonic() + TIMEOUT + LATE)
        # When a message comes in the course of the wait
        asyncio.get_running_loop().call_later(TIMEOUT / 3, send_from_a_thread, [0])
        # Then it is waited for
        assert await mine.next() == 0


async def test_one_for_whom_nothing_came_is_still_told_so() -> None:
    async with receiver() as mine:
        await read_up_to_here(mine)
        task = asyncio.get_running_loop().create_task(mine.next())
        await asyncio.sleep(0)
        hold_up_until(time.monotonic() + TIMEOUT + LATE)
        with pytest.raises(TimeoutError):
            await task


async def test_many_receivers_get_what_came_each_its_own(streams: Streams) -> None:
    runs = [f"r{i}" for i in range(100)]
    receivers = [receiver(run, timeout=1.2) for run in runs]
    start = time.monotonic()
    tasks = await waiting(streams, *receivers)
    send_from_a_thread([0, 1], *runs)
    hold_up_until(start + 1.2 + LATE)
    assert [await task for task in tasks] == [0] * len(runs)
    assert [await each.next() for each in receivers] == [1] * len(runs)
    for each, run in zip(receivers, runs, strict=True):
        await assert_nothing_comes_twice(each, run)


async def test_many_that_wait_on_one_stream_all_get_what_came(streams: Streams) -> None:
    receivers = [receiver() for _ in range(50)]
    await read_up_to_here(receivers[0])
    start = time.monotonic()
    tasks = [asyncio.get_running_loop().create_task(take(each, 3)) for each in receivers[1:]]
    await eventually_async(streams.groups)
    send_from_a_thread([0, 1])
    hold_up_until(start + TIMEOUT + LATE)
    assert [await task for task in tasks] == [[-1, 0, 1]] * 49


async def test_somebody_elses_time_limit_takes_no_message_along(streams: Streams) -> None:
    async with receiver(timeout=20) as mine:
        await read_up_to_here(mine)
        task = asyncio.get_running_loop().create_task(asyncio.wait_for(mine.next(), TIMEOUT))
        await eventually_async(streams.groups)
        send_from_a_thread(range(3))
        hold_up_until(time.monotonic() + TIMEOUT + LATE)
        got: list[int] = []
        with contextlib.suppress(TimeoutError):
            got.append(await task)
        assert [*got, *await take(mine, 3 - len(got))] == [0, 1, 2]


async def test_a_blocking_call_on_the_loops_thread_holds_it_up_and_nothing_else(streams: Streams) -> None:
    async with receiver() as mine:
        await read_up_to_here(mine)
        (waiter,) = await waiting(streams, mine)

        @flow
        def held_up() -> int:
            with receiver("other", timeout=20) as inner:
                threading.Timer(TIMEOUT + LATE, send_from_a_thread, ([7], "r", "other")).start()
                return next(inner)

        assert held_up() == 7
        assert await waiter == 7


async def test_a_loop_held_up_past_every_patience_keeps_its_connections(
    client: redis.Redis, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowchan.broker.lane._GRACE", 1.0)
    monkeypatch.setattr("flowchan.broker.dialler.REPLY_PATIENCE", 1.0)
    async with receiver(timeout=20) as mine:
        await read_up_to_here(mine)
        (waiter,) = await waiting(streams, mine)
        # The group is made by another connection, maybe before the one that reads is there.
        await eventually_async(lambda: any("b" in each["flags"] for each in connections(client)), "the read")
        before = {each["id"] for each in connections(client)}
        unawaited = send_input(0, "r", key_prefix=CHANNEL)
        hold_up_until(time.monotonic() + POLL + 1.2)
        assert await waiter == 0
        await unawaited
        await assert_nothing_comes_twice(mine)
        assert {each["id"] for each in connections(client)} == before
