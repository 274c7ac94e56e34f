"""Streams and groups that go away under those who wait on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import redis

from flowchan import receive_input, send_input
from flowchan.errors import MessagesLost
from tests.conftest import connections
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

Receiver = Any


def receiver(run: str = "r", **options: Any) -> Receiver:
    options = {"timeout": 30, "poll_interval": 10, **options}
    return receive_input(int, flow_run_id=run, key_prefix=CHANNEL, **options)


async def send(value: int, run: str = "r") -> None:
    await send_input(value, run, key_prefix=CHANNEL)


@asynccontextmanager
async def following(
    client: redis.Redis, streams: Streams, counts: dict[str, int]
) -> AsyncIterator[dict[str, list[int]]]:
    """Receivers of several runs that wait in one read; at the end of the block they have got what they want."""
    got: dict[str, list[int]] = {run: [] for run in counts}

    async def follow(run: str) -> None:
        async with receiver(run) as mine:
            for _ in range(counts[run]):
                got[run].append(await mine.next())

    async with anyio.create_task_group() as tasks:
        for run in counts:
            tasks.start_soon(follow, run)
        await wait_for_read(client, streams, len(counts))
        yield got


async def wait_for_read(client: redis.Redis, streams: Streams, groups: int) -> None:
    def is_under_way() -> bool:
        reading = [each for each in connections(client) if each["cmd"] == "xreadgroup" and "b" in each["flags"]]
        return len(reading) == 1 and streams.groups() == groups

    await eventually_async(is_under_way, "a read of all")


def calls(client: redis.Redis, *commands: str) -> int:
    stats = client.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"]) for command in commands)


async def test_a_deleted_stream_is_gone_on_with_and_its_neighbours_do_not_notice(
    client: redis.Redis, streams: Streams
) -> None:
    async with following(client, streams, {"a": 3, "b": 2}) as got:
        await send(0, "a")
        await send(0, "b")
        await eventually_async(lambda: all(got.values()))
        client.delete(streams.key("a"))
        await send(1, "a")
        await send(1, "b")
        await eventually_async(lambda: len(got["a"]) == 2)
        client.delete(streams.key("a"))
        await send(2, "a")
    assert got == {"a": [0, 1, 2], "b": [0, 1]}


async def test_a_flushed_server_is_gone_on_with(client: redis.Redis, streams: Streams) -> None:
    runs = [f"r{i}" for i in range(10)]
    async with following(client, streams, dict.fromkeys(runs, 4)) as got:
        for turn in range(4):
            for run in runs:
                await send(turn, run)
            await eventually_async(lambda turn=turn: all(len(each) == turn + 1 for each in got.values()))
            client.flushall()
            await wait_for_read(client, streams, len(runs) if turn < 3 else 0) if turn < 3 else None
    assert got == {run: [0, 1, 2, 3] for run in runs}


@pytest.mark.parametrize("how", ["flushall", "delete"])
async def test_what_is_sent_in_the_same_breath_as_the_deletion_is_received(
    how: str, client: redis.Redis, streams: Streams
) -> None:
    async with following(client, streams, {"r": 20}) as got:
        for value in range(20):
            client.flushall() if how == "flushall" else client.delete(streams.key("r"))
            await send(value)
            await eventually_async(lambda value=value: len(got["r"]) == value + 1)
    assert got["r"] == list(range(20))


async def test_a_stream_that_is_deleted_between_two_waits_is_gone_on_with(
    client: redis.Redis, streams: Streams
) -> None:
    for turn in range(30):
        run = f"r{turn}"
        async with receiver(run) as mine:
            await send(0, run)
            assert await mine.next() == 0
            client.delete(streams.key(run))
            await send(1, run)
            assert await mine.next() == 1


async def test_a_destroyed_group_is_made_anew_where_its_receiver_stopped(client: redis.Redis, streams: Streams) -> None:
    async with following(client, streams, {"a": 10, "b": 10}) as got:
        for value in range(10):
            for group in client.xinfo_groups(streams.key("a")):  # type: ignore[union-attr]
                client.xgroup_destroy(streams.key("a"), group["name"])
            await send(value, "a")
            await send(value, "b")
        await eventually_async(lambda: all(len(each) == 10 for each in got.values()))
    assert got == {"a": list(range(10)), "b": list(range(10))}


async def test_a_stream_that_expires_under_its_receiver_is_gone_on_with(
    client: redis.Redis, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_RETENTION", "0.3")
    async with following(client, streams, {"a": 2, "b": 2}) as got:
        await send(0, "a")
        await send(0, "b")
        before = client.info("stats")["expired_keys"]
        await eventually_async(lambda: client.info("stats")["expired_keys"] >= before + 6)
        await send(1, "a")
        await send(1, "b")
    assert got == {"a": [0, 1], "b": [0, 1]}


async def test_groups_that_go_again_and_again_cost_no_hot_loop(client: redis.Redis, streams: Streams) -> None:
    async with following(client, streams, {"r": 1}):
        before = calls(client, "xreadgroup", "xgroup|create", "xinfo|stream")
        deadline = asyncio.get_running_loop().time() + 1.0
        while asyncio.get_running_loop().time() < deadline:
            client.delete(streams.key("r"))
            await anyio.sleep(0.002)
        # About 500 deletions; each repair is a few commands, and where it did not help, the next one waits.
        assert calls(client, "xreadgroup", "xgroup|create", "xinfo|stream") - before < 100
        await send(1)


async def test_a_trimmed_stream_yields_what_is_left_and_tells_the_rest(client: redis.Redis, streams: Streams) -> None:
    async with receiver() as mine:
        for value in range(100):
            await send(value)
        assert await mine.next() == 0
        client.xtrim(streams.key("r"), maxlen=3, approximate=False)
        rest: list[int] = []
        while rest[-1:] != [99]:
            try:
                rest.append(await mine.next())
            except MessagesLost as lost:
                rest += range(lost.first - 1, lost.last)  # the first message was 0
        assert rest == list(range(1, 100))
        await send(100)
        assert await mine.next() == 100


async def test_a_stream_that_was_renamed_away_is_gone_on_with(client: redis.Redis, streams: Streams) -> None:
    async with following(client, streams, {"r": 2}) as got:
        await send(0)
        await eventually_async(lambda: got["r"])
        client.rename(streams.key("r"), f"{streams.key('r')}.old")
        await send(1)
    assert got["r"] == [0, 1]
