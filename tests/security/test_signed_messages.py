"""With signing keys: what was not signed for a channel is not delivered there, and counted."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from flowchan import Channels, receive_input, send_input, sync
from flowchan.errors import DecodeError, SignatureError
from flowchan.input import InputReceiver, read_dead_letters
from tests.cli.program import FLOWCHAN, run
from tests.security.conftest import Intruder, key
from tests.support.streams import CHANNEL, Streams

pytestmark = pytest.mark.anyio

Keys = Callable[..., None]


async def send(*values: int, to: str = "r", channel: str = CHANNEL) -> None:
    for value in values:
        await send_input(value, to, key_prefix=channel)


def receiver(of: str = "r", **options: Any) -> InputReceiver[int]:
    options = {"timeout": 0, "raise_timeout_error": False, "key_prefix": CHANNEL, "flow_run_id": of, **options}
    return receive_input(int, **options)


async def had(mine: InputReceiver[int]) -> tuple[list[int], int]:
    """The values that a receiver delivers, and how often it raises instead."""
    values, errors = [], 0
    while True:
        try:
            values.append(await mine.next())
        except SignatureError:
            errors += 1
        except TimeoutError:
            return values, errors


async def test_what_is_signed_is_delivered(keys: Keys, intruder: Intruder) -> None:
    keys("k1")
    await send(1, 2)

    assert await had(receiver()) == ([1, 2], 0)
    assert intruder.entry("r")[b"sig"].startswith(b"k1:")
    assert list(intruder.entry("r"))[-1] == b"body"


async def test_a_receiver_without_keys_looks_at_no_signature(
    keys: Keys, monkeypatch: pytest.MonkeyPatch, intruder: Intruder
) -> None:
    keys("k1")
    await send(1)
    monkeypatch.delenv("FLOWCHAN_SIGNING_KEYS")
    intruder.write("r", {**intruder.entry("r"), b"sig": b"nonsense", b"id": b"0" * 16 + b"-1"})
    await send(2)

    mine = receiver()
    assert await had(mine) == ([1, 1, 2], 0)
    assert mine.refused == 0
    assert b"sig" not in intruder.entry("r")


async def test_an_unsigned_message_is_refused_once_with_its_key_and_the_next_comes(
    keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    await send(1, 2)
    keys("k1")
    await send(3)

    mine = receiver()
    with pytest.raises(SignatureError, match="It is not signed") as refused:
        await mine.next()
    assert isinstance(refused.value, DecodeError)
    assert refused.value.key is not None
    assert refused.value.key in str(refused.value)
    assert await had(mine) == ([3], 1)
    assert mine.refused == 2
    # And the log tells it once
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.name for record in warnings] == ["flowchan.input.vetting"]
    assert await had(receiver(after=refused.value.key)) == ([3], 1)


CHANGES: dict[str, dict[bytes, bytes]] = {
    "another value": {b"body": msgpack.packb({"value": 2})},
    "another sender": {b"from": b"flowchan.flow-run.boss"},
    "another message ID": {b"id": b"0123456789abcdef-1"},
    "another sequence number": {b"seq": b"2"},
    "another schema": {b"schema": b"00000000"},
    "a header": {b"h.traceparent": b"00-1"},
    "a signature of nobody": {b"sig": b"k1:" + b"0" * 64},
    "a key that is not known": {b"sig": b"k2:" + b"0" * 64},
    "a body that is none": {b"body": b"\xc1"},
}


@pytest.mark.parametrize("group", [None, "shop"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_forged_message_is_refused(
    change: dict[bytes, bytes], group: str | None, keys: Keys, intruder: Intruder
) -> None:
    keys("k1")
    await send(1, to="other")
    genuine = {**intruder.entry("other"), b"from": b"me"}
    intruder.write("r", {**genuine, **change})
    await send(1)

    mine = receiver(group=group)
    assert await had(mine) == ([1], 1)
    assert mine.refused == 1


@pytest.mark.parametrize("place", ["another run", "another channel", "another namespace"])
async def test_a_message_that_was_moved_is_refused(place: str, keys: Keys, intruder: Intruder) -> None:
    keys("k1")
    if place == "another run":
        await send(7, to="other")
        genuine = intruder.entry("other")
    elif place == "another channel":
        await send(7, channel="other")
        genuine = intruder.entry("r", "other")
    else:
        there = Channels(namespace="other")
        await there.send_input(7, "r", key_prefix=CHANNEL)
        (_, fields), *_ = intruder._client.xrange("other:{" + intruder._streams.key("r").split("{")[1])  # type: ignore[union-attr,misc]
        genuine = dict(fields)
        intruder._client.delete("other:@about")
    intruder.write("r", genuine)

    mine = receiver()
    assert await had(mine) == ([], 1)
    assert mine.refused == 1


@pytest.mark.parametrize("group", [None, "shop"])
async def test_a_copy_is_passed_over_and_counted_however_old_it_is(
    group: str | None, keys: Keys, intruder: Intruder
) -> None:
    keys("k1")
    count = 1500 if group is None else 50  # more than are remembered without keys
    for value in range(count):
        send_input(value, "r", key_prefix=CHANNEL)
    await send(count)
    mine = receiver(group=group, timeout=1)
    assert await had(mine) == (list(range(count + 1)), 0)
    for number in (0, count // 2, -1):
        intruder.write("r", intruder.entry("r", number=number))
    await send(9999)

    assert await had(mine) == ([9999], 0)
    assert mine.refused == 3


async def test_under_a_group_what_is_refused_is_done_with_and_stays_to_be_looked_at(
    keys: Keys, intruder: Intruder, streams: Streams
) -> None:
    keys("k1")
    await send(1, to="other")
    intruder.write("r", intruder.entry("other"))
    await send(1)

    assert await had(receiver(group="shop")) == ([1], 1)
    assert streams.client.xpending(streams.key("r"), "shop")["pending"] == 0  # type: ignore[index]
    assert streams.length("r") == 2
    assert await had(receiver(group="shop")) == ([], 0)


async def test_under_a_group_what_nobody_has_acknowledged_comes_again(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_LEASE", "0.5")
    keys("k1")
    await send(1)
    async with receiver(group="shop") as first:
        assert await first.next() == 1  # and goes away without acknowledging it

    second = receiver(group="shop", timeout=20, with_metadata=True)
    message: Any = await second.next()
    assert (message.value, message.metadata.delivery_count) == (1, 2)
    assert second.refused == 0
    second.close()


async def test_keys_are_replaced_without_a_message_being_refused(keys: Keys) -> None:
    keys("k1")
    await send(1)
    keys("k1", "k2")
    await send(2)
    keys("k2", "k1")
    await send(3)
    assert await had(receiver()) == ([1, 2, 3], 0)

    keys("k2")
    mine = receiver()
    assert await had(mine) == ([3], 2)
    assert mine.refused == 2


async def test_a_message_with_an_idempotency_key_is_signed_as_well(keys: Keys) -> None:
    keys("k1")
    for _ in range(2):
        await send_input(1, "r", key_prefix=CHANNEL, idempotency_key="once")

    assert await had(receiver()) == ([1], 0)


async def test_a_response_is_signed_for_the_run_that_it_goes_to(keys: Keys) -> None:
    keys("k1")
    await send_input(1, "r", sender="flowchan.flow-run.asker", key_prefix=CHANNEL)
    message: Any = await receive_input(int, with_metadata=True, key_prefix=CHANNEL, flow_run_id="r").next()
    await message.respond(2, key_prefix=CHANNEL)

    assert await had(receiver("asker")) == ([2], 0)


def test_synchronous_code_gets_the_same(keys: Keys, intruder: Intruder) -> None:
    keys("k1")
    sync.send_input(1, "other", key_prefix=CHANNEL)
    intruder.write("r", intruder.entry("other"))
    sync.send_input(2, "r", key_prefix=CHANNEL)

    mine = sync.receive_input(int, timeout=0, key_prefix=CHANNEL, flow_run_id="r")
    with pytest.raises(SignatureError):
        next(mine)
    assert next(mine) == 2
    assert mine.refused == 1


async def test_an_explicit_client_has_keys_of_its_own(keys: Keys) -> None:
    keys("k1")
    mine = Channels(signing_keys=key("k2"))
    await mine.send_input(1, "r", key_prefix=CHANNEL)

    assert await had(receiver()) == ([], 1)
    assert await mine.receive_input(int, key_prefix=CHANNEL, flow_run_id="r").next() == 1


async def test_the_command_line_signs_and_looks(keys: Keys, intruder: Intruder) -> None:
    keys("k1")
    assert run(*FLOWCHAN, "send", "r", "1", "--type", "int", "--channel", CHANNEL).returncode == 0
    assert await had(receiver()) == ([1], 0)

    await send(2, to="other")
    intruder.write("r", intruder.entry("other"))
    shown = run(*FLOWCHAN, "listen", "r", "--channel", CHANNEL, "--timeout", "2", "--json")
    assert [json.loads(line)["value"] for line in shown.stdout.splitlines()] == [1]
    assert "forged, changed or moved" in shown.stderr


# --- dead letters ---------------------------------------------------------------------------------------


async def test_a_dead_letter_that_was_signed_is_signed_anew_for_its_group(keys: Keys, intruder: Intruder) -> None:
    keys("k1")
    await send_input("three", "r", key_prefix=CHANNEL)
    assert await had(receiver(group="shop", on_invalid="dead-letter")) == ([], 0)
    (letter,) = await read_dead_letters("r")
    assert letter.value == "three"

    for _ in range(2):  # it dies once more, and is sent once more
        await letter.resend()
        assert intruder.entry("r")[b"h.flowchan.group"] == b"shop"
        shared = receiver(group="shop", on_invalid="dead-letter", timeout=1)
        assert await had(shared) == ([], 0)
        assert shared.refused == 0
        (letter,) = await read_dead_letters("r")
    private = receive_input(str, key_prefix=CHANNEL, flow_run_id="r", timeout=0)
    assert await had(private) == (["three"], 0)  # type: ignore[arg-type, comparison-overlap]
    assert private.refused == 0


async def test_a_dead_letter_that_was_forged_is_neither_read_nor_sent_again(keys: Keys, intruder: Intruder) -> None:
    keys("k1")
    await send(1, to="other")
    intruder.write("r", {**intruder.entry("other"), b"from": b"flowchan.flow-run.boss"})
    shared = receiver(group="shop", on_invalid="dead-letter")
    assert await had(shared) == ([], 0)
    assert shared.refused == 1

    (letter,) = await read_dead_letters("r")
    assert "forged, changed or moved" in letter.error
    assert letter.sender is None
    with pytest.raises(SignatureError):
        _ = letter.value
    with pytest.raises(SignatureError):
        await letter.resend()
    await letter.discard()
