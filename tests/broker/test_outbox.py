"""Sends: eager, in order, batched, bounded, stored exactly once or reported."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import redis

from flowchan import receive_input, send_input
from flowchan.broker import broker as broker_of
from flowchan.broker import outbox
from flowchan.errors import (
    BrokerRefused,
    BrokerUnavailable,
    FlowchanError,
    MessagesLost,
    MessageTooLarge,
    SendOutcomeUnknown,
    SendQueueFull,
)
from tests.support.proxy import Fate, Proxy
from tests.support.server import Server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually, eventually_async

MakeServer = Callable[..., Server]
MakeProxy = Callable[[Path], Proxy]

pytestmark = pytest.mark.anyio


def send(value: object, run: str = "r", idempotency_key: str | None = None) -> object:
    return send_input(value, run, key_prefix=CHANNEL, idempotency_key=idempotency_key)


async def sent(value: object, run: str = "r") -> None:
    await send_input(value, run, key_prefix=CHANNEL)


async def stored() -> None:
    """All that was sent has been stored or has failed."""
    for each in list(broker_of._brokers.values()):
        if each.loop is asyncio.get_running_loop():
            await each.outbox.drain()


# --- eager, in order, in batches -------------------------------------------------------------------


async def test_an_unawaited_send_is_stored_while_the_caller_holds_up_its_loop(streams: Streams) -> None:
    await sent(0)
    send(1)
    # No await from here on: the loop does not run.
    eventually(lambda: streams.values("r") == [0, 1], "the send")


async def test_sends_are_stored_in_the_order_of_the_calls(streams: Streams) -> None:
    for value in range(3000):
        send(value)
        if value % 700 == 0:
            await anyio.lowlevel.checkpoint()
    await stored()
    assert streams.values("r") == list(range(3000))


async def test_sends_before_the_first_connection_keep_their_order_across_runs(streams: Streams) -> None:
    for value in range(100):
        send(value, f"r{value % 3}")
    await sent(100, "r0")
    assert [streams.values(f"r{i}") for i in range(3)] == [
        [*range(0, 100, 3), 100],
        [*range(1, 100, 3)],
        [*range(2, 100, 3)],
    ]


async def test_concurrent_tasks_each_keep_their_own_order(streams: Streams) -> None:
    async def one(task: int) -> None:
        for value in range(50):
            await sent([task, value])

    async with anyio.create_task_group() as tasks:
        for task in range(20):
            tasks.start_soon(one, task)
    values = streams.values("r")
    assert len(values) == 1000
    for task in range(20):
        assert [value for owner, value in values if owner == task] == list(range(50))


async def test_what_gathers_in_one_turn_of_the_loop_goes_out_together(streams: Streams, client: redis.Redis) -> None:
    await sent(0)
    before = client.info("stats")["total_reads_processed"]
    for value in range(1, 1001):
        send(value)
    await stored()
    reads = client.info("stats")["total_reads_processed"] - before
    assert streams.length("r") == 1001
    assert reads < 100, "a read of the server for each send"


async def test_a_message_of_a_mebibyte_and_many_of_them_are_stored_whole(streams: Streams) -> None:
    body = b"x" * (1024 * 1024 - 64)
    for _ in range(20):
        send(body)
    await sent(b"end")
    assert [len(value) for value in streams.values("r")] == [len(body)] * 20 + [3]


async def test_every_stream_gets_a_time_to_live_with_every_send(
    streams: Streams, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_RETENTION", "100")
    await sent(1)
    key = streams.key("r")
    assert 90_000 < client.pttl(key) <= 100_000
    # When the same stream is spoken to again and again it is not at once, but soon.
    client.pexpire(key, 5000)
    await sent(2)
    await eventually_async(lambda: 90_000 < client.pttl(key) <= 100_000)
    client.delete(key)
    await sent(3)
    await eventually_async(lambda: 90_000 < client.pttl(key) <= 100_000)


async def test_the_marker_of_an_idempotent_send_has_a_time_to_live(streams: Streams, client: redis.Redis) -> None:
    first = await send_input(1, "r", key_prefix=CHANNEL, idempotency_key="k")
    again = await send_input(2, "r", key_prefix=CHANNEL, idempotency_key="k")
    assert first.key == again.key
    assert streams.values("r") == [1]
    assert all(client.pttl(key) > 0 for key in client.scan_iter(f"{streams.key('r')}*"))


# --- bounded -----------------------------------------------------------------------------------------


async def test_more_sends_than_may_wait_raise_and_are_not_stored(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_MAX_PENDING", "100")
    for value in range(100):
        send(value)
    with pytest.raises(SendQueueFull, match="100"):
        send(100)
    await stored()
    await sent(101)
    assert streams.values("r") == [*range(100), 101]


async def test_a_message_that_is_too_large_stores_nothing_and_says_both_sizes(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_MAX_MESSAGE_BYTES", "1000")
    await sent(b"x" * 900)
    with pytest.raises(MessageTooLarge, match=r"1,000") as raised:
        send(b"x" * 1000)
    assert raised.value.limit == 1000 < raised.value.size
    await sent(b"y")
    assert [len(value) for value in streams.values("r")] == [900, 1]


# --- failures are raised or logged, never both and never neither ----------------------------------------


def refuse_writes(client: redis.Redis) -> None:
    client.config_set("maxmemory", 1)


@pytest.fixture
def full(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that is out of memory."""
    server = make_server("--maxmemory-policy", "noeviction")
    with server.client() as client:
        client.config_set("maxmemory", 1)
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    return server


@pytest.mark.parametrize("keys_", [None, "a:c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtdG8tc2lnbg=="])
async def test_what_was_refused_while_the_one_behind_it_was_stored_comes_late_and_is_not_lost(
    keys_: str | None, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server()
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    if keys_ is not None:
        monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", keys_)
    async with receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=20) as receiver:
        with server.client() as client:
            await sent(0)
            assert await receiver.next() == 0
            client.config_set("min-replicas-to-write", 1)
            # All of this in one turn of the loop, so that the answer to the first is not seen before the second is sent.
            first = send(1)
            eventually(lambda: client.info("commandstats")["cmdstat_xadd"]["rejected_calls"])
            client.config_set("min-replicas-to-write", 0)
            second = send(2)
        await first  # type: ignore[misc]
        await second  # type: ignore[misc]
        with pytest.raises(MessagesLost, match="Message 2"):  # under that number it will not come
            await receiver.next()
        assert [await receiver.next(), await receiver.next()] == [2, 1]


@pytest.mark.usefixtures("full")
async def test_an_unawaited_failure_is_logged_with_run_channel_and_cause_and_without_payload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    send("a secret", "run-1")
    await stored()
    gc.collect()
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    text = record.getMessage()
    assert "run-1" in text
    assert CHANNEL in text
    assert "OOM" in text
    assert "secret" not in caplog.text


@pytest.mark.usefixtures("full")
async def test_an_unawaited_failure_is_logged_even_if_somebody_still_holds_on_to_the_send_for_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = send("a secret")
    await stored()
    del held
    gc.collect()
    assert [each.levelno for each in caplog.records] == [logging.ERROR]


@pytest.mark.usefixtures("full")
async def test_an_awaited_failure_is_raised_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(BrokerRefused, match="out of memory") as raised:
        await sent("a secret", "run-1")
    gc.collect()
    assert raised.value.code == "OOM"
    assert "run-1" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert not caplog.records


@pytest.mark.usefixtures("full")
async def test_a_send_whose_caller_was_cancelled_is_logged_when_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    with anyio.move_on_after(0):
        await sent("a secret")
    await stored()
    gc.collect()
    assert [each.levelno for each in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize(
    "sender",
    [
        "$4\r\n\0id\0\r\n",
        "x$16\r\n9999999999999999\r\n",
        "x$6\r\n\0body\0\r\n",
        "$16\r\n9999999999999999\r\n$6\r\n\0body\0\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    ],
    ids=["an ID", "a number", "a body", "all"],
)
async def test_a_sender_whose_name_looks_like_a_part_of_a_command_is_a_name(sender: str, streams: Streams) -> None:
    for value in range(4):  # the first is packed as a whole, those behind it in part
        await send_input(value, "r", sender=sender, key_prefix=CHANNEL)
    entries: Any = streams.client.xrange(streams.key("r"))
    assert [(fields[b"from"], int(fields[b"seq"])) for _, fields in entries] == [
        (sender.encode(), number) for number in range(1, 5)
    ]
    assert streams.values("r") == [0, 1, 2, 3]


async def test_a_refusal_of_one_send_leaves_the_others_alone(streams: Streams, client: redis.Redis) -> None:
    client.set(streams.key("bad"), "no stream", px=60_000)
    bad = send(1, "bad")
    good = send(2, "good")
    with pytest.raises(BrokerRefused, match="WRONGTYPE"):
        await bad  # type: ignore[misc]
    await good  # type: ignore[misc]
    assert streams.values("good") == [2]


async def test_cancelling_an_await_does_not_take_the_message_back(streams: Streams) -> None:
    await sent(0)
    for value in range(1, 200):
        with anyio.move_on_after(0):
            await sent(value)
    await sent(200)
    assert streams.values("r") == list(range(201))


async def test_draining_waits_for_a_send_whose_caller_was_cancelled(streams: Streams) -> None:
    await sent(0)
    await eventually_async(lambda: streams.length("r") == 1)
    broker = broker_of.broker_of_this_loop(next(iter(broker_of._brokers))[1])
    with anyio.move_on_after(0):
        await sent(b"x" * 1_000_000)
    assert not broker.outbox.is_idle()
    await broker.outbox.drain()
    assert broker.outbox.is_idle()
    assert streams.length("r") == 2


# --- the broker goes away ----------------------------------------------------------------------------


async def test_a_broker_that_was_never_there_fails_a_send_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLOWCHAN_URL", f"unix://{tmp_path}/nobody")
    with pytest.raises(BrokerUnavailable, match="cannot be reached"):
        await sent(1)


async def test_sends_while_the_broker_is_away_are_stored_once_and_in_order_when_it_is_back(server: Server) -> None:
    await sent(0)
    server.kill()
    for value in range(1, 200):
        send(value)
        if value % 20 == 0:
            await anyio.sleep(0.001)
    server.start()
    await sent(200)
    with server.client() as client:
        assert everything(client) == list(range(201))


def everything(client: redis.Redis) -> list[object]:
    (key,) = list(client.scan_iter("*}:r:*"))
    return Streams(client, key.split(b":")[0].decode()).values("r")


async def test_a_broker_killed_in_the_middle_of_sends_again_and_again_has_each_once(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server("--appendfsync", "always")
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    await sent(-1)
    done = False

    async def murder() -> None:
        while not done:
            await anyio.to_thread.run_sync(server.restart)
            await anyio.sleep(0.3)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(murder)
        waiting = []
        for value in range(2000):
            waiting.append(send(value))
            if value % 10 == 0:
                await anyio.sleep(0.001)
        for each in waiting:
            await each  # type: ignore[misc]
        done = True
    with server.client() as client:
        assert everything(client) == list(range(-1, 2000))


@pytest.mark.parametrize("fate", [fate for fate in Fate if fate is not Fate.PASS])
async def test_five_hundred_cut_connections_store_every_send_once(
    fate: Fate, shared_server: Server, make_proxy: MakeProxy, streams: Streams
) -> None:
    proxy = make_proxy(shared_server.socket)
    await sent(-1)
    hit: set[bytes] = set()

    def decide(data: bytes) -> Fate:
        # Each send once: the second try goes through.
        if b"XADD" in data and (marker := re.findall(rb"[0-9a-f]{16}-[0-9a-f]+", data)[0]) not in hit:
            hit.add(marker)
            return fate
        return Fate.PASS

    proxy.fate = decide
    for value in range(125):
        await sent(value)
    assert proxy.cuts == 125
    assert streams.values("r") == list(range(-1, 125))


async def test_random_cuts_under_bursts_of_sends_store_each_once_and_in_order(
    shared_server: Server, make_proxy: MakeProxy, streams: Streams
) -> None:
    dice = random.Random(7)
    proxy = make_proxy(shared_server.socket)
    fates = list(Fate)
    await sent(["r0", -1], "r0")

    def decide(data: bytes) -> Fate:
        is_handshake = not any(word in data for word in (b"XADD", b"XREVRANGE", b"PEXPIRE", b"LIST", b"KILL"))
        return Fate.PASS if is_handshake or dice.random() < 0.7 else dice.choice(fates)

    proxy.fate = decide
    sends = []
    for value in range(1500):
        run = f"r{value % 3}"
        sends.append(send([run, value], run))
        if dice.random() < 0.1:
            await anyio.sleep(0.001)
    for each in sends:
        await each  # type: ignore[misc]
    assert proxy.cuts > 15
    found = [value for i in range(3) for _, value in streams.values(f"r{i}")]
    assert found == [-1, *range(0, 1500, 3), *range(1, 1500, 3), *range(2, 1500, 3)]


async def test_what_a_stalled_network_delivers_late_is_not_stored_twice(
    shared_server: Server, make_proxy: MakeProxy, streams: Streams
) -> None:
    proxy = make_proxy(shared_server.socket)
    await sent(0)
    # Given sends that are held up somewhere on their way
    proxy.hold()
    sends = [send(value) for value in range(1, 50)]
    await anyio.sleep(0.05)
    # When the client takes its connection for lost and the next one works
    proxy.cut_held()
    await sent(50)
    for each in sends:
        await each  # type: ignore[misc]
    # Then what turns up later is not taken in
    await anyio.to_thread.run_sync(proxy.release)
    assert streams.values("r") == list(range(51))


async def test_a_reply_that_never_comes_is_an_unknown_outcome_after_the_send_timeout(
    shared_server: Server, make_proxy: MakeProxy, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_SEND_TIMEOUT", "0.5")
    proxy = make_proxy(shared_server.socket)
    await sent(0)

    def vanish(data: bytes) -> Fate:
        if b"XADD" not in data:
            return Fate.PASS
        proxy.accepts = False
        return Fate.LOSE_REPLY

    proxy.fate = vanish
    with pytest.raises(SendOutcomeUnknown, match="not known") as raised:
        await sent(1)
    assert streams.values("r") == [0, 1]
    (_, fields) = streams.client.xrevrange(streams.key("r"), count=1)[0]  # type: ignore[index]
    assert fields[b"id"].decode() == raised.value.message_id


async def test_a_send_that_never_left_is_known_not_to_be_stored(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_SEND_TIMEOUT", "0.5")
    await sent(0)
    server.kill()
    await eventually_async(lambda: not connected())
    with pytest.raises(BrokerUnavailable, match="was not stored") as raised:
        await sent(1)
    assert not isinstance(raised.value, SendOutcomeUnknown)


async def test_the_send_timeout_holds_for_every_send_while_the_broker_is_away(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_SEND_TIMEOUT", "0.3")
    await sent(0)
    server.kill()
    for value in range(3):
        with anyio.fail_after(5), pytest.raises(BrokerUnavailable):
            await sent(value)


def connected() -> bool:
    return any(each.outbox._connection is not None for each in broker_of._brokers.values())


async def test_a_server_that_takes_no_writes_for_good_refuses_after_the_send_timeout(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server()
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    monkeypatch.setenv("FLOWCHAN_SEND_TIMEOUT", "1")
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        with anyio.fail_after(10), pytest.raises(FlowchanError, match="READONLY"):
            await sent(1)


async def test_a_server_that_takes_no_writes_for_a_while_gets_them_in_order_afterwards(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server()
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    with server.client() as client:
        await sent(0)
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        sends = [send(value) for value in range(1, 20)]
        await anyio.sleep(0.1)
        client.execute_command("REPLICAOF", "NO", "ONE")
        for each in sends:
            await each  # type: ignore[misc]
        assert everything(client) == list(range(20))


async def test_looking_back_after_a_loss_reads_little_of_a_long_stream_of_others(
    shared_server: Server, make_proxy: MakeProxy, streams: Streams, client: redis.Redis
) -> None:
    # Given a stream full of what others have sent
    proxy = make_proxy(shared_server.socket)
    await sent(0)
    with client.pipeline(transaction=False) as pipe:
        for _ in range(50):
            pipe.xadd(streams.key("r"), {"body": b"x" * 1_000_000})
        pipe.execute()
    await sent(1)
    before = client.info("stats")["total_net_output_bytes"]
    # When a reply is lost
    once = iter([Fate.LOSE_REPLY])
    proxy.fate = lambda data: next(once, Fate.PASS) if b"XADD" in data else Fate.PASS
    await sent(2)
    # Then what was asked for is what is near the end
    assert client.info("stats")["total_net_output_bytes"] - before < 10_000_000


async def test_a_run_of_the_loop_ends_only_when_its_sends_have_been_stored(streams: Streams) -> None:
    def program() -> None:
        async def main() -> None:
            for value in range(500):
                send(value)

        asyncio.run(main())

    await anyio.to_thread.run_sync(program)
    assert streams.values("r") == list(range(500))


async def test_a_loop_that_ends_while_a_lost_connection_is_being_looked_into_still_stores_all(
    shared_server: Server, make_proxy: MakeProxy, streams: Streams
) -> None:
    proxy = make_proxy(shared_server.socket)
    looking = []

    def decide(data: bytes) -> Fate:
        if b"XREVRANGE" in data and not looking:
            looking.append(time.monotonic())
            time.sleep(0.3)  # the loop ends meanwhile
        if b"XADD" in data and not looking:
            return Fate.LOSE_REQUEST
        return Fate.PASS

    def program() -> None:
        async def main() -> None:
            await sent(0, "other")
            proxy.fate = decide
            send(1)
            while not looking:
                await asyncio.sleep(0.001)

        asyncio.run(main())

    await anyio.to_thread.run_sync(program)
    assert streams.values("r") == [1]


def test_a_synchronous_send_has_been_stored_when_it_returns(streams: Streams) -> None:
    for value in range(50):
        send(value)
        assert streams.length("r") == value + 1


def test_the_producer_changes_when_its_sequences_are_forgotten(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_STREAMS_KEPT", 3)
    for value in range(12):
        send(value, f"r{value % 4}")
    seen: set[tuple[bytes, bytes]] = set()
    for run in range(4):
        entries = streams.client.xrange(streams.key(f"r{run}"))
        for _, fields in entries:  # type: ignore[union-attr]
            place = fields[b"id"].split(b"-")[0] + streams.key(f"r{run}").encode(), fields[b"seq"]
            assert place not in seen
            seen.add(place)
    assert len(seen) == 12
