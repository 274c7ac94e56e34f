"""Dead letters: looked at, sent again, thrown away; each is in one place whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowchan import Channels, open_run, receive_input, send_input, sync
from flowchan.broker.broker import broker_of_this_loop
from flowchan.errors import BrokerUnavailable, InvalidKeyError, MissingRunError, ObjectNotFound
from flowchan.input import DeadLetter, read_dead_letters
from flowchan.settings import current_settings
from flowchan.wire import keys
from tests.support import programs
from tests.support.groups import GROUP, LEASE, RUN, all_of, pending, receiver, send
from tests.support.proxy import Fate, Proxy, losing
from tests.support.server import Server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import PATIENCE, eventually_async
from tests.wire import page_decoder

pytestmark = pytest.mark.anyio


async def one_letter(*values: object) -> DeadLetter:
    """What became of a text that was sent where numbers are wanted; ``values`` were sent before."""
    send(*values, "no number")
    assert await all_of(receiver(on_invalid="dead-letter")) == list(values)
    return (await read_dead_letters(RUN))[-1]


def private(**options: Any) -> list[Any]:
    """What a receiver without a group has of the channel."""
    return list(
        sync.receive_input(
            int | str, flow_run_id=RUN, key_prefix=CHANNEL, timeout=0, raise_timeout_error=False, **options
        )
    )


# --- reading --------------------------------------------------------------------------------------------


async def test_a_run_s_own_are_read_within_it() -> None:
    await one_letter()
    async with open_run(RUN):
        assert len(await read_dead_letters()) == 1


async def test_without_a_run_there_are_none_to_be_read() -> None:
    with pytest.raises(MissingRunError):
        await read_dead_letters()


@pytest.mark.parametrize("name", ["", "a b", "@dead", "a:b"])
async def test_names_that_can_be_none_are_told(name: str) -> None:
    with pytest.raises(InvalidKeyError):
        await read_dead_letters(RUN, key_prefix=name)
    with pytest.raises(InvalidKeyError):
        await read_dead_letters(RUN, group=name)


async def test_a_client_of_its_own_reads_its_own(namespace: str) -> None:
    await one_letter()
    assert len(await Channels().read_dead_letters(RUN)) == 1
    assert await Channels(namespace=f"{namespace}x").read_dead_letters(RUN) == []


async def test_who_sent_it_and_when_it_died_is_known() -> None:
    async with open_run("sender"):
        await send_input("no number", RUN, key_prefix=CHANNEL)
    assert await all_of(receiver(on_invalid="dead-letter")) == []

    (letter,) = await read_dead_letters(RUN)
    assert letter.sender == "flowchan.flow-run.sender"
    assert abs((datetime.now(UTC) - letter.died_at).total_seconds()) < 60


async def test_nobody_else_hears_of_it(streams: Streams) -> None:
    await one_letter()
    broker = broker_of_this_loop(current_settings())
    assert await broker.records.streams_of(RUN) == [streams.key(RUN)]


async def test_it_is_stored_as_the_page_on_the_wire_format_says(streams: Streams, namespace: str) -> None:
    letter = await one_letter()

    dead = keys.dead_letters(namespace, RUN, CHANNEL, GROUP)
    ((entry, _),) = streams.client.xrange(dead)  # type: ignore[misc]
    assert page_decoder.message_key(dead, entry.decode()).endswith(letter.key.removeprefix(CHANNEL))
    parts: Any = streams.client.eval("return redis.call('XRANGE', KEYS[1], '-', '+')[1][2]", 1, dead)
    own = dict(zip(parts[:12:2], parts[1:12:2], strict=True))
    assert own == {
        b"dead.v": b"1",
        b"dead.reason": b"invalid",
        b"dead.group": GROUP.encode(),
        b"dead.key": letter.message_key.encode(),
        b"dead.deliveries": b"1",
        b"dead.error": letter.error.encode(),
    }
    assert page_decoder.decode_entry(parts[12:]).value == {"value": "no number"}


# --- sending again --------------------------------------------------------------------------------------


async def test_what_is_sent_again_comes_to_the_group_as_a_new_message(streams: Streams) -> None:
    letter = await one_letter(1)
    again = await letter.resend()

    async with receiver(kind=str, with_metadata=True) as mine:
        message: Any = await mine.next()
        assert (message.value, message.metadata.key, message.metadata.delivery_count) == ("no number", again.key, 1)
        await mine.ack()
    assert again.key != letter.message_key
    assert await read_dead_letters(RUN) == []
    assert pending(streams) == 0


async def test_what_is_sent_again_is_for_its_group_alone(streams: Streams) -> None:
    letter = await one_letter(1)
    options: Any = {"flow_run_id": RUN, "key_prefix": CHANNEL, "timeout": 0, "raise_timeout_error": False}
    follower = receive_input(int | str, **options)
    assert await all_of(follower) == private() == [1, "no number"]
    assert await all_of(receiver("store", kind=int | str)) == [1, "no number"]

    await letter.resend()

    assert await all_of(follower) == []
    assert private() == [1, "no number"]
    assert await all_of(receiver("store", kind=int | str)) == []
    await eventually_async(lambda: pending(streams, "store") == 0)
    assert await all_of(receiver(kind=str)) == ["no number"]


async def test_what_is_sent_again_may_die_again() -> None:
    letter = await one_letter()
    for _ in range(3):
        sent = await letter.resend()
        assert await all_of(receiver(on_invalid="dead-letter")) == []
        (letter,) = await read_dead_letters(RUN)
        assert letter.message_key == sent.key
        assert letter.value == "no number"


async def test_what_cannot_be_read_can_be_sent_again(streams: Streams) -> None:
    streams.client.xadd(streams.key(RUN), {"v": "1"})
    assert await all_of(receiver(on_invalid="dead-letter")) == []
    (letter,) = await read_dead_letters(RUN)
    await letter.resend()

    assert await all_of(receiver(on_invalid="dead-letter")) == []
    (letter,) = await read_dead_letters(RUN)
    assert letter.reason == "unreadable"


async def test_it_is_sent_once_however_many_do_so_at_once(streams: Streams) -> None:
    letter = await one_letter()
    sent = {metadata.key for metadata in await asyncio.gather(*(letter.resend() for _ in range(20)))}

    assert len(sent) == 1
    assert streams.length(RUN) == 2


async def test_it_is_sent_once_where_replies_are_lost(server: Server, make_proxy: Callable[[Path], Proxy]) -> None:
    proxy = make_proxy(server.socket)
    await one_letter()
    letters = [await one_letter() for _ in range(20)]
    proxy.fate = losing(b"EVALSHA", b"XDEL", fates={1: Fate.LOSE_REPLY, 2: Fate.LOSE_REQUEST}, of=4)
    for letter in letters[:10]:
        await letter.resend()
    for letter in letters[10:]:
        await letter.discard()
    proxy.fate = lambda _: Fate.PASS

    assert await all_of(receiver(kind=str)) == ["no number"] * 10
    assert len(await read_dead_letters(RUN)) == 1
    assert proxy.cuts > 10


async def test_a_doubtful_send_is_found_behind_what_was_sent_again(
    server: Server, make_proxy: Callable[[Path], Proxy]
) -> None:
    # Given: a dead letter of this sender, and a send of which nobody knows whether it was stored.
    proxy = make_proxy(server.socket)
    await send_input("no number", RUN, key_prefix=CHANNEL)
    assert await all_of(receiver(on_invalid="dead-letter")) == []
    proxy.fate = lambda request: Fate.LOSE_REPLY if b"XADD" in request else Fate.PASS
    proxy.accepts = False
    doubtful = asyncio.ensure_future(send_input(2, RUN, key_prefix=CHANNEL))
    with server.client() as client:
        stream = client.keys(f"*:{RUN}:{CHANNEL}")[0]  # type: ignore[index]
        await eventually_async(lambda: client.xlen(stream) == 2)

        # When: the dead letter is sent again by somebody else, before the sender looks.
        programs.run(
            f"""
            from flowchan import sync
            for letter in sync.read_dead_letters("{RUN}"):
                letter.resend()
            """,
            FLOWCHAN_URL=server.url,
        )
        proxy.fate = lambda _: Fate.PASS
        proxy.accepts = True
        await doubtful

        # Then: it is there once.
        assert client.xlen(stream) == 3


# --- throwing away --------------------------------------------------------------------------------------


async def test_what_is_discarded_is_gone_and_the_message_stays(streams: Streams) -> None:
    letter = await one_letter()
    await letter.discard()

    assert await read_dead_letters(RUN) == []
    assert private() == ["no number"]
    assert streams.length(RUN) == 1


async def test_what_is_gone_can_neither_be_sent_nor_discarded() -> None:
    letter = await one_letter()
    await letter.discard()

    with pytest.raises(ObjectNotFound, match=letter.key):
        await letter.discard()
    with pytest.raises(ObjectNotFound, match=letter.key):
        await letter.resend()


async def test_of_those_who_send_again_and_discard_at_once_one_is_first() -> None:
    letters = [await one_letter() for _ in range(20)]
    for letter in letters:
        verbs = [letter.resend(), letter.discard()]
        sent, discarded = await asyncio.gather(*verbs, return_exceptions=True)
        assert isinstance(sent, ObjectNotFound) != isinstance(discarded, ObjectNotFound)


def test_sync_code_sends_again_and_discards() -> None:
    send("one", "two")
    assert list(receiver(on_invalid="dead-letter")) == []
    first, second = sync.read_dead_letters(RUN)

    assert first.resend().receiver == RUN
    second.discard()

    assert list(receiver(kind=str)) == ["one"]
    assert sync.read_dead_letters(RUN) == []


# --- killed between steps -------------------------------------------------------------------------------

WORKER = f"""
from flowchan import receive_input
for _ in receive_input(
    int, timeout=0.5, group="{GROUP}", key_prefix="{CHANNEL}", flow_run_id="{RUN}",
    on_invalid="dead-letter", raise_timeout_error=False,
):
    print("a number", flush=True)
"""


@pytest.mark.usefixtures("short_lease")
async def test_a_worker_that_is_killed_leaves_each_message_in_one_place(streams: Streams) -> None:
    values = [f"no number {number}" for number in range(600)]
    send(1, *values)
    for _ in range(4):
        with programs.running(WORKER) as worker:
            before = len(await read_dead_letters(RUN))
            deadline = time.monotonic() + 20
            while worker.poll() is None and len(await read_dead_letters(RUN)) < before + random.randint(1, 60):
                assert time.monotonic() < deadline
            worker.kill()
        there = sorted(letter.message_key for letter in await read_dead_letters(RUN))
        assert len(there) == len(set(there))
        assert len(there) + pending(streams) + behind(streams) >= len(values)

    assert set(await all_of(receiver(on_invalid="dead-letter", timeout=3 * LEASE))) <= {1}
    assert sorted(letter.value for letter in await read_dead_letters(RUN)) == sorted(values)
    await eventually_async(lambda: pending(streams) == 0)


def behind(streams: Streams) -> int:
    """How many messages the group was never handed."""
    (group,) = streams.client.xinfo_groups(streams.key(RUN))  # type: ignore[misc]
    return int(group["lag"])


@pytest.mark.usefixtures("short_lease")
async def test_a_server_that_is_killed_leaves_each_message_in_one_place(
    make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server("--appendfsync", "always")
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    values = [f"no number {number}" for number in range(400)]
    send(*values)
    is_over = threading.Event()

    def disturb() -> None:
        for _ in range(4):
            is_over.wait(random.uniform(0.01, 0.1))
            server.restart()

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    found: list[DeadLetter] = []
    deadline = time.monotonic() + 2 * PATIENCE
    while disturbing.is_alive() or len(found) < len(values):
        assert time.monotonic() < deadline, f"{len(found)} are dead letters by now"
        with contextlib.suppress(BrokerUnavailable):
            assert await all_of(receiver(on_invalid="dead-letter", timeout=2 * LEASE)) == []
            found = await read_dead_letters(RUN)
    disturbing.join()

    assert await all_of(receiver(on_invalid="dead-letter", timeout=2 * LEASE)) == []
    assert sorted(letter.value for letter in await read_dead_letters(RUN)) == sorted(values)


async def test_who_has_lost_a_message_to_another_does_not_move_it(streams: Streams) -> None:
    send("no number")
    claims, stream = broker_of_this_loop(current_settings()).claims, streams.key(RUN)
    entry = (await claims.claim(stream, GROUP, "one", "1", ())).entry
    await claims.give_back(stream, GROUP, "one", [entry], were_handed_out=True)
    assert (await claims.claim(stream, GROUP, "other", "1", ())).entry == entry

    assert not await claims.bury(stream, GROUP, "one", entry, "invalid", "why")
    assert (pending(streams), await read_dead_letters(RUN)) == (1, [])
    assert await claims.bury(stream, GROUP, "other", entry, "invalid", "why")
    assert (pending(streams), len(await read_dead_letters(RUN))) == (0, 1)


async def test_receivers_at_once_leave_each_message_in_one_place(streams: Streams) -> None:
    values = [number if number % 2 else f"no number {number}" for number in range(300)]
    send(*values)

    got = await asyncio.gather(*(all_of(receiver(on_invalid="dead-letter")) for _ in range(10)))

    assert sorted(number for part in got for number in part) == list(range(1, 300, 2))
    assert len(await read_dead_letters(RUN)) == 150
    await eventually_async(lambda: pending(streams) == 0)
