"""What a group's receiver cannot give to anybody: raised, skipped, or kept aside as a dead letter."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from pydantic import BaseModel, ValidationError, field_validator

from flowchan import Channels, RunInput, receive_input, send_input, sync
from flowchan.errors import BrokerRefused, BrokerUnavailable, DecodeError
from flowchan.input import AutomaticRunInput, DeadLetter, read_dead_letters
from tests.support.groups import GROUP, LEASE, RUN, all_of, idle, pending, receiver, send
from tests.support.proxy import Fate, Proxy, losing
from tests.support.server import Server
from tests.support.streams import CHANNEL, Streams
from tests.support.waiting import PATIENCE, eventually_async

pytestmark = pytest.mark.anyio

SECRET = "hunter2"


class Card(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def is_no_secret(cls, number: int) -> int:
        if number == 4711:
            raise ValueError(f"{number} is {SECRET}")
        return number


class Order(RunInput):
    cards: list[Card]
    size: Literal["small", "large"] = "small"


class Loose(RunInput, extra="allow"):
    cards: list[Any]
    size: str = "small"


async def letters(**chosen: Any) -> list[DeadLetter]:
    return await read_dead_letters(RUN, **chosen)


RECEIVE = [receive_input, sync.receive_input, lambda *args, **kwargs: Channels().receive_input(*args, **kwargs)]
KINDS = [Order, AutomaticRunInput[int], sync.RunInput, sync.AutomaticRunInput[int]]


# --- what is asked for ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"on_invalid": "skip"}, {"on_invalid": "dead-letter"}, {"max_deliveries": 1}])
@pytest.mark.parametrize("receive", RECEIVE, ids=["flowchan", "sync", "channels"])
def test_without_a_group_nothing_of_it_makes_sense(receive: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs a group"):
        receive(int, flow_run_id=RUN, **options)
    receive(int, flow_run_id=RUN, group=GROUP, **options).close()


@pytest.mark.parametrize("kind", KINDS, ids=["model", "type", "sync model", "sync type"])
def test_models_receive_on_the_same_terms(kind: Any) -> None:
    with pytest.raises(ValueError, match="needs a group"):
        kind.receive(flow_run_id=RUN, on_invalid="skip")
    kind.receive(flow_run_id=RUN, group=GROUP, on_invalid="skip", max_deliveries=3).close()


@pytest.mark.parametrize("most", [0, -1])
def test_a_message_is_handed_out_once_at_least(most: int) -> None:
    with pytest.raises(ValueError, match="from 1 on"):
        receive_input(int, flow_run_id=RUN, group=GROUP, max_deliveries=most)


@pytest.mark.parametrize("most", [1.0, True, "1"])
def test_a_limit_is_a_whole_number(most: Any) -> None:
    with pytest.raises(TypeError, match="max_deliveries"):
        receive_input(int, flow_run_id=RUN, group=GROUP, max_deliveries=most)


def test_what_is_to_become_of_a_bad_message_is_one_of_three_things() -> None:
    wrong: Any = "ignore"
    with pytest.raises(ValueError, match="'raise', 'skip', 'dead-letter'"):
        receive_input(int, flow_run_id=RUN, group=GROUP, on_invalid=wrong)


# --- raised ---------------------------------------------------------------------------------------------


async def test_a_message_that_does_not_fit_is_told_once_and_done_with(streams: Streams) -> None:
    send("no number", 2)
    async with receiver() as mine:
        with pytest.raises(ValidationError):
            await mine.next()
        assert await mine.next() == 2
        await mine.ack()
        await eventually_async(lambda: pending(streams) == 0)

    assert streams.length(RUN) == 2, "it can still be looked at"
    assert await letters() == []


async def test_a_message_that_cannot_be_read_is_told_once_and_done_with(streams: Streams) -> None:
    streams.client.xadd(streams.key(RUN), {"v": "1"})
    send(2)
    async with receiver() as mine:
        with pytest.raises(DecodeError):
            await mine.next()
        assert await mine.next() == 2


# --- skipped --------------------------------------------------------------------------------------------


async def test_what_is_skipped_is_done_with_and_told_in_the_log(
    streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    key, _ = send(SECRET, 2)
    streams.client.xadd(streams.key(RUN), {"v": "1"})
    async with receiver(on_invalid="skip") as mine:
        assert await all_of(mine) == [2]
    await eventually_async(lambda: pending(streams) == 0)

    one, other = [record for record in caplog.records if record.levelno == logging.WARNING]
    for told in (key, f"run {RUN}", f"channel {CHANNEL}", "group shop", "value: Input should be a valid integer"):
        assert told in one.getMessage()
    assert "'id' is missing" in other.getMessage()
    assert SECRET not in caplog.text
    assert await letters() == []


def test_sync_code_skips(streams: Streams) -> None:
    send("no number", 2, "neither")
    with receiver(on_invalid="skip") as mine:
        assert list(mine) == [2]
    assert pending(streams) == 0


async def test_what_is_skipped_takes_no_time_of_its_own() -> None:
    send(*["no number"] * 50)
    mine = receiver(on_invalid="skip", timeout=0.2, raise_timeout_error=True)
    with pytest.raises(TimeoutError):
        await mine.next()


# --- kept aside -----------------------------------------------------------------------------------------


async def test_a_message_that_does_not_fit_becomes_a_dead_letter(
    streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    before = streams.client.time()[0]  # type: ignore[index]
    key, _ = send(SECRET, 2)
    async with receiver(on_invalid="dead-letter") as mine:
        assert await mine.next() == 2
        assert pending(streams) == 1
        await mine.ack()

    (letter,) = await letters()
    assert (letter.message_key, letter.group, letter.channel, letter.flow_run_id) == (key, GROUP, CHANNEL, RUN)
    assert (letter.reason, letter.deliveries, letter.sender, letter.value) == ("invalid", 1, None, SECRET)
    assert letter.error == "value: Input should be a valid integer, unable to parse string as an integer (int_parsing)"
    assert letter.died_at.timestamp() >= before
    assert letter.key != key
    assert SECRET not in repr(letter) + letter.error + caplog.text
    assert pending(streams) == 0
    assert streams.length(RUN) == 2, "receivers without a group see it as ever"


async def test_a_message_that_cannot_be_read_becomes_a_dead_letter_with_every_field(streams: Streams) -> None:
    fields = {"v": "1", "dead.reason": "mine", b"\xff": b"\x00" * 9}
    streams.client.xadd(streams.key(RUN), fields)
    assert await all_of(receiver(on_invalid="dead-letter")) == []

    (letter,) = await letters()
    assert letter.reason == "unreadable"
    assert "'id' is missing" in letter.error
    assert letter._letter.fields == [b"v", b"1", b"dead.reason", b"mine", b"\xff", b"\x00" * 9]
    with pytest.raises(DecodeError, match="Dead letter"):
        _ = letter.value


async def test_an_entry_of_a_great_many_fields_holds_up_nobody(streams: Streams) -> None:
    streams.client.xadd(streams.key(RUN), {str(number): "" for number in range(6000)})
    send(2)

    assert await all_of(receiver(on_invalid="dead-letter")) == [2]
    (letter,) = await letters()
    assert letter.reason == "unreadable"


async def test_what_is_told_of_a_message_is_nothing_that_it_holds() -> None:
    bad = {"cards": [{"number": SECRET}, {SECRET: 1}, {"number": 4711}], "size": SECRET, SECRET: 1}
    await Loose.model_validate(bad).send_to(RUN, key_prefix="orders")
    assert await all_of(receiver(kind=Order, key_prefix="orders", on_invalid="dead-letter")) == []

    (letter,) = await letters()
    assert SECRET not in letter.error
    assert letter.error.startswith("cards.0.number: Input should be a valid integer")
    assert letter.error.endswith("; and 2 more")


async def test_a_user_s_own_text_is_not_told() -> None:
    await Loose(cards=[{"number": 4711}], size=SECRET).send_to(RUN, key_prefix="orders")
    assert await all_of(receiver(kind=Order, key_prefix="orders", on_invalid="dead-letter")) == []

    assert [letter.error for letter in await letters()] == ["cards.0.number: value_error; size: literal_error"]


async def test_dead_letters_are_kept_as_long_as_channels_are(streams: Streams, namespace: str) -> None:
    send("no number")
    assert await all_of(receiver(on_invalid="dead-letter")) == []

    found = [key for key in streams.client.scan_iter(f"{namespace}:*") if b"@dead" in key]
    assert len(found) == 2
    assert all(6 * 86_400_000 < streams.client.pttl(key) <= 7 * 86_400_000 for key in found)  # type: ignore[operator]


async def test_each_group_has_its_own() -> None:
    send("no number")
    await send_input("no number", RUN, key_prefix="others")
    for group, channel in (("shop", CHANNEL), ("store", CHANNEL), ("shop", "others")):
        assert await all_of(receiver(group, key_prefix=channel, on_invalid="dead-letter")) == []

    def told(found: list[DeadLetter]) -> list[tuple[str, str]]:
        return [(letter.group, letter.channel) for letter in found]

    assert told(await letters()) == [("shop", CHANNEL), ("store", CHANNEL), ("shop", "others")]
    assert told(await letters(group="shop")) == [("shop", CHANNEL), ("shop", "others")]
    assert told(await letters(key_prefix=CHANNEL)) == [("shop", CHANNEL), ("store", CHANNEL)]
    assert told(await letters(key_prefix="others", group="store")) == []
    assert await read_dead_letters("another-run") == []


async def test_many_are_read_oldest_first() -> None:
    send(*(f"no number {number}" for number in range(700)))
    assert await all_of(receiver(on_invalid="dead-letter")) == []

    assert [letter.value for letter in await letters()] == [f"no number {number}" for number in range(700)]


def test_sync_code_keeps_aside(streams: Streams) -> None:
    send("no number", 2)
    with sync.receive_input(
        int, flow_run_id=RUN, key_prefix=CHANNEL, group=GROUP, timeout=0, on_invalid="dead-letter"
    ) as mine:
        assert mine.next() == 2
        mine.ack()
    (letter,) = sync.read_dead_letters(RUN)
    assert letter.value == "no number"
    assert pending(streams) == 0


# --- as often as that and no more -----------------------------------------------------------------------


async def works_badly(streams: Streams, **options: Any) -> int:
    """A receiver that leaves the first message it gets undone; how often that was handed out."""
    mine: Any = receiver(with_metadata=True, timeout=20, **options)
    async with mine:
        count = (await mine.next()).metadata.delivery_count
    await eventually_async(lambda: idle(streams) > 10_000)
    return int(count)


async def test_a_message_that_nobody_acknowledges_becomes_a_dead_letter(
    streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    key, _ = send(1, 2)
    assert [await works_badly(streams, max_deliveries=3) for _ in range(3)] == [1, 2, 3]

    assert await all_of(receiver(max_deliveries=3)) == [2]
    (letter,) = await letters()
    assert (letter.message_key, letter.reason, letter.deliveries) == (key, "max-deliveries", 3)
    assert (letter.error, letter.value) == ("", 1)
    assert key in caplog.text


async def test_without_a_limit_it_comes_again_and_again(streams: Streams) -> None:
    send(1)
    assert [await works_badly(streams) for _ in range(5)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("is_closed_at_once", [True, False])
async def test_what_was_fetched_and_never_handed_out_does_not_count(streams: Streams, is_closed_at_once: bool) -> None:
    send(1)

    def has_come() -> bool:
        return streams.groups() == 1 and pending(streams) == 1

    for _ in range(3):
        async with receiver(timeout=20, max_deliveries=1) as mine:
            waiting = asyncio.ensure_future(mine.next())
            await asyncio.sleep(0)  # it asks the broker, …
            waiting.cancel()  # … and does not stay for the answer
            if not is_closed_at_once:
                await eventually_async(has_come)
        await eventually_async(lambda: has_come() and idle(streams) > 10_000)

    again: Any = receiver(max_deliveries=1, with_metadata=True)
    assert [message.metadata.delivery_count async for message in again] == [1]


async def test_what_waited_too_long_for_somebody_to_ask_is_fetched_anew(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "0.2")
    send(1)
    async with receiver(timeout=20, max_deliveries=1, with_metadata=True) as mine:
        waiting = asyncio.ensure_future(mine.next())
        await asyncio.sleep(0)
        waiting.cancel()
        await eventually_async(lambda: streams.groups() == 1 and pending(streams) == 1 and idle(streams) > 200)

        message: Any = await mine.next()
        assert (message.value, message.metadata.delivery_count) == (1, 1)


# --- accidents ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_lease")
async def test_each_becomes_one_dead_letter_where_replies_are_lost(
    server: Server, make_proxy: Callable[[Path], Proxy]
) -> None:
    proxy = make_proxy(server.socket)
    values = [number if number % 3 else f"no number {number}" for number in range(90)]
    async with receiver(timeout=20, on_invalid="dead-letter") as mine:
        send(*values)
        proxy.fate = losing(b"EVALSHA", b"XACK", fates={1: Fate.LOSE_REPLY, 3: Fate.LOSE_REQUEST}, of=5)
        got = {await mine.next() for _ in range(60)}
        proxy.fate = lambda _: Fate.PASS

    assert got == {number for number in range(90) if number % 3}
    assert sorted(letter.value for letter in await letters()) == sorted(
        value for value in values if isinstance(value, str)
    )
    assert proxy.cuts > 10


async def test_a_burial_goes_on_when_the_time_is_up(
    server: Server, make_proxy: Callable[[Path], Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_CONNECT_TIMEOUT", "0.3")
    proxy = make_proxy(server.socket)
    send("no number")

    def fate(request: bytes) -> Fate:
        if b"\r\ninvalid\r\n" not in request:
            return Fate.PASS
        proxy.accepts = False
        return Fate.LOSE_REQUEST

    proxy.fate = fate
    async with receiver(on_invalid="dead-letter", timeout=0.1) as mine:
        with pytest.raises((BrokerUnavailable, StopAsyncIteration)):
            await anext(mine)
        proxy.fate, proxy.accepts = (lambda _: Fate.PASS), True
        with anyio.fail_after(PATIENCE):
            while not await letters():
                await anyio.sleep(0.01)


@pytest.mark.usefixtures("short_lease")
async def test_a_server_that_takes_no_more_is_told_and_nothing_is_lost(server: Server) -> None:
    send(1, "no number", 2)
    with server.client() as client:
        stream = client.keys(f"*:{RUN}:{CHANNEL}")[0]  # type: ignore[index]

        def pending() -> int:
            found: Any = client.xpending(stream, GROUP)
            return int(found["pending"])

        async with receiver(on_invalid="dead-letter") as mine:
            assert await mine.next() == 1
            client.config_set("maxmemory", 1)
            with pytest.raises(BrokerRefused, match="OOM"):
                await mine.next()
            assert await mine.next() == 2
            await mine.ack()
            assert pending() == 1
            client.config_set("maxmemory", 0)
        assert await letters() == []
        assert await receive_again() == []
        assert pending() == 0
    assert [letter.value for letter in await letters()] == ["no number"]


async def receive_again() -> list[int]:
    async with receiver(on_invalid="dead-letter", timeout=2 * LEASE) as mine:
        return await all_of(mine)
