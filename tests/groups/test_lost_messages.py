"""What a sender has sent and a group never gets: told once, to one of its receivers, and nothing else is lost by it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis

from flowchan import receive_input, send_input, sync
from flowchan.broker.broker import broker_of_this_loop
from flowchan.errors import MessagesLost, SignatureError
from flowchan.input import InputReceiver, read_dead_letters
from flowchan.settings import current_settings
from flowchan.wire import keys
from flowchan.wire.envelope import FOLLOWS
from tests.support.groups import GROUP, LEASE, idle, pending, receiver, send
from tests.support.lost import P, Q, all_of, put
from tests.support.proxy import Fate, Proxy
from tests.support.server import Server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually, eventually_async, waiters

pytestmark = pytest.mark.anyio

SECRET = "a:c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtdG8tc2lnbg=="


@pytest.fixture
def stream(streams: Streams) -> str:
    return streams.key("r")


@pytest.fixture
def heard(namespace: str) -> str:
    return keys.heard(namespace, "r", CHANNEL, GROUP)


async def loss(mine: InputReceiver[Any]) -> tuple[int, int]:
    """What it tells next."""
    with pytest.raises(MessagesLost) as raised:
        await mine.next()
    return raised.value.first, raised.value.last


def pending_of(client: redis.Redis, stream: str) -> list[tuple[str, int]]:
    """Each message that a consumer has, and how often it was handed out."""
    found: Any = client.xpending_range(stream, GROUP, "-", "+", 100)
    return [(each["message_id"].decode(), each["times_delivered"]) for each in found]


def make_overdue(client: redis.Redis, stream: str) -> None:
    """As if their consumers had been gone for long."""
    found: Any = client.xpending_range(stream, GROUP, "-", "+", 100)
    for each in found:
        options: dict[str, Any] = {"retrycount": each["times_delivered"], "idle": 10_000_000, "justid": True}
        client.xclaim(stream, GROUP, each["consumer"], 0, [each["message_id"]], **options)


# --- what is told, and to whom ---------------------------------------------------------------------------


async def test_what_was_trimmed_is_told_once_and_the_rest_is_received(client: redis.Redis, stream: str) -> None:
    put(client, stream, *range(1, 11), sender="flowchan.flow-run.s")
    client.xtrim(stream, maxlen=6, approximate=False)
    async with receiver() as mine:
        with pytest.raises(MessagesLost, match=r"Messages 1 to 4 of flowchan\.flow-run\.s to run r, channel") as raised:
            await mine.next()
        assert [await mine.next() for _ in range(6)] == [5, 6, 7, 8, 9, 10]
    assert (raised.value.first, raised.value.last, raised.value.count) == (1, 4, 4)
    assert raised.value.sender == "flowchan.flow-run.s"
    # And each group by itself
    assert await all_of(receiver("store")) == [(1, 4), 5, 6, 7, 8, 9, 10]


async def test_what_was_deleted_in_the_middle_is_told_in_its_place(client: redis.Redis, stream: str) -> None:
    send(*range(5))
    entries: Any = client.xrange(stream)
    client.xdel(stream, entries[1][0], entries[3][0])
    assert await all_of(receiver()) == [0, (2, 2), 2, (4, 4), 4]


async def test_each_loss_is_told_to_one_of_those_who_share(client: redis.Redis, stream: str) -> None:
    put(client, stream, 1, 4, 5, 9)
    one, other = receiver(), receiver()
    async with one, other:
        assert await one.next() == 1
        assert await loss(other) == (2, 3)
        # The message behind the loss is the one's who was told, the others go on
        assert await one.next() == 5
        assert await other.next() == 4
        assert await loss(one) == (6, 8)
        assert await one.next() == 9
        assert [*await all_of(one), *await all_of(other)] == []


async def test_a_position_that_outlives_its_receivers_knows_what_they_had(client: redis.Redis, stream: str) -> None:
    put(client, stream, 1, 2)
    async with receiver() as first:
        assert await all_of(first) == [1, 2]
    client.delete(stream)
    put(client, stream, 5)
    assert await all_of(receiver()) == [(3, 4), 5]


async def test_a_sender_s_numbers_are_its_own(client: redis.Redis, stream: str) -> None:
    put(client, stream, 1, 2)
    put(client, stream, 2, producer=Q)
    put(client, stream, 3)
    assert await all_of(receiver()) == [1, 2, (1, 1), 2, 3]


async def test_each_channel_of_a_union_has_numbers_of_its_own(client: redis.Redis, streams: Streams) -> None:
    await send_input("text", "r")
    await send_input(3, "r")
    put(client, streams.key("r", "intautomaticruninput-auto"), 2)
    mine: Any = receive_input(int | str, flow_run_id="r", group=GROUP, timeout=0, raise_timeout_error=False)
    got = await all_of(mine)
    assert sorted(map(str, got)) == ["(1, 1)", "2", "3", "text"]
    assert got.index((1, 1)) < got.index(2)


async def test_what_went_with_its_stream_is_told_to_one_who_waits(client: redis.Redis, stream: str) -> None:
    put(client, stream, 1)
    async with receiver(timeout=20) as mine:
        assert await mine.next() == 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(loss, mine)
            await eventually_async(lambda: waiters(mine))
            client.delete(stream)
            put(client, stream, 4)
        assert await mine.next() == 4


@pytest.mark.parametrize(
    "old, got",
    [
        ("4", [1, 2, (3, 4), 1, 2, 5]),  # what the other is known to have stored is told once
        *((old, [1, 2, 1, 2, (3, 4), 5]) for old in ("2", "1", "x", "4-4", "f" * 15)),
    ],
)
async def test_a_producer_that_follows_another_tells_what_that_one_had_stored(
    old: str, got: list[Any], client: redis.Redis, stream: str
) -> None:
    put(client, stream, 1, 2)
    put(client, stream, 1, producer=Q, headers={FOLLOWS: f"{P}-{old}"})
    put(client, stream, 2, producer=Q)
    put(client, stream, 5)
    assert await all_of(receiver()) == got


# --- the message behind it ---------------------------------------------------------------------------------


async def test_the_message_behind_is_neither_acknowledged_nor_handed_out_by_the_telling(
    client: redis.Redis, stream: str, streams: Streams
) -> None:
    _, behind = put(client, stream, 1, 3)
    async with receiver() as mine:
        assert await mine.next() == 1
        assert await loss(mine) == (2, 2)
        await mine.ack()
        assert pending_of(client, stream) == [(behind, 1)]
    await eventually_async(lambda: idle(streams) > 15_000, "its return")
    # Then it comes to another, for the first time, and the loss is not told again
    async with receiver(with_metadata=True) as other:
        message = await other.next()
        assert (message.value, message.metadata.delivery_count) == (3, 1)
        await other.ack()
    assert pending(streams) == 0


async def test_what_nobody_has_acknowledged_comes_again_without_the_loss(client: redis.Redis, stream: str) -> None:
    put(client, stream, 2, 3, 4)
    async with receiver() as mine:
        assert [await loss(mine), await mine.next(), await mine.next()] == [(1, 1), 2, 3]
    # Given 3 that nobody has acknowledged
    assert await all_of(receiver()) == [3, 4]


async def test_a_loss_that_was_fetched_by_one_who_is_gone_is_told_to_the_next(
    client: redis.Redis, stream: str, heard: str
) -> None:
    put(client, stream, 3)
    claims = broker_of_this_loop(current_settings()).claims
    claim = await claims.claim(stream, GROUP, "flowchan-gone", "", ())
    assert claim.missing == (1, 2)
    make_overdue(client, stream)
    assert await all_of(receiver()) == [(1, 2), 3]
    assert not [name for name in client.hkeys(heard) if b"-" in name]  # type: ignore[union-attr]


async def fetched_for_nobody(mine: InputReceiver[Any]) -> None:
    """Have it ask for a message, for one who goes away before the answer."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mine.next)
        while not waiters(mine):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()


async def test_a_loss_whose_waiter_was_cancelled_is_told_to_the_next(client: redis.Redis, stream: str) -> None:
    async with receiver() as mine:
        assert await all_of(mine) == []
        put(client, stream, 2)
        await fetched_for_nobody(mine)
        assert await loss(mine) == (1, 1)
        assert await mine.next() == 2


@pytest.mark.usefixtures("short_lease")
async def test_a_loss_that_waited_for_too_long_is_told_when_it_is_fetched_again(
    client: redis.Redis, stream: str, streams: Streams
) -> None:
    async with receiver() as mine:
        assert await all_of(mine) == []
        put(client, stream, 2)
        await fetched_for_nobody(mine)
        await eventually_async(lambda: idle(streams) > LEASE * 600, "the end of half a lease")
        assert await loss(mine) == (1, 1)
        await eventually_async(lambda: idle(streams) > LEASE * 600, "the end of half a lease")
        assert await mine.next() == 2


async def test_no_loss_is_lost_where_replies_are(
    server: Server, make_proxy: Callable[[Path], Proxy], stream: str
) -> None:
    proxy = make_proxy(server.socket)
    with server.client() as there:
        put(there, stream, *range(2, 42, 2))
    requests = 0

    def fate(request: bytes) -> Fate:
        nonlocal requests
        if b"EVALSHA" not in request:
            return Fate.PASS
        requests += 1
        return Fate.LOSE_REPLY if requests % 2 else Fate.PASS

    got: list[Any] = []
    async with receiver(timeout=20) as mine:
        proxy.fate = fate
        while len(got) < 40:
            try:
                got.append(await mine.next())
            except MessagesLost as lost:
                got.append((lost.first, lost.last))
        proxy.fate = lambda _: Fate.PASS
    assert proxy.cuts > 10
    assert got == [each for number in range(2, 42, 2) for each in ((number - 1, number - 1), number)]


# --- in sync code, in threads ------------------------------------------------------------------------------


def shared(**options: Any) -> Any:
    return sync.receive_input(int, flow_run_id="r", key_prefix=CHANNEL, group=GROUP, **{"timeout": 0, **options})


def test_sync_code_is_told_and_goes_on(client: redis.Redis, stream: str, streams: Streams) -> None:
    put(client, stream, 2, 3)
    with shared() as mine:
        with pytest.raises(MessagesLost):
            next(mine)
        assert [mine.next(), next(mine)] == [2, 3]
        mine.ack()
    assert pending(streams) == 0


def test_a_thread_that_waits_gets_what_another_was_told_of_and_left(client: redis.Redis, stream: str) -> None:
    put(client, stream, 1)
    told: list[MessagesLost] = []
    mine = shared(timeout=20)
    assert mine.next() == 1

    def once() -> Any:
        try:
            return mine.next()
        except MessagesLost as lost:
            told.append(lost)
            return None

    with mine, ThreadPoolExecutor(2) as pool:
        both = [pool.submit(once) for _ in range(2)]
        eventually(lambda: waiters(mine) == 2)
        put(client, stream, 3)
        assert sorted(str(each.result()) for each in both) == ["3", "None"]
    assert [(lost.first, lost.last) for lost in told] == [(2, 2)]


def test_many_threads_lose_nothing_by_being_told(client: redis.Redis, stream: str) -> None:
    put(client, stream, *range(1, 200, 2))
    got: list[int] = []
    told: list[int] = []
    lock = threading.Lock()

    def take(mine: Any) -> None:
        while True:
            try:
                value = mine.next()
            except MessagesLost as lost:
                with lock:
                    told.extend(range(lost.first, lost.last + 1))
            except TimeoutError:
                return
            else:
                with lock:
                    got.append(value)

    with shared() as one, shared() as other, ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(take, mine) for mine in (one, other, one, other)]:
            each.result()
    assert sorted(got) == list(range(1, 200, 2))
    assert sorted(told) == list(range(2, 200, 2))


# --- what is no loss ---------------------------------------------------------------------------------------


async def test_a_group_that_was_there_before_its_numbers_tells_no_loss_that_is_none(
    client: redis.Redis, stream: str, heard: str
) -> None:
    put(client, stream, 1, 2, 3, 4, 5)
    async with receiver() as mine:
        assert [await mine.next(), await mine.next()] == [1, 2]
        client.delete(heard)
        # What follows is the beginning, and from there on a loss is one
        put(client, stream, 7)
        put(client, stream, 4, producer=Q)
        assert await all_of(mine) == [3, 4, 5, (6, 6), 7, 4]
        client.delete(heard)
        await send_input(1, "r", key_prefix=CHANNEL)
        assert await all_of(mine) == [1]
        assert client.hget(heard, "all") == b"0"
    assert client.pttl(heard) > 0  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["text", "number"])
async def test_a_hash_that_is_not_what_it_was_is_begun_anew(
    kind: str, client: redis.Redis, stream: str, heard: str
) -> None:
    put(client, stream, 1, 2, 4, 5, 7)
    async with receiver() as mine:
        assert await mine.next() == 1
        if kind == "text":
            client.delete(heard)
            client.set(heard, "x", px=60_000)
        else:
            client.hset(heard, P, "x")
        # What was handed out meanwhile is not compared, what follows is
        assert await all_of(mine) == [2, 4, 5, (6, 6), 7]


async def test_copies_and_what_comes_late_are_handed_out_as_ever(client: redis.Redis, stream: str) -> None:
    put(client, stream, 1, 2, 2, 1, 3, 5)
    assert await all_of(receiver()) == [1, 2, 2, 1, 3, (4, 4), 5]


@pytest.mark.parametrize("number, got, behind", [(4, [(1, 3), 4], [(5, 5), 6]), (1, [1], [(2, 5), 6])])
async def test_more_senders_than_are_kept_in_mind_are_no_loss(
    number: int, got: list[Any], behind: list[Any], client: redis.Redis, stream: str, heard: str
) -> None:
    many = [f"{number:016x}" for number in range(0x1000, 0x1400)]
    for producer in many:
        put(client, stream, 1, producer=producer)
    async with receiver() as mine:
        assert await all_of(mine) == [1] * 1024
        assert client.hlen(heard) == 1026
        # One more, all of whose messages should have been there
        put(client, stream, number)
        assert await all_of(mine) == got
        assert client.hlen(heard) < 10  # type: ignore[operator]
        assert client.pttl(heard) > 0  # type: ignore[operator]
        # From then on nothing is known of the others, nor of new ones, but of this
        put(client, stream, 3, 5, producer=many[0])
        put(client, stream, 7, producer=Q)
        put(client, stream, 6)
        assert await all_of(mine) == [3, (4, 4), 5, 7, *behind]


async def test_sends_with_idempotency_keys_are_no_loss(client: redis.Redis, heard: str) -> None:
    for number in range(30):
        await send_input(number, "r", key_prefix=CHANNEL, idempotency_key=str(number % 20))
    assert await all_of(receiver()) == list(range(20))
    assert client.hlen(heard) == 22


async def test_a_channel_that_is_trimmed_when_it_is_full_tells_its_group_nothing(
    client: redis.Redis, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_MAX_CHANNEL_LENGTH", "3")
    put(client, stream, 1, 2, 3, is_old=True)
    async with receiver() as mine:
        assert await all_of(mine) == [1, 2, 3]
        await send_input(0, "r", key_prefix=CHANNEL)
        assert client.xlen(stream) == 1
        put(client, stream, 4)
        assert await all_of(mine) == [0, 4]
    # Who begins later is told, as without a group
    assert await all_of(receiver("store")) == [0, (1, 3), 4]


@pytest.mark.parametrize(
    "fields",
    [
        {"x": "y"},
        {"v": "1"},
        {"v": "1", "id": "", "seq": ""},
        {"v": "1", "id": f"{P}-2", "seq": "two"},
        {"v": "1", "id": f"{P}-2", "seq": "0x2"},
        {"v": "1", "id": f"{P}-2", "seq": "1e0"},
        {"v": "1", "id": f"{P}-2", "seq": "0"},
        {"v": "1", "id": f"{P}-2", "seq": "-2"},
        {"v": "1", "id": f"{P}-2", "seq": "9" * 400},
        {"v": "1", "id": f"{P}{P}-2", "seq": "9"},
        {"v": "1", "id": "all", "seq": "9"},
        {"v": "2", "id": f"{P}-9", "seq": "9"},
        {b"v": b"1", b"id": b"\xff\x00%d[", b"seq": b"\xff%"},
    ],
    ids=str,
)
async def test_what_cannot_be_read_may_have_been_what_is_missing(fields: Any, client: redis.Redis, stream: str) -> None:
    put(client, stream, 1)
    client.xadd(stream, fields)
    put(client, stream, 3)  # it may have been 2
    put(client, stream, 5)  # behind it
    client.xadd(stream, fields)
    put(client, stream, 8)  # it cannot have been both
    put(client, stream, 2, producer=Q)
    put(client, stream, 4, producer="00000000000000cc")
    got = await all_of(receiver(on_invalid="skip"))
    assert got == [1, 3, (4, 4), 5, (6, 7), 8, 2, (1, 3), 4]


@pytest.mark.parametrize("number", [10**15, 10**17, 10**18 - 1])
async def test_numbers_too_large_to_be_compared_are_received(number: int, client: redis.Redis, stream: str) -> None:
    put(client, stream, 1, number, number)
    put(client, stream, 2)
    assert await all_of(receiver()) == [1, number, number, 2]


async def test_the_largest_number_that_is_compared_is_told_exactly(client: redis.Redis, stream: str) -> None:
    put(client, stream, 10**15 - 3, 10**15 - 1)
    assert await all_of(receiver()) == [(1, 10**15 - 4), 10**15 - 3, (10**15 - 2,) * 2, 10**15 - 1]


async def test_a_dead_letter_that_was_sent_again_says_nothing_of_numbers(
    client: redis.Redis, stream: str, heard: str
) -> None:
    send(1, "text")
    async with receiver(on_invalid="dead-letter") as mine:
        assert await all_of(mine) == [1]
        (letter,) = await read_dead_letters("r", group=GROUP)
        client.delete(stream, heard)
        await letter.resend()
        assert await all_of(mine) == []
    assert len(await read_dead_letters("r", group=GROUP)) == 1


async def test_messages_that_a_receiver_passes_over_are_no_loss_and_one_in_front_of_them_is_told(
    client: redis.Redis, stream: str
) -> None:
    put(client, stream, 1)
    (behind,) = put(client, stream, 3)
    put(client, stream, 4)
    key = keys.message_key(stream, keys.EntryId.parse(behind))
    assert await all_of(receiver(exclude_keys=[key])) == [1, (2, 2), 4]


# --- signatures --------------------------------------------------------------------------------------------


async def test_a_forged_message_tells_no_loss_and_is_counted_once(
    client: redis.Redis, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", SECRET)
    put(client, stream, 7)
    for number in range(3):
        await send_input(number, "r", key_prefix=CHANNEL)
    entries: Any = client.xrange(stream)
    client.xdel(stream, entries[2][0])
    async with receiver() as mine:
        assert await all_of(mine) == [SignatureError, 0, (2, 2), 2]
        assert mine.refused == 1


# --- how long ----------------------------------------------------------------------------------------------


async def test_the_numbers_are_kept_longer_than_the_stream(client: redis.Redis, stream: str, heard: str) -> None:
    day = 24 * 3600_000
    async with receiver() as mine:
        assert await all_of(mine) == []
        assert 13 * day < client.pttl(heard) <= 14 * day  # type: ignore[operator]
    send(1)
    client.pexpire(stream, 30 * day)
    async with receiver() as mine:
        assert await mine.next() == 1
        assert 36 * day < client.pttl(heard) <= 37 * day  # type: ignore[operator]
    client.pexpire(stream, 8 * day)
    async with receiver() as mine:
        assert await mine.next() == 1
        assert 36 * day < client.pttl(heard)  # type: ignore[operator]
