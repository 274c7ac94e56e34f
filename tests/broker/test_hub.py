"""Many receivers on few connections: lanes, taps, bounded buffers, and what is freed when."""

from __future__ import annotations

import asyncio
import collections
import gc
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import redis

from flowchan import receive_input, send_input, sync
from flowchan.broker import broker as broker_of
from flowchan.broker.lane import width
from flowchan.broker.subscription import Subscription
from flowchan.errors import BrokerRefused, MessagesLost
from tests.conftest import connections
from tests.support.proxy import Fate, Proxy
from tests.support.server import Server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

Receiver = Any


def receiver(run: str = "r", **options: Any) -> Receiver:
    return receive_input(int, flow_run_id=run, key_prefix=CHANNEL, **{"timeout": 30, "poll_interval": 30, **options})


async def send(value: int, run: str = "r") -> None:
    await send_input(value, run, key_prefix=CHANNEL)


async def take(receiver: Receiver, count: int) -> list[int]:
    return [await receiver.next() for _ in range(count)]


def reading(client: redis.Redis) -> list[dict[str, str]]:
    """The connections on which a read of a lane is under way."""
    return [each for each in connections(client) if each["cmd"] == "xreadgroup" and "b" in each["flags"]]


def calls(client: redis.Redis, command: str) -> int:
    stats = client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


@asynccontextmanager
async def waiting(receiver: Receiver, streams: Streams) -> AsyncIterator[asyncio.Task[int]]:
    """A task that waits for the receiver's next message, and is part of a read that is under way."""
    task = asyncio.get_running_loop().create_task(receiver.next())
    keys_of_it = list(receiver._bodies)
    await eventually_async(lambda: all(streams.groups(key) for key in keys_of_it) and reading(streams.client))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


# --- lanes ---------------------------------------------------------------------------------------------


async def test_many_streams_share_a_connection(client: redis.Redis, streams: Streams) -> None:
    receivers = [receiver(f"r{i}") for i in range(200)]
    async with anyio.create_task_group() as tasks:
        found: list[int] = []

        async def wait(each: Receiver) -> None:
            found.append(await each.next())

        for each in receivers:
            tasks.start_soon(wait, each)
        await eventually_async(lambda: streams.groups() == 200 and len(reading(client)) == 13)
        assert len(connections(client)) <= 13 + 2
        for i in range(200):
            await send(i, f"r{i}")
    assert sorted(found) == list(range(200))
    assert len(connections(client)) <= 13 + 2


@pytest.mark.parametrize("streams, lanes", [(1, 1), (200, 13), (500, 17), (1000, 25), (10_000, 250), (100_000, 250)])
def test_lanes_are_narrow_where_there_are_few_and_no_more_than_a_server_likes(streams: int, lanes: int) -> None:
    assert math.ceil(streams / width(streams)) == lanes


async def test_a_receiver_that_joins_a_read_under_way_does_not_wait_for_its_end(streams: Streams) -> None:
    async with waiting(receiver("r0"), streams), waiting(receiver("r1"), streams) as second:
        start = time.monotonic()
        await send(1, "r1")
        assert await second == 1
        assert time.monotonic() - start < 10  # the read ends after 30


async def test_many_that_join_and_leave_all_the_time_miss_nothing(streams: Streams) -> None:
    async def one(run: int) -> None:
        for value in range(20):
            async with receiver(f"r{run}") as mine:
                if run % 2:
                    tasks.start_soon(send, value, f"r{run}")
                else:
                    await send(value, f"r{run}")
                assert await take(mine, value + 1) == list(range(value + 1))

    async with anyio.create_task_group() as tasks:
        for run in range(40):
            tasks.start_soon(one, run)
    await eventually_async(lambda: not streams.groups())


async def test_receivers_of_one_stream_get_all_of_it_each(client: redis.Redis, streams: Streams) -> None:
    async with waiting(receiver(), streams) as first:
        others = [receiver() for _ in range(20)]
        tasks = [asyncio.get_running_loop().create_task(take(each, 3)) for each in others]
        await send(0)
        assert await first == 0
        await send(1)
        await send(2)
        assert [await task for task in tasks] == [[0, 1, 2]] * 20
        assert streams.groups() == 1
        assert len(reading(client)) <= 1
        late = receiver()
        assert await take(late, 3) == [0, 1, 2]


async def test_a_receiver_that_begins_again_where_another_has_just_left_misses_nothing(streams: Streams) -> None:
    # Given one receiver that has read to the end, and one that has gone further since
    behind, ahead = receiver(), receiver()
    await send(0)
    assert await take(behind, 1) == await take(ahead, 1) == [0]
    async with waiting(ahead, streams) as first:
        await send(1)
        assert await first == 1
    async with waiting(ahead, streams) as second:
        await send(2)
        assert await second == 2
    task = asyncio.get_running_loop().create_task(ahead.next())
    await eventually_async(lambda: reading(streams.client))
    await anyio.sleep(0.05)
    # When a message is on its way to the one that leaves while the other one comes
    sync.send_input(3, "r", key_prefix=CHANNEL)
    task.cancel()
    ahead.close()
    # Then the other one gets what lies between, too
    assert await take(behind, 3) == [1, 2, 3]


async def test_a_deleted_last_entry_does_not_make_others_look_for_it_for_ever(
    client: redis.Redis, streams: Streams
) -> None:
    behind, ahead = receiver(), receiver()
    await send(0)
    assert await take(behind, 1) == await take(ahead, 1) == [0]
    async with waiting(ahead, streams) as first:
        await send(1)
        assert await first == 1
    task = asyncio.get_running_loop().create_task(ahead.next())
    await eventually_async(lambda: reading(client))
    (newest, _) = client.xrevrange(streams.key("r"), count=1)[0]  # type: ignore[index]
    client.xdel(streams.key("r"), newest)
    before = calls(client, "xrange")
    follower = asyncio.get_running_loop().create_task(behind.next())
    await anyio.sleep(0.2)
    assert calls(client, "xrange") - before < 20
    await send(2)
    assert await task == 2
    with pytest.raises(MessagesLost, match="Message 2"):
        await follower
    assert await take(behind, 1) == [2]


# --- bounded ---------------------------------------------------------------------------------------------


def buffered(receiver: Receiver) -> int:
    subscription: Subscription = receiver._bound[1]
    return sum(len(source.buffer) for source in subscription._sources)


async def test_a_slow_consumer_holds_a_bounded_number_and_holds_nobody_else_up(streams: Streams) -> None:
    count = 5000
    slow, fast, elsewhere = receiver(), receiver(), receiver("other")
    async with anyio.create_task_group() as tasks:
        got: dict[str, list[int]] = {"fast": [], "elsewhere": []}

        async def follow(name: str, mine: Receiver) -> None:
            got[name] = await take(mine, count)

        async with waiting(slow, streams) as first:
            tasks.start_soon(follow, "fast", fast)
            tasks.start_soon(follow, "elsewhere", elsewhere)
            await send(0)
            await send(0, "other")
            assert await first == 0
        for value in range(1, count):
            await send(value)
            await send(value, "other")
    assert got == {"fast": list(range(count)), "elsewhere": list(range(count))}
    assert buffered(slow) < 1100
    assert await take(slow, count - 1) == list(range(1, count))


async def test_a_slow_consumer_of_large_messages_holds_a_bounded_number_of_bytes(streams: Streams) -> None:
    body = b"x" * 500_000
    slow = receive_input(bytes, flow_run_id="r", key_prefix=CHANNEL, timeout=30, poll_interval=30)
    async with waiting(slow, streams) as first:
        await send_input(body, "r", key_prefix=CHANNEL)
        assert await first == body
    task = asyncio.get_running_loop().create_task(slow.next())
    await eventually_async(lambda: reading(streams.client))
    for _ in range(60):
        await send_input(body, "r", key_prefix=CHANNEL)
    assert await task == body
    await anyio.lowlevel.checkpoint()
    assert buffered(slow) * len(body) < 16_000_000
    assert [len(each) for each in await take(slow, 59)] == [len(body)] * 59  # type: ignore[arg-type]


# --- freed ----------------------------------------------------------------------------------------------


async def test_the_end_of_its_block_frees_what_a_receiver_holds(streams: Streams) -> None:
    async with receiver() as mine:
        await send(1)
        assert await mine.next() == 1
        with pytest.raises(TimeoutError):
            await receiver("r", timeout=0.05, after=mine_key(streams)).next()
        async with waiting(mine, streams):
            assert streams.groups() >= 1
    gc.collect()
    await eventually_async(lambda: not streams.groups())


def mine_key(streams: Streams) -> str:
    from flowchan.wire import keys  # noqa: PLC0415

    (entry, _) = streams.client.xrevrange(streams.key("r"), count=1)[0]  # type: ignore[index]
    return keys.message_key(streams.key("r"), keys.EntryId.parse(entry))


async def test_a_receiver_that_nobody_holds_any_more_is_freed(streams: Streams) -> None:
    forgotten = receiver()
    async with waiting(forgotten, streams):
        pass
    assert streams.groups() == 1
    del forgotten
    gc.collect()
    await eventually_async(lambda: not streams.groups())


async def test_a_loop_that_is_left_early_frees_its_receiver(streams: Streams) -> None:
    async def first() -> int:
        async for value in receiver():
            return int(value)
        raise AssertionError

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await eventually_async(streams.groups)
        await send(1)
    gc.collect()
    await eventually_async(lambda: not streams.groups())


async def test_the_end_of_the_loop_frees_its_receivers(streams: Streams) -> None:
    held: list[Receiver] = []

    def program() -> None:
        async def main() -> None:
            held.append(receiver())
            asyncio.get_running_loop().create_task(held[0].next())
            await eventually_async(streams.groups)

        asyncio.run(main())

    await anyio.to_thread.run_sync(program)
    assert not streams.groups()


async def test_a_lane_that_nobody_uses_any_more_gives_its_connection_back(
    client: redis.Redis, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowchan.broker.lane._IDLE", 0.05)
    async with receiver() as mine, waiting(mine, streams):
        lanes = len(connections(client))
    await eventually_async(lambda: len(connections(client)) < lanes)
    async with waiting(receiver(), streams) as task:
        await send(1)
        assert await task == 1


# --- trouble of one, not of all ---------------------------------------------------------------------------


async def test_a_stream_that_cannot_be_read_is_no_trouble_for_the_others_of_its_lane(
    client: redis.Redis, streams: Streams
) -> None:
    async with waiting(receiver("good"), streams) as good, waiting(receiver("bad"), streams) as bad:
        with client.pipeline(transaction=True) as pipe:
            pipe.delete(streams.key("bad"))
            pipe.set(streams.key("bad"), "no stream", px=60_000)
            pipe.execute()
        with anyio.fail_after(10), pytest.raises(BrokerRefused, match="WRONGTYPE") as raised:
            await bad
        assert "run bad" in str(raised.value)
        await send(1, "good")
        assert await good == 1


async def test_waiting_on_what_is_no_stream_is_refused(client: redis.Redis, streams: Streams) -> None:
    client.set(streams.key("bad"), "no stream", px=60_000)
    with pytest.raises(BrokerRefused, match="WRONGTYPE"):
        await receiver("bad").next()


# --- connections that are cut under a read ------------------------------------------------------------------


@pytest.mark.parametrize("fate", [Fate.LOSE_REQUEST, Fate.LOSE_REPLY, Fate.HALVE_REPLY])
async def test_reads_that_are_cut_again_and_again_lose_and_repeat_nothing(
    fate: Fate, shared_server: Server, make_proxy: Callable[[Path], Proxy], streams: Streams
) -> None:
    proxy = make_proxy(shared_server.socket)
    own = broker_of_plain_send(shared_server, streams)
    turn = [0]

    def decide(data: bytes) -> Fate:
        if b"XREADGROUP" not in data:
            return Fate.PASS
        turn[0] += 1
        return fate if turn[0] % 3 == 0 else Fate.PASS

    mine = [receiver(f"r{i}") for i in range(3)]
    async with anyio.create_task_group() as tasks:
        got: dict[int, list[int]] = {}

        async def follow(i: int) -> None:
            got[i] = await take(mine[i], 150)

        for i in range(3):
            tasks.start_soon(follow, i)
        await eventually_async(lambda: reading(streams.client))
        proxy.fate = decide
        for value in range(150):
            for i in range(3):
                own(value, f"r{i}")
            await anyio.sleep(0.002)
    assert got == {i: list(range(150)) for i in range(3)}
    assert proxy.cuts > 5


def broker_of_plain_send(server: Server, streams: Streams) -> Callable[[int, str], None]:
    """Sends past the proxy, as another process would."""
    from flowchan.wire import codec, envelope  # noqa: PLC0415

    client = server.client()
    counters: dict[str, int] = collections.defaultdict(int)

    def plain(value: int, run: str) -> None:
        counters[run] += 1
        number = counters[run]
        message = envelope.Envelope(
            f"00000000000000aa-{number:x}", None, number, "00000000", {}, codec.encode({"value": value})
        )
        key = streams.key(run)
        client.execute_command("XADD", key, "*", *envelope.to_fields(message))
        client.pexpire(key, 60_000)

    return plain


async def test_the_control_connection_may_be_cut_at_any_time(
    shared_server: Server, make_proxy: Callable[[Path], Proxy], streams: Streams
) -> None:
    proxy = make_proxy(shared_server.socket)
    turn = [0]

    def decide(data: bytes) -> Fate:
        # Scripts have these words in them, too: a send has one behind it, and is not meant.
        if b"XADD" in data or not any(word in data for word in (b"XGROUP", b"XRANGE", b"XINFO", b"UNBLOCK")):
            return Fate.PASS
        turn[0] += 1
        return list(Fate)[1 + turn[0] % 4] if turn[0] % 2 == 0 else Fate.PASS

    await send(-1)
    proxy.fate = decide
    for value in range(20):
        async with receiver(f"r{value}") as mine, anyio.create_task_group() as tasks:
            got: list[int] = []

            async def follow(mine: Receiver = mine, got: list[int] = got) -> None:
                got.extend(await take(mine, 2))

            tasks.start_soon(follow)
            await send(value, f"r{value}")
            await send(value + 1, f"r{value}")
        assert got == [value, value + 1]
    assert proxy.cuts > 10
    proxy.fate = lambda _: Fate.PASS
    gc.collect()
    await eventually_async(lambda: not streams.groups(), "the end of the groups")


async def test_no_broker_is_kept_for_a_loop_that_has_ended() -> None:
    def program() -> None:
        asyncio.run(send(1))

    before = len(broker_of._brokers)
    for _ in range(3):
        await anyio.to_thread.run_sync(program)
    assert len(broker_of._brokers) == before
