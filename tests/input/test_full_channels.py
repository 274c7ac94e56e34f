"""A channel with a limit: a send that would make it longer is refused, and nothing that somebody still needs goes."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from flowchan import receive_input, send_input, sync
from flowchan.errors import BrokerRefused, ChannelFull, MessagesLost
from flowchan.input import InputReceiver
from flowchan.settings import Settings
from flowchan.wire.codec import encode
from flowchan.wire.envelope import Envelope, to_fields
from tests.support import programs
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

LIMIT = 3
KEY = base64.b64encode(bytes(32)).decode()


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_MAX_CHANNEL_LENGTH", str(LIMIT))


def send(value: int, run: str = "r", **options: Any) -> Any:
    return send_input(value, run, key_prefix=CHANNEL, **options)


async def fill(run: str = "r") -> None:
    for value in range(LIMIT):
        await send(value, run)


def sent_long_ago(streams: Streams, count: int) -> None:
    """Messages for which no sender looks any more."""
    for value in range(count):
        envelope = Envelope(f"{'0' * 16}-{value + 1:x}", None, value + 1, "00000000", {}, encode({"value": value}))
        fields = iter(to_fields(envelope))
        streams.client.xadd(streams.key("r"), dict(zip(fields, fields, strict=True)), id=f"{value + 1}-0")
    streams.client.pexpire(streams.key("r"), 600_000)


@asynccontextmanager
async def group(name: str = "shop", **options: Any) -> AsyncIterator[InputReceiver[int]]:
    options = {"flow_run_id": "r", "key_prefix": CHANNEL, "group": name, "timeout": 20, **options}
    async with receive_input(int, **options) as receiver:
        yield receiver


async def test_one_message_too_many_is_refused_and_says_what_to_do(streams: Streams) -> None:
    await fill()
    with pytest.raises(ChannelFull, match=r"run r, channel numbers.*: 3 messages wait in it") as refused:
        await send(9)
    assert isinstance(refused.value, BrokerRefused)
    assert (refused.value.limit, refused.value.code) == (LIMIT, "CHANNELFULL")
    assert streams.values("r") == [0, 1, 2]
    # Another channel has room, and so has another run
    await send_input(1, "r", key_prefix="other")
    await send(1, "r2")


async def test_a_refused_send_does_not_keep_a_full_channel(streams: Streams, client: redis.Redis) -> None:
    await fill()
    client.pexpire(streams.key("r"), 60_000)
    with pytest.raises(ChannelFull):
        await send(LIMIT)
    assert client.pttl(streams.key("r")) <= 60_000  # type: ignore[operator]


def test_in_sync_code_too(streams: Streams) -> None:
    for value in range(LIMIT):
        sync.send_input(value, "r", key_prefix=CHANNEL)
    with pytest.raises(ChannelFull):
        sync.send_input(9, "r", key_prefix=CHANNEL)
    assert streams.values("r") == [0, 1, 2]


async def test_a_refusal_that_nobody_awaits_is_in_the_log(caplog: pytest.LogCaptureFixture, streams: Streams) -> None:
    await fill()
    send(9)
    await eventually_async(lambda: caplog.records, "the failure")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "The channel is full (run r, channel numbers)" in record.getMessage()
    assert streams.length("r") == LIMIT


async def test_of_many_at_once_as_many_are_stored_as_may_wait(streams: Streams) -> None:
    sends = [send(value) for value in range(20)]
    outcomes = []
    for each in sends:
        try:
            outcomes.append(await each)
        except ChannelFull:
            outcomes.append(None)
    assert [each is not None for each in outcomes] == [True] * LIMIT + [False] * (20 - LIMIT)
    assert streams.values("r") == [0, 1, 2]


async def test_what_was_stored_under_its_idempotency_key_is_not_refused(streams: Streams) -> None:
    first = await send(0, idempotency_key="a")
    await send(1)
    await send(2, idempotency_key="b")
    assert await send(0, idempotency_key="a") == first
    with pytest.raises(ChannelFull):
        await send(3, idempotency_key="c")
    assert streams.values("r") == [0, 1, 2]


async def test_what_is_signed_is_counted_and_read_as_ever(monkeypatch: pytest.MonkeyPatch, streams: Streams) -> None:
    monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", f"k1:{KEY}")
    await fill()
    with pytest.raises(ChannelFull):
        await send(9)
    receiver = receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=20)
    assert [await receiver.next() for _ in range(LIMIT)] == [0, 1, 2]
    assert streams.length("r") == LIMIT


async def test_under_a_group_there_is_room_again_for_each_that_is_acknowledged(streams: Streams) -> None:
    await fill()
    async with group() as shop:
        assert await shop.next() == 0  # handed out, and not done with
        with pytest.raises(ChannelFull):
            await send(9)
        assert await shop.next() == 1
        await send(3)
        with pytest.raises(ChannelFull):
            await send(9)
        got = [await shop.next() for _ in range(2)]
        await shop.ack()
    assert got == [2, 3]
    # What nobody needs is not hurried away: who sent it may be looking for it
    assert streams.values("r") == [0, 1, 2, 3]


async def test_the_group_that_is_furthest_behind_decides() -> None:
    await fill()
    async with group("quick") as one, group("slow") as two:
        assert await two.next() == 0
        for value in range(LIMIT):
            assert await one.next() == value
        await one.ack()
        with pytest.raises(ChannelFull):
            await send(9)
        await two.ack()
        await send(9)


async def test_a_group_for_which_nobody_works_any_more_is_removed_as_the_error_says(
    client: redis.Redis, streams: Streams
) -> None:
    await fill()
    async with group() as shop:
        assert [await shop.next() for _ in range(LIMIT)] == [0, 1, 2]
        await shop.ack()
        # Given one that has begun, and is not heard of again
        async with group("left") as left:
            assert await left.next() == 0
        with pytest.raises(ChannelFull, match=r"XGROUP DESTROY"):
            await send(9)
        # When somebody does what the error says
        client.xgroup_destroy(streams.key("r"), "left")
        await send(3)
        assert await shop.next() == 3


async def test_what_all_groups_have_done_with_goes_when_there_is_no_room(streams: Streams) -> None:
    sent_long_ago(streams, LIMIT)
    async with group() as shop, group("slow") as slow:
        assert [await shop.next() for _ in range(LIMIT)] == [0, 1, 2]
        await shop.ack()
        # Given a group that has one, and has not acknowledged it
        assert await slow.next() == 0
        with pytest.raises(ChannelFull):
            await send(9)
        assert streams.values("r") == [0, 1, 2]
        # When it goes on to the second one, then the first one goes
        assert await slow.next() == 1
        await send(3)
        assert streams.values("r") == [1, 2, 3]
        # And all that are old when it has done with all
        assert [await slow.next() for _ in range(2)] == [2, 3]
        await slow.ack()
        assert await shop.next() == 3
        await shop.ack()
        await send(4)
        assert streams.values("r") == [3, 4]


async def test_what_a_receiver_without_a_group_has_not_had_yet_stays(client: redis.Redis, streams: Streams) -> None:
    # Given one that has read nothing, as if its process were held up
    sent_long_ago(streams, LIMIT)
    client.xgroup_create(streams.key("r"), "flowchan-0123456789ab-0-0", id="0")
    async with group() as shop:
        for _ in range(LIMIT):
            await shop.next()
        await shop.ack()
        await send(3)
        assert streams.values("r") == [0, 1, 2, 3]
        # When it is gone, they go
        client.xgroup_destroy(streams.key("r"), "flowchan-0123456789ab-0-0")
        await send(4)
        assert streams.values("r") == [3, 4]


async def test_a_receiver_without_a_group_may_stand_at_the_very_end_of_a_millisecond(
    client: redis.Redis, streams: Streams
) -> None:
    sent_long_ago(streams, LIMIT)
    client.xgroup_create(streams.key("r"), "flowchan-0123456789ab-0-0", id=f"1-{2**64 - 1}")
    async with group() as shop:
        assert [await shop.next() for _ in range(LIMIT)] == [0, 1, 2]
        await shop.ack()
        await send(3)
        assert streams.values("r") == [1, 2, 3]


async def test_where_entries_were_deleted_it_rather_refuses(client: redis.Redis, streams: Streams) -> None:
    await fill()
    async with group() as shop:
        assert await shop.next() == 0
        await shop.ack()
        (_, (middle, _), _) = client.xrange(streams.key("r"))  # type: ignore[misc]
        client.xdel(streams.key("r"), middle)
        await send(3)
        with pytest.raises(ChannelFull):
            await send(4)
        # And is right again when the group is past them
        with pytest.raises(MessagesLost):
            await shop.next()
        for _ in range(streams.length("r") - 1):
            await shop.next()
        await shop.ack()
        await send(9)


def test_without_a_limit_no_script_is_asked_for_leave(
    client: redis.Redis, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLOWCHAN_MAX_CHANNEL_LENGTH")
    assert Settings.from_environment().max_channel_length is None
    client.config_resetstat()
    for value in range(100):
        sync.send_input(value, "r", key_prefix=CHANNEL)
    assert streams.length("r") == 100
    about: Any = client.info("commandstats")
    assert about["cmdstat_eval"]["calls"] <= 3  # for its time to live


def test_of_many_processes_at_once_none_gets_past_the_limit(streams: Streams) -> None:
    program = """
        from flowchan import send_input
        from flowchan.errors import ChannelFull
        stored = 0
        for number in range(50):
            try:
                send_input(number, "r", key_prefix="numbers")
                stored += 1
            except ChannelFull:
                pass
        print(stored)
    """
    limit = {"FLOWCHAN_MAX_CHANNEL_LENGTH": "70"}
    with programs.running(program, **limit) as one, programs.running(program, **limit) as two:
        counts = [int(each.communicate(timeout=40)[0]) for each in (one, two)]
    assert sum(counts) == streams.length("r") == 70
