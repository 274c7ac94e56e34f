"""For how long a run and its channels are kept: longer while it waits to be resumed, its channels for less when it has ended."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from flowchan import flow, get_client, pause_flow_run, receive_input, resume_flow_run, send_input
from flowchan.broker.broker import broker_of_this_loop
from flowchan.flow_runs import wait_for_flow_run
from flowchan.settings import Settings, current_settings
from flowchan.wire import keys
from tests.support.runs import seen, started
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

RETENTION, AFTER_END, PAUSE = 100, 10, 3000


@pytest.fixture(autouse=True)
def short_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_RETENTION", str(RETENTION))
    monkeypatch.setenv("FLOWCHAN_RETENTION_AFTER_END", str(AFTER_END))


@flow
async def asks() -> int:
    return int(await pause_flow_run(int, timeout=PAUSE))


@flow
async def listens() -> int:
    return int(await receive_input(int, key_prefix=CHANNEL, timeout=30).next())


def seconds(client: redis.Redis, key: str) -> float:
    """For how long a key is kept from now on."""
    left: Any = client.pttl(key)
    return int(left) / 1000


def is_about(left: float, whole: float) -> bool:
    return whole - 9 < left <= whole


@pytest.mark.parametrize("limit", [None, 10])
async def test_what_is_sent_to_a_run_that_waits_for_long_is_kept_until_it_is_resumed(
    limit: int | None, client: redis.Redis, streams: Streams, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit is not None:
        monkeypatch.setenv("FLOWCHAN_MAX_CHANNEL_LENGTH", str(limit))
    async with started(asks) as asking:
        run = await seen("asks", "PAUSED")
        record = keys.record(namespace, str(run.id))
        assert is_about(seconds(client, record), PAUSE + RETENTION)
        # A channel that is new, and one message more when its time to live is not due again
        for value in (1, 2):
            await send_input(value, run.id, key_prefix="other")
        assert is_about(seconds(client, streams.key(str(run.id), "other")), PAUSE + RETENTION)
        await resume_flow_run(run.id, {"value": 5})
        assert await asking == 5


async def test_what_was_sent_before_the_run_waits_is_kept_for_as_long(client: redis.Redis, streams: Streams) -> None:
    @flow
    async def first_listens() -> int:
        first = await receive_input(int, key_prefix=CHANNEL, timeout=30).next()
        return int(first) + int(await pause_flow_run(int, timeout=PAUSE))

    async with started(first_listens) as asking:
        run = await seen("first-listens", "RUNNING")
        channel, unread = streams.key(str(run.id)), streams.key(str(run.id), "unread")
        await send_input(1, run.id, key_prefix="unread")
        assert is_about(seconds(client, unread), RETENTION)
        await send_input(1, run.id, key_prefix=CHANNEL)
        await seen("first-listens", "PAUSED")
        assert is_about(seconds(client, channel), PAUSE + RETENTION)
        assert is_about(seconds(client, unread), PAUSE + RETENTION)
        await resume_flow_run(run.id, {"value": 5})
        assert await asking == 6


async def test_the_channels_of_a_run_that_has_ended_are_kept_for_less_and_the_run_is_not(
    client: redis.Redis, streams: Streams, namespace: str
) -> None:
    async with started(listens) as listening:
        run = await seen("listens", "RUNNING")
        await send_input(1, run.id, key_prefix="unread")
        await send_input(7, run.id, key_prefix=CHANNEL)
        assert await listening == 7
    assert is_about(seconds(client, streams.key(str(run.id))), AFTER_END)
    assert is_about(seconds(client, streams.key(str(run.id), "unread")), AFTER_END)
    record = keys.record(namespace, str(run.id))
    assert is_about(seconds(client, record), RETENTION)
    assert not [field for field in client.hkeys(record) if field.startswith(b"@")]  # type: ignore[union-attr]
    # And so all that is known of it
    ended = await wait_for_flow_run(run.id)
    assert ended.state is not None
    assert await ended.state.result() == 7  # type: ignore[misc]
    assert [each.id for each in await get_client().read_flow_runs(flow="listens")] == [run.id]


async def test_what_is_sent_to_a_run_that_has_ended_is_kept_for_less(client: redis.Redis, streams: Streams) -> None:
    async with started(listens) as listening:
        run = await seen("listens", "RUNNING")
        await send_input(7, run.id, key_prefix=CHANNEL)
        assert await listening == 7
    await send_input(1, run.id, key_prefix="late")
    assert is_about(seconds(client, streams.key(str(run.id), "late")), AFTER_END)


async def test_a_channel_that_a_group_works_on_is_kept_when_the_run_has_ended(
    client: redis.Redis, streams: Streams
) -> None:
    async with started(listens) as listening:
        run = await seen("listens", "RUNNING")
        group: Any = {"flow_run_id": run.id, "key_prefix": "work", "group": "shop", "timeout": 20}
        for value in (1, 2):
            await send_input(value, run.id, key_prefix="work")
        async with receive_input(int, **group) as shop:
            assert await shop.next() == 1
            await shop.ack()
        await send_input(7, run.id, key_prefix=CHANNEL)
        assert await listening == 7
    assert is_about(seconds(client, streams.key(str(run.id), "work")), RETENTION)
    # And one on which it begins to work only then
    await send_input(3, run.id, key_prefix="late")
    assert is_about(seconds(client, streams.key(str(run.id), "late")), AFTER_END)
    async with receive_input(int, **group | {"key_prefix": "late"}) as shop:
        assert await shop.next() == 3
        assert is_about(seconds(client, streams.key(str(run.id), "late")), RETENTION)


async def test_a_group_is_sent_to_after_the_run_s_end_as_before(client: redis.Redis, streams: Streams) -> None:
    async with started(listens) as listening:
        run = await seen("listens", "RUNNING")
        await send_input(7, run.id, key_prefix=CHANNEL)
        assert await listening == 7
    # Given channels of which little is left, one with a group that people named, one with a receiver without a name
    for channel, group in (("work", "shop"), ("heard", "flowchan-0123456789ab-0-0")):
        client.xgroup_create(streams.key(str(run.id), channel), group, mkstream=True)
        client.pexpire(streams.key(str(run.id), channel), 1000 * AFTER_END // 2)
        await send_input(1, run.id, key_prefix=channel)
    assert is_about(seconds(client, streams.key(str(run.id), "work")), RETENTION)
    assert is_about(seconds(client, streams.key(str(run.id), "heard")), AFTER_END)


async def test_a_run_of_many_channels_is_not_a_large_record(
    client: redis.Redis, streams: Streams, namespace: str
) -> None:
    async with started(listens) as listening:
        run = await seen("listens", "RUNNING")
        for number in range(150):
            await send_input(1, run.id, key_prefix=f"c{number}")
        assert client.hlen(keys.record(namespace, str(run.id))) <= 100  # type: ignore[operator]
        await send_input(7, run.id, key_prefix=CHANNEL)
        assert await listening == 7
    left = [seconds(client, streams.key(str(run.id), f"c{number}")) for number in range(150)]
    assert all(is_about(each, AFTER_END) for each in left[:70])
    assert all(is_about(each, RETENTION) for each in left[100:])


async def test_a_run_that_outlives_the_retention_is_listed_and_may_still_be_found_dead(
    client: redis.Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "0.6")
    async with started(listens):
        run = await seen("listens", "RUNNING")
        tag = keys.partition_tag(str(run.id))
        of_partition = [keys.due(namespace, tag), keys.runs(namespace, tag)]
        # Given a partition in which nothing has happened for almost as long
        for key in of_partition:
            client.pexpire(key, 30_000)
        await eventually_async(lambda: all(is_about(seconds(client, key), RETENTION) for key in of_partition), "beats")
        # Or for longer, as if nobody had been able to say that the run lives
        created: Any = client.zscore(of_partition[1], str(run.id))
        client.delete(*of_partition)
        await eventually_async(lambda: client.exists(*of_partition) == 2, "a beat")
        assert client.zscore(of_partition[1], str(run.id)) == created
        assert [each.id for each in await get_client().read_flow_runs(flow="listens")] == [run.id]
        assert all(is_about(seconds(client, key), RETENTION) for key in of_partition)


async def test_a_run_that_lives_for_long_does_not_shorten_what_another_needs(
    client: redis.Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "0.6")
    async with started(listens):
        run = await seen("listens", "RUNNING")
        due = keys.due(namespace, keys.partition_tag(str(run.id)))
        client.pexpire(due, PAUSE * 1000)
        at: Any = client.zscore(due, str(run.id))
        await eventually_async(lambda: client.zscore(due, str(run.id)) > at, "a beat")  # type: ignore[operator]
        assert is_about(seconds(client, due), PAUSE)


async def test_a_channel_beyond_those_that_a_run_knows_of_does_not_outlive_it_for_long(
    client: redis.Redis, streams: Streams, namespace: str
) -> None:
    async with started(asks) as asking:
        run = await seen("asks", "PAUSED")
        await send_input(1, run.id, key_prefix="noted")
        notes = {f"@c{number}": "" for number in range(100)}
        client.hset(keys.record(namespace, str(run.id)), mapping=notes)
        await send_input(1, run.id, key_prefix="other")
        assert is_about(seconds(client, streams.key(str(run.id), "noted")), PAUSE + RETENTION)
        assert is_about(seconds(client, streams.key(str(run.id), "other")), RETENTION)
        await resume_flow_run(run.id, {"value": 5})
        assert await asking == 5
    assert is_about(seconds(client, streams.key(str(run.id), "noted")), AFTER_END)


def test_nothing_is_kept_longer_after_the_end_than_before() -> None:
    assert Settings(retention=5.0).retention_after_end_ms == 5000
    assert Settings().retention_after_end_ms == 24 * 3600 * 1000


async def test_who_stores_something_with_a_run_that_waits_does_not_have_it_forgotten_sooner(
    client: redis.Redis, namespace: str
) -> None:
    async with started(asks) as asking:
        run = await seen("asks", "PAUSED")
        inputs = keys.inputs(namespace, str(run.id))
        await broker_of_this_loop(current_settings()).store(inputs, {"x": b"y"})
        assert is_about(seconds(client, inputs), PAUSE + RETENTION)
        await resume_flow_run(run.id, {"value": 1})
        assert await asking == 1
    assert is_about(seconds(client, inputs), RETENTION)
