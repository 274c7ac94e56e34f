"""Groups: shared work, none of it lost, and dead letters that are not in the way."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from flowchan import receive_input, send_input
from flowchan.input import InputReceiver, read_dead_letters

pytestmark = pytest.mark.anyio

RUN = "run"
CHANNEL = "numbers"


def worker(kind: Any = int, **options: Any) -> InputReceiver[Any]:
    return receive_input(
        kind, flow_run_id=RUN, key_prefix=CHANNEL, group="workers", raise_timeout_error=False, **options
    )


async def send(*values: object) -> None:
    for value in values:
        await send_input(value, RUN, key_prefix=CHANNEL)


async def all_of(receiver: InputReceiver[Any]) -> list[Any]:
    return [value async for value in receiver]


async def test_each_message_is_worked_on_by_one() -> None:
    await send(*range(15))
    done: list[int] = []

    async def work() -> None:
        async with worker(timeout=20) as mine:
            async for number in mine:
                done.append(number)
                if len(done) == 30:
                    tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(work)
        await send(*range(15, 30))

    assert sorted(done) == list(range(30))


async def test_what_one_leaves_undone_comes_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "0.3")
    await send(1, 2)
    async with worker(timeout=20) as first:
        assert await first.next() == 1

    async with worker(timeout=20, with_metadata=True) as second:
        found = [await second.next() for _ in range(2)]

    assert sorted((each.value, each.metadata.delivery_count) for each in found) == [(1, 2), (2, 1)]


async def test_what_was_acknowledged_does_not_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "0.2")
    await send(1, 2)
    async with worker(timeout=20) as mine:
        assert await mine.next() == 1
        await mine.ack()

    assert await all_of(worker(timeout=0.5)) == [2]


async def test_a_dead_letter_is_listed_and_sent_again_or_thrown_away() -> None:
    await send(1, "two", "three", 4)
    assert await all_of(worker(on_invalid="dead-letter", timeout=0)) == [1, 4]

    two, three = await read_dead_letters(RUN)
    assert (two.value, three.value) == ("two", "three")
    await two.resend()
    await three.discard()

    assert await read_dead_letters(RUN) == []
    assert await all_of(worker(str, timeout=0)) == ["two"]


async def test_what_breaks_each_who_tries_is_tried_so_often_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "0.2")
    await send(13)
    for _ in range(2):
        async with worker(timeout=20, max_deliveries=2) as mine:
            assert await mine.next() == 13

    assert await all_of(worker(timeout=1, max_deliveries=2)) == []
    (letter,) = await read_dead_letters(RUN)
    assert (letter.reason, letter.value) == ("max-deliveries", 13)
