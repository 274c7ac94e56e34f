"""How long to wait, and where to begin."""

from __future__ import annotations

import pytest

from flowchan import open_run, receive_input, send_input

pytestmark = pytest.mark.anyio


async def test_who_waits_too_long_gets_a_timeout() -> None:
    async with open_run():
        with pytest.raises(TimeoutError):
            await receive_input(str, timeout=0.05).next()


async def test_a_receiver_can_go_on_after_a_timeout() -> None:
    async with open_run() as run:
        receiver = receive_input(str, timeout=0.05)
        with pytest.raises(TimeoutError):
            await receiver.next()

        await send_input("late", run.id)
        receiver = receive_input(str, timeout=30)
        assert await receiver.next() == "late"


async def test_a_loop_raises_the_timeout_too() -> None:
    seen = []

    async def receive_all() -> None:
        async for name in receive_input(str, flow_run_id="run", timeout=0.05):
            seen.append(name)  # noqa: PERF401 - what was seen before the error counts

    await send_input("andrew", "run")
    with pytest.raises(TimeoutError):
        await receive_all()

    assert seen == ["andrew"]


async def test_or_it_just_ends() -> None:
    await send_input("andrew", "run")

    receiver = receive_input(str, flow_run_id="run", timeout=0.05, raise_timeout_error=False)

    assert [name async for name in receiver] == ["andrew"]


async def test_a_timeout_of_zero_takes_what_is_there_already() -> None:
    for number in range(200):
        send_input(number, "run")
    await send_input(200, "run")

    receiver = receive_input(int, flow_run_id="run", timeout=0, raise_timeout_error=False)

    assert [number async for number in receiver] == list(range(201))


async def test_messages_that_were_seen_can_be_excluded_by_their_keys() -> None:
    keys = [(await send_input(number, "run")).key for number in range(5)]

    receiver = receive_input(int, flow_run_id="run", exclude_keys={keys[1], keys[3]}, timeout=0)

    assert [await receiver.next() for _ in range(3)] == [0, 2, 4]


async def test_or_one_key_says_behind_what_to_begin() -> None:
    keys = [(await send_input(number, "run")).key for number in range(5)]

    receiver = receive_input(int, flow_run_id="run", after=keys[2], timeout=0)

    assert [await receiver.next() for _ in range(2)] == [3, 4]


async def test_a_send_that_is_repeated_under_one_idempotency_key_is_stored_once() -> None:
    first = await send_input("pay 10", "run", idempotency_key="order-4711")
    again = await send_input("pay 10", "run", idempotency_key="order-4711")

    assert again.key == first.key
    receiver = receive_input(str, flow_run_id="run", timeout=0, raise_timeout_error=False)
    assert [order async for order in receiver] == ["pay 10"]
