"""Who works on a message, and what becomes of it when that one ends: tasks, threads, processes."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

import pytest

from flowchan import sync
from flowchan.input import InputReceiver
from tests.support import programs
from tests.support.groups import GROUP, LEASE, RUN, consumers, pending, receiver, send
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import PATIENCE, eventually, eventually_async

pytestmark = pytest.mark.anyio


# --- tasks and threads ----------------------------------------------------------------------------------


async def test_who_has_a_task_wait_for_it_acknowledges_what_came(streams: Streams) -> None:
    send(*range(20))
    async with receiver(timeout=20) as mine:
        for number in range(10):
            assert await asyncio.wait_for(mine.next(), 20) == number
            assert pending(streams) == 1
            await mine.ack()
            assert pending(streams) == 0
        for number in range(10, 20):
            assert await asyncio.wait_for(anext(mine), 20) == number
        await mine.ack()
        await eventually_async(lambda: pending(streams) == 0)


async def test_an_acknowledgement_need_not_be_awaited(streams: Streams) -> None:
    send(1)
    async with receiver() as mine:
        await mine.next()
        mine.ack()
        await eventually_async(lambda: pending(streams) == 0)


async def test_several_that_one_asked_for_at_once_are_acknowledged_together(streams: Streams) -> None:
    send(*range(5))
    async with receiver(timeout=20) as mine:
        got = await asyncio.gather(*(mine.next() for _ in range(5)))
        assert sorted(got) == list(range(5))
        assert pending(streams) == 5
        await mine.ack()
        assert pending(streams) == 0


async def test_sync_code_on_a_loop_acknowledges(streams: Streams) -> None:
    send(*range(3))
    with sync.receive_input(int, flow_run_id=RUN, key_prefix=CHANNEL, group=GROUP, timeout=0) as mine:
        for number in range(3):
            assert mine.next() == number
            assert pending(streams) == 1
            mine.ack()
            assert pending(streams) == 0


async def test_what_sync_code_was_handed_async_code_may_acknowledge(streams: Streams) -> None:
    send(1)
    with sync.receive_input(int, flow_run_id=RUN, key_prefix=CHANNEL, group=GROUP, timeout=0) as mine:
        assert mine.next() == 1
        await InputReceiver.ack(mine)
        assert pending(streams) == 0


@pytest.mark.usefixtures("short_lease")
async def test_what_a_task_leaves_undone_comes_to_another() -> None:
    send(*range(40))
    failed, done = [], []

    async def work(mine: Any) -> None:
        message = await mine.next()
        if message.metadata.delivery_count == 1 and message.value % 2:
            failed.append(message.value)
            raise ZeroDivisionError
        done.append(message.value)
        await mine.ack()

    async with receiver(timeout=3 * LEASE, with_metadata=True) as mine:
        # One after the other, so that a new task is likely to get the place in memory that an old one had.
        for _ in range(60):
            task = asyncio.ensure_future(work(mine))
            await asyncio.wait([task])
            task.exception()
            del task

    assert failed == list(range(1, 40, 2))
    assert sorted(done) == list(range(40))


@pytest.mark.usefixtures("short_lease")
def test_what_a_thread_leaves_undone_comes_to_another() -> None:
    send(1)
    with receiver(timeout=20, with_metadata=True) as mine:
        thread = threading.Thread(target=mine.next)
        thread.start()
        thread.join()

        message: Any = next(mine)
        assert (message.value, message.metadata.delivery_count) == (1, 2)


# --- processes ------------------------------------------------------------------------------------------

WORKER = f"""
import random, sys, time
from flowchan import receive_input
with receive_input(
    int, timeout=4, group="{GROUP}", key_prefix="{CHANNEL}", flow_run_id="{RUN}", raise_timeout_error=False,
    with_metadata=True,
) as numbers:
    for number in numbers:
        print("begun", number.value, number.metadata.delivery_count, flush=True)
        time.sleep(random.uniform(0, 0.01))
        print("done", number.value, number.metadata.delivery_count, flush=True)
"""


@pytest.mark.usefixtures("short_lease")
async def test_workers_that_are_killed_lose_nothing(streams: Streams) -> None:
    send(*range(400))
    lines: list[list[str]] = []

    def work(kills: bool) -> None:
        with programs.running(WORKER) as worker:
            assert worker.stdout is not None
            mine = []
            for line in worker.stdout:
                mine.append(line)
                if kills and len(mine) > 2 * 15 and random.random() < 0.1:
                    worker.kill()
                    break
            mine += worker.stdout.read().splitlines()
            lines.append(mine)

    rounds = [threading.Thread(target=work, args=(kills,)) for kills in (True, True, True, False)]
    for thread in rounds:
        thread.start()
    for thread in rounds:
        await asyncio.to_thread(thread.join)

    told = [line.split() for part in lines for line in part if len(line.split()) == 3]
    counts: dict[int, list[int]] = {}
    for what, number, count in told:
        if what == "begun":
            counts.setdefault(int(number), []).append(int(count))
    assert {int(number) for what, number, _ in told if what == "done"} == set(range(400))
    # Who was killed may have been handed one and not have said so.
    assert all(sorted(set(each)) == sorted(each) for each in counts.values()), "a count was given twice"
    assert sum(max(each) - 1 for each in counts.values()) <= 3 * 2
    await eventually_async(lambda: pending(streams) == 0)


# --- consumers of the dead ------------------------------------------------------------------------------


async def test_two_who_remove_the_consumers_of_the_dead_at_once_remove_no_others(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: many consumers that are gone, one of which has left a message; the lease is over twenty times.
    monkeypatch.setenv("FLOWCHAN_LEASE", "0.05")
    key = streams.key(RUN)
    send(1)
    streams.client.xgroup_create(key, GROUP, 0)
    for number in range(50):
        streams.client.xgroup_createconsumer(key, GROUP, f"gone-{number}")
    streams.client.xreadgroup(GROUP, "gone-7", {key: ">"})

    def longest() -> int:
        found: Any = streams.client.xinfo_consumers(key, GROUP)
        return min(int(each["idle"]) for each in found)

    await eventually_async(lambda: longest() > 20 * 50)

    # When: receivers come at once.
    receivers = [receiver(timeout=20, with_metadata=True) for _ in range(5)]
    waiting = [asyncio.ensure_future(each.next()) for each in receivers]
    (first, *_), _ = await asyncio.wait(waiting, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)

    # Then: the message is there, once more, and what is left are theirs.
    assert (first.result().value, first.result().metadata.delivery_count) == (1, 2)
    await eventually_async(lambda: not any(name.startswith("gone-") for name in consumers(streams)))
    await receivers[waiting.index(first)].ack()
    send(2)
    done, _ = await asyncio.wait({*waiting} - {first}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    assert [each.result().value for each in done] == [2]
    for each in waiting:
        each.cancel()
    for mine in receivers:
        mine.close()


async def test_a_consumer_that_waits_is_none_of_the_dead(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "0.02")
    async with receiver(timeout=20) as one, receiver(timeout=20) as other:
        waiting = [asyncio.ensure_future(each.next()) for each in (one, other)]
        await eventually_async(lambda: len(consumers(streams)) == 2)
        names, end = consumers(streams), time.monotonic() + 40 * 0.02
        await eventually_async(lambda: consumers(streams) != names or time.monotonic() > end)
        assert consumers(streams) == names
        for each in waiting:
            each.cancel()


def test_who_waits_hears_of_a_message_whose_consumer_was_removed_meanwhile(streams: Streams) -> None:
    with receiver(timeout=20) as mine:
        got: list[int] = []
        thread = threading.Thread(target=lambda: got.append(next(mine)))
        thread.start()
        eventually(lambda: consumers(streams))
        (name,) = consumers(streams)
        streams.client.xgroup_delconsumer(streams.key(RUN), GROUP, name)
        send(1)
        thread.join()
        assert got == [1]
