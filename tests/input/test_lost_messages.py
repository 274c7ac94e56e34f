"""What a sender has sent and the stream does not hold: told once, and nothing else is lost by it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
import redis

from flowchan import receive_input, send_input, sync
from flowchan.errors import BrokerRefused, DecodeError, MessagesLost, SignatureError
from flowchan.input import InputReceiver, sequences
from flowchan.wire.codec import encode
from tests.support import loops
from tests.support.lost import P, Q, all_of, put
from tests.support.server import Server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually, eventually_async, waiters

pytestmark = pytest.mark.anyio

SECRET = "a:c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtdG8tc2lnbg=="


@pytest.fixture(params=loops.BOTH)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def stream(streams: Streams) -> str:
    return streams.key("r")


def receiver(kind: Any = int, **options: Any) -> InputReceiver[Any]:
    options = {"flow_run_id": "r", "key_prefix": CHANNEL, "timeout": 20, **options}
    return receive_input(kind, **options)


def now(**options: Any) -> InputReceiver[Any]:
    return receiver(**{"timeout": 0, "raise_timeout_error": False, **options})


async def send(*values: int, **options: Any) -> list[str]:
    return [(await send_input(value, "r", key_prefix=CHANNEL, **options)).key for value in values]


# --- where they went -------------------------------------------------------------------------------------


async def test_what_was_trimmed_is_told_once_and_the_rest_is_received(client: redis.Redis, stream: str) -> None:
    await send(*range(10), sender="flowchan.flow-run.s")
    client.xtrim(stream, maxlen=6, approximate=False)
    async with receiver() as mine:
        with pytest.raises(MessagesLost, match=r"Messages 1 to 4 of flowchan\.flow-run\.s to run r, channel") as raised:
            await mine.next()
        assert [await mine.next() for _ in range(6)] == [4, 5, 6, 7, 8, 9]
        assert (raised.value.first, raised.value.last, raised.value.count) == (1, 4, 4)
        assert raised.value.sender == "flowchan.flow-run.s"
    assert await all_of(now()) == [(1, 4), 4, 5, 6, 7, 8, 9]


async def test_what_was_deleted_in_the_middle_is_told_in_its_place(client: redis.Redis, stream: str) -> None:
    await send(*range(5))
    entries: Any = client.xrange(stream)
    client.xdel(stream, entries[1][0], entries[3][0])
    assert await all_of(now()) == [0, (2, 2), 2, (4, 4), 4]


@pytest.mark.parametrize("how", ["flushall", "delete", "expire"])
async def test_what_went_with_its_stream_is_told_to_one_who_waits(how: str, client: redis.Redis, stream: str) -> None:
    put(client, stream, 1)
    async with receiver() as mine:
        assert await mine.next() == 1
        told: list[MessagesLost] = []

        async def wait() -> None:
            with pytest.raises(MessagesLost, match="Messages 2 to 3 of a sender without a name") as raised:
                await mine.next()
            told.append(raised.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await eventually_async(lambda: waiters(mine))
            {"flushall": client.flushall, "delete": lambda: client.delete(stream)}.get(
                how, lambda: client.pexpire(stream, 0)
            )()
            put(client, stream, 4, 5)
        assert len(told) == 1
        assert [await mine.next(), await mine.next()] == [4, 5]


async def test_an_append_only_file_that_was_cut_short_is_told(
    make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server("--aof-load-truncated", "yes")
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    await send(*range(5))
    (file,) = (server.folder / "appendonlydir").glob("*.incr.aof")
    whole = file.stat().st_size
    await send(*range(5, 15))
    # Given a power loss: what the server had written was not on the disk yet
    server.kill()
    with file.open("rb+") as cut:
        cut.truncate(whole + 3)
    server.start()
    # When the sender goes on
    await send(15, 16)
    # Then what it had been told was stored, and is not, is told
    assert await all_of(now()) == [0, 1, 2, 3, 4, (6, 15), 15, 16]


# --- what is no loss -------------------------------------------------------------------------------------


async def test_a_send_that_the_server_refused_leaves_no_gap(
    make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server("--maxmemory-policy", "noeviction")
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    with server.client() as client:
        for value in range(0, 9, 3):
            await send(value)
            client.config_set("maxmemory", 1)
            refused = [send_input(each, "r", key_prefix=CHANNEL) for each in (value + 1, value + 2)]
            for each in refused:
                with pytest.raises(BrokerRefused):
                    await each
            client.config_set("maxmemory", 0)
    assert await all_of(now()) == [0, 3, 6]


async def test_a_message_that_cannot_be_encoded_leaves_no_gap() -> None:
    await send(0)
    for options in ({}, {"idempotency_key": "k"}):
        with pytest.raises(TypeError, match="surrogate"):
            await send(1, sender="\ud800", **options)
    await send(2)
    assert await all_of(now()) == [0, 2]


async def test_idempotent_sends_leave_no_gap_whether_they_are_stored_or_not() -> None:
    for value in range(3):
        await send(value)
        await send(10 + value, idempotency_key="k")
        await send(20 + value, idempotency_key=f"k{value}")
    assert await all_of(now()) == [0, 10, 20, 1, 21, 2, 22]


@pytest.mark.parametrize("keys_", [None, SECRET], ids=["plain", "signed"])
async def test_what_a_read_only_server_takes_later_leaves_no_gap(
    keys_: str | None, make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server()
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    if keys_ is not None:
        monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", keys_)
    with server.client() as client:
        await send(0)
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        sends = [send_input(value, "r", key_prefix=CHANNEL) for value in range(1, 20)]
        await eventually_async(lambda: client.info("commandstats")["cmdstat_xadd"]["rejected_calls"] >= 19)
        client.execute_command("REPLICAOF", "NO", "ONE")
        for each in sends:
            await each
    await send(20)
    assert await all_of(now()) == list(range(21))


async def test_excluded_messages_are_no_loss() -> None:
    keys = await send(*range(8))
    assert await all_of(now(exclude_keys=keys[:3])) == [3, 4, 5, 6, 7]
    assert await all_of(now(exclude_keys=[keys[0], keys[3], keys[4], keys[7]])) == [1, 2, 5, 6]
    # Nor are they when there are so many that the replay begins behind them.
    keys += await send(*range(8, 100))
    assert await all_of(now(exclude_keys=keys[:90])) == list(range(90, 100))


async def test_more_missing_than_were_excluded_is_a_loss(client: redis.Redis, stream: str) -> None:
    keys = await send(*range(8))
    client.xtrim(stream, maxlen=3, approximate=False)
    assert await all_of(now(exclude_keys=keys[:5])) == [5, 6, 7]
    assert await all_of(now(exclude_keys=keys[:4])) == [(1, 5), 5, 6, 7]


async def test_behind_a_key_each_senders_first_message_is_its_beginning(client: redis.Redis, stream: str) -> None:
    keys = await send(*range(4))
    put(client, stream, 7, 9)
    assert await all_of(now(after=keys[1])) == [2, 3, 7, (8, 8), 9]


async def test_a_message_that_cannot_be_read_is_told_once_and_not_as_a_loss(client: redis.Redis, stream: str) -> None:
    put(client, stream, 1)
    client.xadd(stream, {"v": "2", "id": f"{P}-2"})
    put(client, stream, 3, 5)
    client.xadd(stream, {"v": "1", "id": "garbage"})
    put(client, stream, 8)
    assert await all_of(now()) == [1, DecodeError, 3, (4, 4), 5, DecodeError, (6, 7), 8]


async def test_a_message_of_the_wrong_type_is_no_loss() -> None:
    await send(0)
    await send_input("text", "r", key_prefix=CHANNEL)
    await send(2)
    async with now() as mine:
        assert await mine.next() == 0
        with pytest.raises(ValueError, match="int"):
            await mine.next()
        assert await mine.next() == 2


async def test_what_was_not_signed_is_told_once_and_not_as_a_loss_and_its_number_is_not_believed(
    client: redis.Redis, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", SECRET)
    await send(0, 1)
    (_, fields), _ = client.xrange(stream)  # type: ignore[misc]
    producer = fields[b"id"].split(b"-")[0].decode()
    put(client, stream, 90, producer=producer)
    await send(2)
    assert await all_of(now()) == [0, 1, SignatureError, 2]
    client.xtrim(stream, maxlen=1, approximate=False)
    assert await all_of(now()) == [(1, 2), 2]


async def test_a_message_of_another_group_is_none_and_its_number_says_nothing(client: redis.Redis, stream: str) -> None:
    put(client, stream, 1)
    fields = {"v": "1", "id": f"{P}-9", "seq": "9", "h.flowchan.group": "g", "body": encode(9)}
    client.xadd(stream, fields)
    put(client, stream, 2)
    assert await all_of(now()) == [1, 2]


@pytest.mark.parametrize("keys_", [None, SECRET], ids=["plain", "signed"])
async def test_the_end_of_what_a_sender_had_stored_is_missed_though_it_goes_on_with_other_numbers(
    keys_: str | None, make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server("--maxmemory-policy", "noeviction")
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    if keys_ is not None:
        monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", keys_)
    with server.client() as client:
        await send(0, 1)
        # Given two that were acknowledged and are lost, and refusals before the next one is stored, as in a failover
        lost = await send(2, 3)
        (stream,) = client.scan_iter("*}:r:*")
        client.xdel(stream, *("-".join(key.split("-")[1:3]) for key in lost))
        for _ in range(2):
            client.config_set("maxmemory", 1)
            with pytest.raises(BrokerRefused):
                await send(9)
            client.config_set("maxmemory", 0)
        await send(4, 5)
    assert await all_of(now()) == [0, 1, (3, 4), 4, 5]


async def test_what_follows_another_sender_is_looked_at_only_where_that_one_is_known(
    client: redis.Redis, stream: str
) -> None:
    put(client, stream, 1, 2)
    (key,) = await send(0)
    for number, follows in enumerate(["garbage", f"{P}-2", f"{P}-5", f"{Q}-1"]):
        fields = {"v": "1", "id": f"{number:016x}-1", "seq": "1", "h.flowchan.follows": follows, "body": encode(number)}
        client.xadd(stream, fields)
    assert await all_of(now()) == [1, 2, 0, 0, 1, (3, 5), 2, (1, 1), 3]
    assert await all_of(now(after=key)) == [0, 1, 2, 3]


async def test_a_copy_is_passed_over(client: redis.Redis, stream: str) -> None:
    put(client, stream, 1, 2, 1, 3, 2, 3, 4)
    assert await all_of(now()) == [1, 2, 3, 4]


# --- who is told -----------------------------------------------------------------------------------------


async def test_each_sender_of_each_channel_has_numbers_of_its_own(client: redis.Redis, streams: Streams) -> None:
    ints, texts = (streams.key("r", f"{name}automaticruninput-auto") for name in ("int", "str"))
    put(client, ints, 1, 2)
    put(client, ints, 1, producer=Q)
    put(client, texts, 4)  # the same sender, but in another stream
    put(client, ints, 3)
    put(client, ints, 3, producer=Q)
    got: list[Any] = []
    async with receive_input(int | str, flow_run_id="r", timeout=0) as mine:
        while True:
            try:
                got.append(await mine.next())
            except MessagesLost as lost:
                got.append((lost.first, lost.last))
            except TimeoutError:
                break
    assert sorted(map(str, got)) == sorted(map(str, [1, 2, 1, (1, 3), 4, 3, (2, 2), 3]))
    assert got.index((1, 3)) == got.index(4) - 1
    assert got[-2:] == [(2, 2), 3]


async def test_a_sender_that_was_forgotten_begins_anew(
    client: redis.Redis, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "_PRODUCERS", 2)
    put(client, stream, 3)
    put(client, stream, 1, 2, producer=Q)
    put(client, stream, 1, 2, producer="00000000000000cc")
    put(client, stream, 8)
    put(client, stream, 4, producer="00000000000000cc")
    assert await all_of(now()) == [(1, 2), 3, 1, 2, 1, 2, 8, (3, 3), 4]


async def test_senders_of_a_single_message_are_forgotten_before_others(
    client: redis.Redis, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "_PRODUCERS", 3)
    put(client, stream, 1, 2)
    for number in range(9):
        put(client, stream, 1, producer=f"{number:016x}")
    put(client, stream, 5)
    assert await all_of(now()) == [1, 2, *[1] * 9, (3, 4), 5]


@pytest.mark.parametrize("loop", [False, True], ids=["next", "for"])
def test_synchronous_code_is_told_too_and_goes_on(loop: bool, client: redis.Redis, stream: str) -> None:
    put(client, stream, 1, 4, 5)
    got: list[Any] = []
    with sync.receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=0, raise_timeout_error=False) as mine:
        for _ in range(2):
            try:
                got += list(mine) if loop else [mine.next(), mine.next(), mine.next()]
            except MessagesLost as lost:
                got.append((lost.first, lost.last))
            except TimeoutError:
                break
    assert got[-3:] == [(2, 3), 4, 5] if loop else (2, 3) in got


def test_a_thread_that_waits_already_gets_what_another_was_told_of_and_left(client: redis.Redis, stream: str) -> None:
    put(client, stream, 1)
    mine: Any = sync.receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=20)
    assert mine.next() == 1
    told: list[MessagesLost] = []

    def once() -> Any:
        try:
            return mine.next()
        except MessagesLost as lost:
            told.append(lost)
            return None

    # Given two that wait, each for one message
    with mine, ThreadPoolExecutor(2) as pool:
        both = [pool.submit(once) for _ in range(2)]
        eventually(lambda: waiters(mine) == 2)
        # When one is told of a loss and does not ask again
        put(client, stream, 3)
        # Then the other has the message that came behind it
        assert sorted(str(each.result()) for each in both) == ["3", "None"]
    assert [(lost.first, lost.last) for lost in told] == [(2, 2)]


async def test_a_task_that_waits_already_gets_what_another_was_told_of_and_left(
    client: redis.Redis, stream: str
) -> None:
    put(client, stream, 1)
    async with receiver() as mine:
        assert await mine.next() == 1
        got: list[Any] = []

        async def once() -> None:
            try:
                got.append(await mine.next())
            except MessagesLost as lost:
                got.append((lost.first, lost.last))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(once)
            await eventually_async(lambda: waiters(mine) == 3)
            put(client, stream, 4, 5)
    assert got == [(2, 3), 4, 5]


def test_many_threads_lose_nothing_by_being_told(client: redis.Redis, stream: str) -> None:
    put(client, stream, *range(1, 2000, 2))
    got: list[int] = []
    told: list[int] = []
    lock = threading.Lock()
    mine: Any = sync.receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=0)

    def take() -> None:
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

    with mine, ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(take) for _ in range(4)]:
            each.result()
    assert sorted(got) == list(range(1, 2000, 2))
    assert sorted(told) == list(range(2, 2000, 2))


async def test_a_receiver_that_moves_to_another_loop_still_has_what_stood_behind_the_loss(
    client: redis.Redis, stream: str
) -> None:
    put(client, stream, 2, 3)
    async with receiver() as mine:
        with pytest.raises(MessagesLost):
            await mine.next()

        def elsewhere() -> list[Any]:
            async def rest() -> list[Any]:
                return [await mine.next(), await mine.next()]

            return anyio.run(rest)

        assert await anyio.to_thread.run_sync(elsewhere) == [2, 3]
