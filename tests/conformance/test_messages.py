"""Messages: each arrives, as what it was, once and in order, for as many as want it."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import anyio
import pytest
from pydantic import BaseModel, ValidationError

from flowchan import Channels, RunInput, open_run, receive_input, send_input, sync
from flowchan.errors import ChannelFull, MessageTooLarge, SendQueueFull
from flowchan.input import InputReceiver
from tests.support.conversation import converse
from tests.support.places import Place
from tests.support.waiting import eventually_async, waiters

pytestmark = pytest.mark.anyio

RUNS = [f"run-{number}" for number in range(12)]
"""Enough for each node of a Cluster to have some."""
LARGE = 5 * 1024 * 1024


class Order(BaseModel):
    item: str
    price: Decimal


class Shirt(RunInput):
    size: int


@dataclass
class Point:
    x: float


def numbers(run: str = "run", **options: Any) -> InputReceiver[int]:
    return receive_input(int, flow_run_id=run, **{"timeout": 20, **options})


async def all_of(receiver: InputReceiver[Any]) -> list[Any]:
    return [value async for value in receiver]


def quietly(run: str = "run", **options: Any) -> InputReceiver[int]:
    """A receiver of what is there, and no more."""
    return numbers(run, timeout=0, raise_timeout_error=False, **options)


async def test_runs_converse() -> None:
    await converse((f"asks-{run}", run) for run in RUNS)


async def test_what_was_sent_before_anybody_listened_is_there_in_order_though_no_send_was_awaited() -> None:
    for value in range(50):
        for run in RUNS:
            send_input(value, run)

    for run in RUNS:
        async with numbers(run) as receiver:
            assert [await receiver.next() for _ in range(50)] == list(range(50))


async def test_each_of_many_who_wait_hears_of_each_message_without_looking_for_it() -> None:
    receivers = [numbers(run, poll_interval=60) for run in RUNS[:4] for _ in range(3)]
    heard: list[list[int]] = []

    async def hear(receiver: InputReceiver[int]) -> None:
        async with receiver:
            heard.append([await receiver.next() for _ in range(2)])

    async with anyio.create_task_group() as tasks:
        for receiver in receivers:
            tasks.start_soon(hear, receiver)
        await eventually_async(lambda: all(map(waiters, receivers)), "the waits")
        for value in (1, 2):
            for run in RUNS[:4]:
                await send_input(value, run)

    assert heard == [[1, 2]] * len(receivers)


@pytest.mark.parametrize(
    "kind, value",
    [
        (str, "ä\0€"),
        (float, 0.1),
        (bytes, bytes(range(256))),
        (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        (list[tuple[str, int | None]], [("a", 1), ("b", None)]),
        (dict[int, set[UUID]], {1: {UUID(int=1)}}),
        (Shirt, Shirt(size=3)),
        (Point, Point(0.5)),
    ],
    ids=["str", "float", "bytes", "datetime", "list", "dict", "run-input", "dataclass"],
)
async def test_a_value_comes_as_what_it_was(kind: Any, value: Any) -> None:
    await send_input(value, "run", key_prefix="values")

    received = await receive_input(kind, flow_run_id="run", key_prefix="values", timeout=20).next()

    assert (type(received), received) == (type(value), value)


async def test_a_model_comes_with_who_sent_it() -> None:
    async with open_run("shop"):
        await send_input(Order(item="shirt", price=Decimal("9.90")), "run")

    order: Any = await receive_input(Order, flow_run_id="run", timeout=20).next()

    assert isinstance(order, Order)
    assert (order.item, order.price, order.metadata.sender) == ("shirt", Decimal("9.90"), "flowchan.flow-run.shop")


async def test_a_type_has_a_channel_and_so_has_a_name() -> None:
    await send_input("text", "run")
    await send_input(1, "run")
    await send_input(2, "run", key_prefix="named")

    assert await all_of(quietly()) == [1]
    assert await all_of(quietly(key_prefix="named")) == [2]


async def test_who_has_seen_a_message_leaves_it_out_or_begins_behind_it() -> None:
    keys = [(await send_input(value, "run")).key for value in range(4)]

    assert await all_of(quietly()) == [0, 1, 2, 3]
    assert await all_of(quietly(exclude_keys={keys[0], keys[2]})) == [1, 3]
    assert await all_of(quietly(after=keys[1])) == [2, 3]


async def test_a_wait_ends_in_time_and_the_receiver_goes_on() -> None:
    async with numbers(timeout=0.05) as receiver:
        with pytest.raises(TimeoutError):
            await receiver.next()
        await send_input(1, "run")
        assert await receiver.next() == 1


async def test_a_message_that_does_not_fit_is_told_once() -> None:
    for value in ("many", 2):
        await send_input(value, "run", key_prefix="numbers")

    async with numbers(key_prefix="numbers") as receiver:
        with pytest.raises(ValidationError):
            await receiver.next()
        assert await receiver.next() == 2


async def test_a_message_with_an_idempotency_key_is_stored_once_whoever_sends_it() -> None:
    first = await send_input(1, "run", idempotency_key="order-7")
    again = await send_input(1, "run", idempotency_key="order-7")
    others = await Channels(send_timeout=20).send_input(1, "run", idempotency_key="order-7")
    await send_input(2, "run", idempotency_key="order-8")

    assert again.key == others.key == first.key
    assert await all_of(quietly()) == [1, 2]


async def test_a_large_message_arrives_and_one_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_MAX_MESSAGE_BYTES", str(LARGE + 100))
    body = os.urandom(LARGE)

    await send_input(body, "run", key_prefix="bodies")
    with pytest.raises(MessageTooLarge):
        await send_input(bytes(LARGE + 101), "run", key_prefix="bodies")
    await send_input(b"small", "run", key_prefix="bodies")

    async with receive_input(bytes, flow_run_id="run", key_prefix="bodies", timeout=20) as bodies:
        assert [await bodies.next() for _ in range(2)] == [body, b"small"]


async def test_so_many_sends_may_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_MAX_PENDING", "10")

    await send_input(0, RUNS[0])
    waiting: list[Any] = []
    with pytest.raises(SendQueueFull):
        waiting.extend(send_input(value, run) for value in range(4) for run in RUNS)
    assert len(waiting) == 10
    for each in waiting:
        await each
    await send_input(1, RUNS[0])

    assert await all_of(quietly(RUNS[0])) == [0, 0, 1]


async def test_a_channel_takes_no_more_than_it_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_MAX_CHANNEL_LENGTH", "2")
    for run in RUNS[:6]:
        await send_input(1, run, idempotency_key="a")
        await send_input(2, run)
        with pytest.raises(ChannelFull):
            await send_input(3, run)
        async with numbers(run, group="shop") as shop:
            assert await shop.next() == 1
            await shop.ack()
            await send_input(3, run)
            assert [await shop.next() for _ in range(2)] == [2, 3]


def test_sync_code_converses_across_threads() -> None:
    def answer() -> None:
        with sync.open_run("answers"):
            question = sync.receive_input(str, with_metadata=True, timeout=20).next()
            question.respond(f"Hello, {question.value}!")

    thread = threading.Thread(target=answer)
    thread.start()
    with sync.open_run("asks"):
        sync.send_input("andrew", "answers")
        assert sync.receive_input(str, timeout=20).next() == "Hello, andrew!"
    thread.join(20)


async def test_a_channel_is_kept_for_as_long_as_it_is_said(
    here: Place, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_RETENTION", "1000")

    for run in RUNS:
        await send_input(1, run)
        await send_input(1, run, idempotency_key="a")

    kept = {key: left for key, left in here.times_to_live(namespace) if not key.endswith(":@about")}
    assert len(kept) >= len(RUNS)
    assert all(900_000 < left <= 1_000_000 for left in kept.values()), kept
