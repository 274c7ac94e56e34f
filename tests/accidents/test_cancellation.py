"""Waits that are cancelled, at any moment and under load: nothing is lost, nothing comes twice, the order is kept."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from flowchan import receive_input, send_input
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

TIMES = 10_000
TURNS = 12
"""Turns of the loop that a wait may get: fewer than a message takes, and more."""
LONGEST = 0.001
"""Seconds that a wait with a time limit may get, likewise."""
AHEAD = 8
THE_END = -1

Receiver = Any


def receiver(run: str = "r", **options: Any) -> Receiver:
    return receive_input(int, flow_run_id=run, key_prefix=CHANNEL, **{"timeout": 20, **options})


async def send(value: int, run: str = "r") -> str:
    return (await send_input(value, run, key_prefix=CHANNEL)).key


@asynccontextmanager
async def numbers_sent(
    got: list[Any], send: Callable[[int], Awaitable[Any]] = send
) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Sends numbers all the while; what it gives ends that with THE_END, and tells how many there were.

    Never far ahead of what was got: where there is always a message to be had, there is no wait to cancel.
    """
    count = 0
    is_enough = False

    async def send_numbers() -> None:
        nonlocal count
        while not is_enough:
            if count - len(got) < AHEAD:
                await send(count)
                count += 1
            else:
                await asyncio.sleep(0)
        await send(THE_END)

    sender = asyncio.get_running_loop().create_task(send_numbers())

    async def end() -> int:
        nonlocal is_enough
        is_enough = True
        await sender
        return count

    try:
        yield end
    finally:
        await end()


def expected(count: int) -> list[int]:
    return [*range(count), THE_END]


async def up_to_the_end(mine: Receiver, got: list[int]) -> list[int]:
    while THE_END not in got[-1:]:
        got.append(await mine.next())
    return got


async def cancelled_at_random(waiting: asyncio.Task[Any], chance: random.Random) -> bool:
    """Whether a task was cancelled; it has some turns of the loop to end by itself."""
    for _ in range(chance.randrange(TURNS)):
        if waiting.done():
            break
        await asyncio.sleep(0)
    was_asked_to = waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled() == was_asked_to, "a wait that is cancelled ends at once, and as cancelled"
    return was_asked_to


async def one(mine: Receiver, got: list[int]) -> None:
    got.append(await mine.next())


async def all_that_come(mine: Receiver, got: list[int]) -> None:
    async for value in mine:
        got.append(value)
        await asyncio.sleep(0)  # a place to be cancelled at that is not in the receiver


@pytest.mark.parametrize("wait, times", [(one, TIMES), (all_that_come, TIMES // 4)])
async def test_a_receiver_cancelled_ten_thousand_times_under_load_misses_and_repeats_nothing(
    wait: Callable[[Receiver, list[int]], Awaitable[None]], times: int
) -> None:
    chance, loop = random.Random(1), asyncio.get_running_loop()
    got: list[int] = []
    async with receiver() as mine, numbers_sent(got) as enough:
        cancelled = 0
        while cancelled < times:
            cancelled += await cancelled_at_random(loop.create_task(wait(mine, got)), chance)
        assert len(got) > times / 100, "there was no load"
        count = await enough()
        assert await up_to_the_end(mine, got) == expected(count)


async def test_those_who_wait_on_get_what_others_were_woken_for_when_they_were_cancelled() -> None:
    chance, loop = random.Random(2), asyncio.get_running_loop()
    got: list[int] = []
    async with receiver() as mine, numbers_sent(got) as enough:
        waiting = {loop.create_task(one(mine, got)) for _ in range(4)}
        cancelled = 0
        while cancelled < TIMES / 4:
            unlucky = chance.choice(list(waiting))
            cancelled += await cancelled_at_random(unlucky, chance)
            waiting = {task for task in waiting if not task.done()}
            waiting |= {loop.create_task(one(mine, got)) for _ in range(4 - len(waiting))}
        count = await enough()
        # What is still to come goes to one of those who wait, as long as one does.
        while THE_END not in got:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            waiting = {task for task in waiting if not task.done()} or {loop.create_task(one(mine, got))}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert got == expected(count)


async def by_timeout(mine: Receiver, got: list[int], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        got.append(await mine.next())


async def by_wait_for(mine: Receiver, got: list[int], seconds: float) -> None:
    got.append(await asyncio.wait_for(mine.next(), seconds))


async def by_cancel_scope(mine: Receiver, got: list[int], seconds: float) -> None:
    with anyio.fail_after(seconds):
        got.append(await mine.next())


@pytest.mark.parametrize("limited", [by_timeout, by_wait_for, by_cancel_scope])
async def test_a_wait_with_somebody_elses_time_limit_misses_and_repeats_nothing(
    limited: Callable[[Receiver, list[int], float], Awaitable[None]],
) -> None:
    chance = random.Random(3)
    got: list[int] = []
    cut_short = 0
    async with receiver() as mine, numbers_sent(got) as enough:
        while cut_short < TIMES // 100:
            try:
                await limited(mine, got, max(0, chance.uniform(-LONGEST, LONGEST)))
            except TimeoutError:
                cut_short += 1
        count = await enough()
        assert await up_to_the_end(mine, got) == expected(count)


@pytest.mark.parametrize("excluded", [0, 20, 1000])
async def test_a_replay_cancelled_at_random_gets_on_and_misses_and_repeats_nothing(excluded: int) -> None:
    chance, loop = random.Random(4), asyncio.get_running_loop()
    known = [await each for each in [send(value) for value in range(2000)]][:excluded]
    expected = list(range(excluded, 2000))
    for _ in range(5):
        got: list[int] = []
        async with receiver(exclude_keys=known) as mine:
            for _ in range(TIMES):
                await cancelled_at_random(loop.create_task(all_that_come(mine, got)), chance)
                if len(got) >= len(expected):
                    break
        assert got == expected


async def test_a_receiver_of_several_channels_cancelled_at_random_misses_and_repeats_nothing() -> None:
    chance, loop = random.Random(5), asyncio.get_running_loop()
    got: list[int | str] = []

    async def send_either(value: int) -> None:
        await send_input(value if value % 2 else str(value), "r")

    async with receive_input(int | str, flow_run_id="r", timeout=20) as mine, numbers_sent(got, send_either) as enough:
        cancelled = 0
        while cancelled < TIMES / 4:
            cancelled += await cancelled_at_random(loop.create_task(one(mine, got)), chance)  # type: ignore[arg-type]
        count = await enough()
        while len(got) <= count:
            got.append(await mine.next())
    # Two channels keep their order each, and among each other to the millisecond.
    assert [each for each in got if isinstance(each, int)] == [*range(1, count, 2), THE_END]
    assert [each for each in got if isinstance(each, str)] == [str(value) for value in range(0, count, 2)]


async def test_a_receiver_whose_task_is_cancelled_anywhere_leaves_nothing_in_the_broker(streams: Streams) -> None:
    chance, loop = random.Random(6), asyncio.get_running_loop()

    async def whole_life(run: str) -> None:
        async with receiver(run) as mine:
            await mine.next()

    for number in range(500):
        task = loop.create_task(whole_life(f"r{number % 7}"))
        if number % 3 == 0:
            await send(number, f"r{number % 7}")
        await cancelled_at_random(task, chance)
    await eventually_async(lambda: not streams.groups(), "the end of the groups")
