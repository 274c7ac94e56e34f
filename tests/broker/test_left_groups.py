"""What receivers leave in the broker whose process dies is freed by others; what belongs to who lives is not."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from flowchan import receive_input, send_input
from flowchan.broker.broker import broker_of_this_loop
from flowchan.broker.heartbeat import LEASES, Heartbeat
from flowchan.settings import current_settings
from flowchan.wire import keys
from tests.support.programs import running
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

RUN = "r"
LEASE = 0.05
"""So that who was not heard of for a second counts as dead."""

LISTENER = """
    import sys
    from flowchan import receive_input
    for number in receive_input(int, flow_run_id="r", key_prefix="numbers", poll_interval=0.2):
        print(number, flush=True)
"""


@pytest.fixture
def anyio_backend() -> str:
    """One will do: what counts here are other processes."""
    return "asyncio"


@pytest.fixture(autouse=True)
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", str(LEASE))


def groups(streams: Streams) -> set[str]:
    found: Any = streams.client.xinfo_groups(streams.key(RUN)) if streams.client.exists(streams.key(RUN)) else []
    return {each["name"].decode() for each in found}


def marks(client: redis.Redis, namespace: str) -> list[Any]:
    """The marks of clients that count as alive."""
    return list(client.scan_iter(f"{namespace}:*:@alive:*", count=1000))


async def a_beat(client: redis.Redis, mark: Any) -> None:
    """Wait for a client's next heartbeat."""
    await eventually_async(lambda: client.pttl(mark) < 900, "some time")  # type: ignore[operator]
    await eventually_async(lambda: client.pttl(mark) > 900, "a heartbeat")  # type: ignore[operator]


@asynccontextmanager
async def listening(streams: Streams) -> AsyncIterator[tuple[list[int], str]]:
    """What a receiver of this process gets, and the name of its group."""
    before, got = groups(streams), []

    async def listen() -> None:
        async for number in receive_input(int, flow_run_id=RUN, key_prefix=CHANNEL, poll_interval=0.2):
            got.append(number)  # noqa: PERF401 - as they come

    task = asyncio.get_running_loop().create_task(listen())
    try:
        yield got, (await eventually_async(lambda: groups(streams) - before, "a group")).pop()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_groups_of_killed_processes_are_freed_by_who_reads_the_stream(
    streams: Streams, client: redis.Redis, namespace: str
) -> None:
    # Given three receivers whose processes are killed, and a group that somebody named
    client.xgroup_create(streams.key(RUN), "shop", mkstream=True)
    client.pexpire(streams.key(RUN), 600_000)
    with running(LISTENER) as one, running(LISTENER) as two, running(LISTENER) as three:
        await eventually_async(lambda: len(groups(streams)) == 4, "three receivers")
    assert [each.returncode for each in (one, two, three)] == [-signal.SIGKILL] * 3
    assert len(groups(streams)) == 4
    # When somebody reads that stream, then nothing else is left before long, …
    async with listening(streams) as (got, mine):
        await eventually_async(lambda: groups(streams) == {"shop", mine}, "the end of what was left")
        await send_input(1, RUN, key_prefix=CHANNEL)
        await eventually_async(lambda: got == [1])
        # … not even what they were known by
        await eventually_async(lambda: len(marks(client, namespace)) == 1, "the end of the marks")


async def test_two_may_free_the_same_at_once(streams: Streams) -> None:
    with running(LISTENER):
        await eventually_async(lambda: groups(streams), "a receiver")
    with running(LISTENER) as other:
        async with listening(streams) as (got, _):
            await eventually_async(lambda: len(groups(streams)) == 2, "two receivers that live, and nobody else")
            for number in range(3):
                await send_input(number, RUN, key_prefix=CHANNEL)
            await eventually_async(lambda: len(got) == 3)
            assert other.stdout is not None
            assert [await asyncio.to_thread(other.stdout.readline) for _ in range(3)] == ["0\n", "1\n", "2\n"]
            assert got == [0, 1, 2]


async def test_who_was_held_up_for_long_goes_on_where_it_was(streams: Streams) -> None:
    with running(LISTENER) as other:
        assert other.stdout is not None
        await send_input(0, RUN, key_prefix=CHANNEL)
        assert await asyncio.to_thread(other.stdout.readline) == "0\n"
        await eventually_async(lambda: groups(streams), "its group")
        # Given a process that is stopped for so long that it counts as dead
        os.kill(other.pid, signal.SIGSTOP)
        async with listening(streams) as (got, mine):
            await eventually_async(lambda: groups(streams) == {mine}, "the end of its group")
            await send_input(1, RUN, key_prefix=CHANNEL)
            await eventually_async(lambda: got == [0, 1])
            # When it goes on, then it gets each message once
            os.kill(other.pid, signal.SIGCONT)
            await eventually_async(lambda: len(groups(streams)) == 2, "its new group")
            await send_input(2, RUN, key_prefix=CHANNEL)
            assert [await asyncio.to_thread(other.stdout.readline) for _ in range(2)] == ["1\n", "2\n"]


async def test_a_group_whose_client_lives_stays_however_long_nothing_comes(
    streams: Streams, client: redis.Redis, namespace: str
) -> None:
    with running(LISTENER):
        await eventually_async(lambda: groups(streams), "its group")
        (its,) = groups(streams)
        async with listening(streams) as (_, mine):
            # While somebody dies next to it, which takes as long as anybody's death
            client.xgroup_create(streams.key(RUN), "flowchan-0123456789ab-0-0")
            (mark,) = [each for each in marks(client, namespace) if its.rpartition("-")[0][:21].encode() in each]
            for _ in range(3):
                await a_beat(client, mark)
            await eventually_async(lambda: groups(streams) == {its, mine}, "the end of the other")


async def test_a_client_that_goes_leaves_no_mark(streams: Streams, client: redis.Redis, namespace: str) -> None:
    with running(LISTENER.replace("poll_interval=0.2", "timeout=0.5, raise_timeout_error=False")) as one:
        await eventually_async(lambda: marks(client, namespace), "its mark")
        await asyncio.to_thread(one.wait, 20)
    assert marks(client, namespace) == []
    assert groups(streams) == set()


async def test_a_client_whose_mark_was_lost_is_marked_again_with_its_groups(
    streams: Streams, client: redis.Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "60")  # its next heartbeat is minutes away
    async with listening(streams) as (got, _):
        client.flushall()
        await eventually_async(lambda: marks(client, namespace) and groups(streams), "a new group")
        await send_input(1, RUN, key_prefix=CHANNEL)
        await eventually_async(lambda: got == [1])


async def test_a_beat_is_one_command_a_partition_however_many_streams_are_read(
    streams: Streams, client: redis.Redis, namespace: str
) -> None:
    def beats() -> int:
        about: Any = client.info("commandstats")
        return int(about["cmdstat_eval"]["calls"])

    waiting = [
        asyncio.ensure_future(receive_input(int, flow_run_id=f"r{i}", key_prefix=CHANNEL).next()) for i in range(300)
    ]
    await eventually_async(lambda: streams.groups() == 300, "all groups")
    known = marks(client, namespace)
    assert len(known) <= 64
    before, begun = beats(), time.monotonic()
    for _ in range(3):
        await a_beat(client, known[0])
    periods = (time.monotonic() - begun) / (LEASE * LEASES / 3)
    assert beats() - before <= (periods + 1) * len(known)
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)


async def test_a_heartbeat_that_is_refused_is_given_again_and_frees_nothing_at_first(
    streams: Streams, client: redis.Redis, namespace: str
) -> None:
    loop = asyncio.get_running_loop()
    broker = broker_of_this_loop(current_settings())
    stream = streams.key(RUN)
    beats = Heartbeat(loop, broker.hub.commands, "flowchan-aaaaaaaaaaaa", 60, [stream])
    # Given a server that takes no writes for a moment
    client.config_set("min-replicas-to-write", 1)
    try:
        beats.mark(stream)
        await broker.hub.commands.call("PING")
    finally:
        client.config_set("min-replicas-to-write", 0)
    client.xgroup_create(stream, "flowchan-0123456789ab-0-0", mkstream=True)
    client.pexpire(stream, 60_000)
    # When it takes them again, then the client is known, and nobody was taken for dead who was refused as well
    beats.mark(stream)
    await broker.hub.commands.call("PING")
    assert len(marks(client, namespace)) == 1
    assert groups(streams)
    # Until the beat after that
    beats.doubt([stream])
    beats.mark(stream)
    await broker.hub.commands.call("PING")
    assert not groups(streams)
    beats.close()
    await broker.hub.commands.call("PING")


async def test_a_heartbeat_that_has_stopped_begins_again_while_the_mark_is_fresh(
    streams: Streams, client: redis.Redis
) -> None:
    # Given a client that has read nothing for a moment, so that its beats have ended
    loop, read, stream = asyncio.get_running_loop(), dict[str, None](), streams.key(RUN)
    broker = broker_of_this_loop(current_settings())
    beats = Heartbeat(loop, broker.hub.commands, "flowchan-aaaaaaaaaaaa", LEASE, read)
    beats.mark(stream)
    assert beats._timer is not None
    beats._timer.cancel()
    beats._beat_all()
    mark = keys.alive(stream, "flowchan-aaaaaaaaaaaa")
    # When it reads again at once, then it is known from now on, for longer than a mark lasts
    read[stream] = None
    beats.mark(stream)
    for _ in range(3):
        await a_beat(client, mark)
    beats.close()
    await broker.hub.commands.call("PING")


async def test_what_a_beat_looks_at_is_bounded_however_many_read_the_same_stream(
    streams: Streams, client: redis.Redis
) -> None:
    stream = streams.key(RUN)
    client.xadd(stream, {"v": "1"})
    client.pexpire(stream, 60_000)
    clients = [f"flowchan-{number:012x}" for number in range(400)]
    with client.pipeline(transaction=False) as pipe:
        for each in clients:
            pipe.set(keys.alive(stream, each), "", px=60_000)
            pipe.xgroup_create(stream, f"{each}-0-0")
            pipe.xgroup_create(stream, f"{each}-0-1")
        pipe.execute()
    loop = asyncio.get_running_loop()
    broker = broker_of_this_loop(current_settings())
    beats = Heartbeat(loop, broker.hub.commands, "flowchan-aaaaaaaaaaaa", 60, [stream])
    client.config_resetstat()
    beats.mark(stream)
    await broker.hub.commands.call("PING")
    about: Any = client.info("commandstats")
    assert about["cmdstat_exists"]["calls"] == len(clients)  # each once, whatever it has
    for _ in range(80):
        beats._beat_all()
        await broker.hub.commands.call("PING")
    about = client.info("commandstats")
    assert 0 < about["cmdstat_exists"]["calls"] // len(clients) - 1 < 40  # ten, as a rule
    assert about["cmdstat_set"]["calls"] > 80
    assert len(groups(streams)) == 800
    beats.close()
    await broker.hub.commands.call("PING")
