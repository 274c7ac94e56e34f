"""A send whose outcome is not known, sent again by its ID: one entry, whether it was stored or not."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import hiredis
import pytest
import redis

from flowchan import receive_input, send_input
from flowchan.errors import BrokerUnavailable, MessagesLost, SendOutcomeUnknown
from tests.support import programs
from tests.support.proxy import Fate, Proxy
from tests.support.server import Server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

MakeProxy = Callable[[Path], Proxy]
MakeServer = Callable[..., Server]

SECRET = "a:c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtdG8tc2lnbg=="


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop does here: it has no part in what is looked at."""
    return "asyncio", {"use_uvloop": False}


async def send(value: int, idempotency_key: str | None = None) -> str:
    return (await send_input(value, "r", key_prefix=CHANNEL, idempotency_key=idempotency_key)).key


async def everything() -> list[int]:
    """What a receiver has of it; it raises if anything is lost."""
    async with receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=0, raise_timeout_error=False) as all_:
        return [value async for value in all_]


async def send_when_it_is_back(value: int, idempotency_key: str | None = None) -> str:
    """Until somebody tries to reach the broker again, which is done once a second, a send fails."""
    with anyio.fail_after(20):
        while True:
            with contextlib.suppress(BrokerUnavailable):
                return await send(value, idempotency_key)


def ids(streams: Streams) -> list[str]:
    entries: Any = streams.client.xrange(streams.key("r"))
    return [fields[b"id"].decode() for _, fields in entries]


@pytest.fixture
def proxy(shared_server: Server, make_proxy: MakeProxy, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    monkeypatch.setenv("FLOWCHAN_SEND_TIMEOUT", "0.3")
    return make_proxy(shared_server.socket)


def vanish(proxy: Proxy, fate: Fate) -> None:
    """The next send goes wrong, and nobody can be reached afterwards."""

    def decide(data: bytes) -> Fate:
        if b"XADD" not in data:
            return Fate.PASS
        proxy.accepts = False
        return fate

    proxy.fate = decide


def come_back(proxy: Proxy) -> None:
    proxy.accepts, proxy.fate = True, lambda _: Fate.PASS


@pytest.mark.parametrize("keys", [None, SECRET], ids=["plain", "signed"])
@pytest.mark.parametrize("fate", [Fate.LOSE_REPLY, Fate.LOSE_REQUEST], ids=["stored", "not stored"])
async def test_sent_again_by_its_id_it_is_there_once(
    fate: Fate, keys: str | None, proxy: Proxy, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    if keys is not None:
        monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", keys)
    await send(0)
    vanish(proxy, fate)
    with pytest.raises(SendOutcomeUnknown, match="not known") as raised:
        await send(1)
    was_stored = streams.length("r") == 2
    assert was_stored == (fate is Fate.LOSE_REPLY)
    come_back(proxy)
    # When it is sent again, and again, with another message in between
    key = await send_when_it_is_back(1, raised.value.idempotency_key)
    await send(2)
    assert await send(1, raised.value.idempotency_key) == key
    # Then it is there once, under the ID that it had, and nothing is missing
    assert streams.values("r") == [0, 1, 2]
    assert ids(streams)[1] == raised.value.message_id
    assert key.rpartition("-")[0].endswith(streams.client.xrange(streams.key("r"))[1][0].decode())  # type: ignore[index]
    assert await everything() == [0, 1, 2]


@pytest.mark.parametrize("fate", [Fate.LOSE_REPLY, Fate.LOSE_REQUEST], ids=["stored", "not stored"])
async def test_several_other_processes_may_send_it_again_at_once(
    fate: Fate, proxy: Proxy, streams: Streams, shared_server: Server
) -> None:
    await send(0)
    vanish(proxy, fate)
    with pytest.raises(SendOutcomeUnknown) as raised:
        await send(1)
    key = raised.value.idempotency_key
    code = f"from flowchan import sync\nprint(sync.send_input(1, 'r', key_prefix={CHANNEL!r}, idempotency_key={key!r}).key)"
    found: set[str] = set()

    def send_it() -> None:
        found.add(programs.run(code, FLOWCHAN_URL=shared_server.url))

    async with anyio.create_task_group() as others:
        for _ in range(2):
            others.start_soon(anyio.to_thread.run_sync, send_it)
    assert len(found) == 1
    assert streams.values("r") == [0, 1]
    come_back(proxy)


async def test_what_arrives_late_after_all_is_no_second_message(proxy: Proxy) -> None:
    await send(0)
    # Given a send that is held up on its way, and given up
    proxy.hold()
    proxy.accepts = False
    async with anyio.create_task_group() as tasks:
        raised: list[SendOutcomeUnknown] = []

        async def doubtful() -> None:
            try:
                await send(1)
            except SendOutcomeUnknown as error:
                raised.append(error)

        tasks.start_soon(doubtful)
        await anyio.sleep(0.05)
        proxy.cut_held()
    come_back(proxy)
    # When it is sent again by its ID, and then arrives
    await send_when_it_is_back(1, raised[0].message_id)
    await anyio.to_thread.run_sync(proxy.release)
    await send(2)
    # Then a receiver has it once, whether the server ended the old connection in time or not
    assert await everything() == [0, 1, 2]


async def test_it_is_looked_for_among_many_others_and_behind_large_ones(streams: Streams) -> None:
    first = await send(0)
    (message_id,) = ids(streams)
    with streams.client.pipeline(transaction=False) as pipe:
        for number in range(1, 200):
            fields: Any = {"v": 1, "id": f"{secrets.token_hex(8)}-1", "seq": 1, "body": b"\x81\xa5value\x07"}
            pipe.xadd(streams.key("r"), fields if number % 50 else fields | {"h.x": "x" * 500_000})
        # Of the same sender, for a group alone, with a number before it; and something that is none of ours.
        pipe.xadd(streams.key("r"), {"id": message_id.replace("-1", "-0"), "h.flowchan.group": "g"})
        pipe.xadd(streams.key("r"), {"id": message_id.replace("-1", "-zz")})
        pipe.xadd(streams.key("r"), {"x": "y"})
        pipe.execute()
    length = streams.length("r")
    assert await send(0, message_id) == first
    assert streams.length("r") == length


async def test_a_look_ends_at_an_older_message_of_the_same_sender(streams: Streams, client: redis.Redis) -> None:
    for value in range(3000):
        client.xadd(streams.key("r"), {"x": value})
    await send(0)
    await send(1)
    (_, message_id) = ids_of_ours(streams)
    producer = message_id.partition("-")[0]
    before = client.info("commandstats")["cmdstat_xrevrange"]["calls"] if "cmdstat_xrevrange" in stats(client) else 0
    await send(9, f"{producer}-3")
    assert stats(client)["cmdstat_xrevrange"]["calls"] - before == 1
    assert ids_of_ours(streams)[-1] == f"{producer}-3"


def stats(client: redis.Redis) -> Any:
    return client.info("commandstats")


def ids_of_ours(streams: Streams) -> list[str]:
    entries: Any = streams.client.xrange(streams.key("r"))
    return [fields[b"id"].decode() for _, fields in entries if b"id" in fields]


@pytest.mark.parametrize("keys", [None, SECRET], ids=["unsigned", "signed"])
async def test_one_behind_which_its_sender_was_heard_is_stored_under_another_id_for_with_its_own_it_would_be_a_copy(
    keys: str | None, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    if keys is not None:
        monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", keys)
    # Given one that is not there, and a later one of its producer that is
    for value in range(3):
        await send(value)
    entries: Any = streams.client.xrange(streams.key("r"))
    missing = ids(streams)[1]
    streams.client.xdel(streams.key("r"), entries[1][0])
    # When it is sent again, and again
    key = await send(1, missing)
    assert await send(1, missing) == key
    # Then who hears that it is missing hears it once more
    assert missing not in ids(streams)
    async with receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=0) as mine:
        assert await mine.next() == 0
        with pytest.raises(MessagesLost, match="Message 2 "):
            await mine.next()
        assert [await mine.next() for _ in range(2)] == [2, 1]
        with pytest.raises(TimeoutError):
            await mine.next()


async def test_a_key_that_only_resembles_a_message_id_is_any_key(streams: Streams) -> None:
    resembling = ["0123456789abcdef-0", "0123456789ABCDEF-1", "0123456789abcdef-", "x:@once:0123456789abcdef-5"]
    for key in [*resembling, *resembling]:
        await send(0, key)
    assert streams.length("r") == len(resembling)
    assert not [each for each in ids(streams) if each.startswith("0123456789abcdef")]
    assert await everything() == [0] * len(resembling)


async def test_a_key_that_happens_to_look_like_a_message_id_makes_nobody_miss_anything() -> None:
    for number in (5, 9, 10, 2):
        await send(number, f"00f067aa0ba902b7-{number}")
        await send(number, f"00f067aa0ba902b7-{number}")
    assert await everything() == [5, 9, 10, 2]


async def test_what_had_a_key_of_its_own_is_sent_again_with_that(proxy: Proxy, streams: Streams) -> None:
    await send(0)
    vanish(proxy, Fate.LOSE_REQUEST)
    with pytest.raises(SendOutcomeUnknown) as raised:
        await send(1, "mine")
    come_back(proxy)
    await send_when_it_is_back(1, "mine")
    await send(1, raised.value.idempotency_key)
    assert streams.values("r") == [0, 1]


# --- after a loss -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [{}, {"FLOWCHAN_SIGNING_KEYS": SECRET}, {"FLOWCHAN_MAX_CHANNEL_LENGTH": "1000"}], ids=str
)
async def test_what_is_sent_between_a_refusal_and_its_end_is_nobodys_copy(
    how: dict[str, str], make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in how.items():
        monkeypatch.setenv(name, value)
    server = make_server()
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    with server.client() as client:
        await send(0)
        # Given sends that are refused, and others that are made while that is so
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        sends = [send_input(value, "r", key_prefix=CHANNEL) for value in (1, 2)]
        await eventually_async(lambda: sends[0]._sent.refusal is not None, "the refusal")
        sends += [
            send_input(value, "r", key_prefix=CHANNEL, idempotency_key=key)
            for value, key in ((3, None), (4, "k"), (5, None))
        ]
        # When they are stored
        client.execute_command("REPLICAOF", "NO", "ONE")
        for each in sends:
            await each
        await send(6)
    # Then nobody misses any, or is told so
    assert await everything() == list(range(7))


async def test_what_is_sent_while_others_are_given_up_is_nobodys_copy(
    proxy: Proxy, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_SEND_TIMEOUT", "2")
    await send(0)
    # Given a broker that is away for longer than a send may take, and somebody who sends all the time
    proxy.cut()
    proxy.accepts = False
    outcomes: list[tuple[int, Any]] = []
    value = 0
    with anyio.fail_after(20):
        while sum(sending._sent.is_over for _, sending in outcomes) < 5:
            value += 1
            outcomes.append((value, send_input(value, "r", key_prefix=CHANNEL)))
            await anyio.sleep(0.05)
    # When it is back
    come_back(proxy)
    stored = [0]
    for number, sending in outcomes:
        with contextlib.suppress(BrokerUnavailable):
            await sending
            stored.append(number)
    await send_when_it_is_back(-1)
    stored.append(-1)
    assert len(stored) > 10
    # Then each that is stored is had, in the order in which they were sent
    assert await everything() == streams.values("r") == stored


@pytest.mark.parametrize("fate", [Fate.LOSE_REPLY, Fate.LOSE_REQUEST], ids=["stored", "not stored"])
async def test_a_doubtful_send_to_a_channel_with_a_limit_is_stored_once(
    fate: Fate, shared_server: Server, make_proxy: MakeProxy, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_MAX_CHANNEL_LENGTH", "3")
    proxy = make_proxy(shared_server.socket)
    await send(0)
    once = iter([fate])
    proxy.fate = lambda data: next(once, Fate.PASS) if b"XADD" in data else Fate.PASS
    await send(1)
    await send(2)
    assert await everything() == streams.values("r") == [0, 1, 2]


async def test_what_follows_an_unknown_outcome_leaves_no_gap_whatever_became_of_it(
    proxy: Proxy, streams: Streams
) -> None:
    for fate in (Fate.LOSE_REPLY, Fate.LOSE_REQUEST) * 2:
        await send_when_it_is_back(0)
        vanish(proxy, fate)
        with pytest.raises(SendOutcomeUnknown):
            await send(1)
        with pytest.raises(BrokerUnavailable):
            await send(2)
        come_back(proxy)
    await send_when_it_is_back(3)
    assert await everything() == streams.values("r") == [0, 1, 0, 0, 1, 0, 3]


async def test_a_doubtful_idempotent_send_is_simply_sent_again_in_its_place(
    shared_server: Server, make_proxy: MakeProxy, streams: Streams
) -> None:
    proxy = make_proxy(shared_server.socket)
    await send(0)
    looks: list[bytes] = []
    for number, fate in enumerate([Fate.LOSE_REPLY, Fate.LOSE_REQUEST, Fate.HALVE_REQUEST] * 5):
        hit = False

        def decide(data: bytes, fate: Fate = fate) -> Fate:
            nonlocal hit
            if b"XREVRANGE" in data:
                looks.append(data)
            if b"XADD" in data and not hit:
                hit = True
                return fate
            return Fate.PASS

        proxy.fate = decide
        sends = [
            send_input(number, "r", key_prefix=CHANNEL, idempotency_key=f"k{number}"),
            send_input(100 + number, "r", key_prefix=CHANNEL),
            send_input(number, "r", key_prefix=CHANNEL, idempotency_key=f"k{number}"),
        ]
        for each in sends:
            await each
    expected = [0] + [value for number in range(15) for value in (number, 100 + number)]
    assert streams.values("r") == expected
    assert await everything() == expected


async def test_one_that_was_not_stored_though_the_one_behind_it_was_is_not_taken_for_a_copy(
    shared_server: Server, make_proxy: MakeProxy, streams: Streams
) -> None:
    proxy = make_proxy(shared_server.socket)
    await send(0)
    # Given two sends, of which the server has refused the first in passing, and no reply arrives
    proxy.hold()
    once = iter([Fate.LOSE_REQUEST])
    proxy.fate = lambda data: next(once, Fate.PASS) if b"XADD" in data else Fate.PASS
    first = send_input(1, "r", key_prefix=CHANNEL)
    second: Any = send_input(2, "r", key_prefix=CHANNEL)
    reader = hiredis.Reader()
    reader.feed(second._sent.packed)
    streams.client.execute_command(*reader.gets())
    # When the connection is lost
    await anyio.to_thread.run_sync(proxy.release)
    await first
    await second
    await send(3)
    # Then the first comes late, as something new, and its old number is told to be missing
    assert streams.values("r") == [0, 2, 1, 3]
    async with receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=5) as mine:
        assert await mine.next() == 0
        with pytest.raises(MessagesLost, match="Message 2 "):
            await mine.next()
        assert [await mine.next() for _ in range(3)] == [2, 1, 3]


async def test_the_first_message_of_a_stream_that_was_spoken_to_before_is_not_looked_for_in_all_of_it(
    shared_server: Server, make_proxy: MakeProxy, streams: Streams, client: redis.Redis
) -> None:
    proxy = make_proxy(shared_server.socket)
    with client.pipeline(transaction=False) as pipe:
        for _ in range(50):
            pipe.xadd(streams.key("r"), {"body": b"x" * 1_000_000})
        pipe.execute()
    await send(0)
    # Given a new producer, because a message was refused
    client.rename(streams.key("r"), streams.key("r") + "x")
    client.set(streams.key("r"), "no stream")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await send(1)
    client.delete(streams.key("r"))
    client.rename(streams.key("r") + "x", streams.key("r"))
    before = client.info("stats")["total_net_output_bytes"]
    # When its first message is lost on its way
    once = iter([Fate.LOSE_REQUEST])
    proxy.fate = lambda data: next(once, Fate.PASS) if b"XADD" in data else Fate.PASS
    await send(2)
    # Then what was asked for is what is near the end
    assert client.info("stats")["total_net_output_bytes"] - before < 10_000_000
    assert [fields for _, fields in streams.client.xrevrange(streams.key("r"), count=2)][1][b"seq"] == b"1"  # type: ignore[union-attr]
