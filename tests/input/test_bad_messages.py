"""Entries that are no messages, and messages that do not fit: an error once each, and then the next message."""

from __future__ import annotations

import enum
import itertools
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgpack
import pytest
import redis
from pydantic import BaseModel, ValidationError, field_validator

from flowchan import RunInput, receive_input, send_input, sync
from flowchan.errors import DecodeError, FlowchanError
from tests.support.streams import Streams

pytestmark = pytest.mark.anyio

PRODUCER = "0123456789abcdef"
ID = f"{PRODUCER}-0"
RUN, CHANNEL = "run", "strautomaticruninput-auto"
MIB = 1024 * 1024

Write = Callable[..., str]


class Ticket(RunInput):
    size: Literal["small", "large"]


class Level(enum.Enum):
    LOW = 1


class User(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name == "nobody":
            raise ValueError("there is no such user")
        return name


@pytest.fixture
def write(client: redis.Redis, streams: Streams) -> Write:
    """Puts an entry into a channel of the run, field by field, as any client of the server can; its ID."""

    numbers = itertools.count(1)

    def write(fields: Mapping[Any, Any], channel: str = CHANNEL) -> str:
        key = streams.key(RUN, channel)
        own: dict[str, Any] = {}
        if fields.get("id") == ID:
            number = next(numbers)
            own = {"id": f"{PRODUCER}-{number:x}"} | ({"seq": number} if fields.get("seq") == 1 else {})
        entry: Any = client.xadd(key, {**fields, **own})
        client.expire(key, 60)
        return entry.decode()

    return write


def entry(body: bytes, **fields: Any) -> dict[str, Any]:
    """The fields of an entry that is right except for its body."""
    return {"v": 1, "id": ID, "seq": 1, "schema": "00000000", **fields, "body": body}


def nested(depth: int) -> bytes:
    return b"\x81\xa5value" + b"\x91" * depth + b"\x90"


BAD: dict[str, tuple[dict[Any, Any], str]] = {
    "not msgpack": (entry(b"\xc1\xff\x00"), "cannot be read"),
    "empty": (entry(b""), "cannot be read"),
    "text": (entry(b"hello"), "cannot be read"),
    "cut off": (entry(msgpack.packb({"value": "andrew"})[:-2]), "cannot be read"),
    "followed by something": (entry(msgpack.packb({"value": "andrew"}) + b"\x00"), "cannot be read"),
    "a lie about a text's length": (entry(b"\x81\xa5value\xdb\x7f\xff\xff\xffabc"), "cannot be read"),
    "a lie about an array's length": (entry(b"\x81\xa5value\xdd\x7f\xff\xff\xff" + b"\x90" * 60_000), "cannot be read"),
    "a lie about a map's length": (entry(b"\xdf\xff\xff\xff\xff" + b"\x90" * 60_000), "cannot be read"),
    "1,000 levels deep": (entry(nested(1000)), "levels"),
    "a MiB of empty lists": (entry(b"\x81\xa5value\xdc\xff\xff" + b"\x90" * 65_535 + b"\x90" * 400_000), "cannot be"),
    "5 MiB": (entry(msgpack.packb({"value": "x" * 5 * MIB})), r"5,242,\d\d\d bytes; at most 1,048,576"),
    "text that is not UTF-8": (entry(b"\x81\xa5value\xa2\xff\xfe"), "UTF-8"),
    "a key that is no text": (entry(b"\x81\x01\x02"), "cannot be read"),
    "an unknown extension": (entry(msgpack.packb({"value": msgpack.ExtType(99, b"x")})), "extension of type 99"),
    "a newer format version": (entry(b"\x80", v=2), "format version 2, and this flowchan reads version 1: update"),
    "no version": ({"id": ID, "seq": 1, "body": b"\x80"}, "'v' is missing"),
    "no message ID": ({"v": 1, "seq": 1, "body": b"\x80"}, "'id' is missing"),
    "a garbled message ID": (entry(b"\x80", id="hello"), "'id' cannot be read"),
    "a garbled sequence": (entry(b"\x80", seq="first"), "'seq' cannot be read"),
    "no body": ({"v": 1, "id": ID, "seq": 1}, "'body' is missing"),
    "a sender that is not UTF-8": (entry(b"\x80", **{"from": b"\xff"}), "'from' cannot be read"),
    "another program's fields": ({"temperature": "21.5"}, "'v' is missing"),
}


@pytest.mark.parametrize("fields, problem", BAD.values(), ids=BAD)
async def test_an_entry_that_cannot_be_read_is_an_error_with_its_key_once(
    fields: dict[Any, Any], problem: str, write: Write
) -> None:
    await send_input("before", RUN)
    place = write(fields)
    await send_input("after", RUN)

    receiver = receive_input(str, flow_run_id=RUN, timeout=30)
    assert await receiver.next() == "before"
    with pytest.raises(DecodeError, match=problem) as unreadable:
        await receiver.next()
    assert await receiver.next() == "after"

    assert unreadable.value.key is not None
    assert unreadable.value.key.startswith(f"{CHANNEL}-{place}-")
    assert unreadable.value.key in str(unreadable.value)
    assert "andrew" not in str(unreadable.value)


async def test_the_key_of_what_cannot_be_read_excludes_it(write: Write) -> None:
    write(BAD["not msgpack"][0])
    await send_input("good", RUN)
    with pytest.raises(DecodeError) as unreadable:
        await receive_input(str, flow_run_id=RUN).next()
    assert unreadable.value.key is not None

    assert await receive_input(str, flow_run_id=RUN, exclude_keys=[unreadable.value.key]).next() == "good"
    assert await receive_input(str, flow_run_id=RUN, after=unreadable.value.key).next() == "good"


async def test_many_bad_entries_are_as_many_errors(write: Write) -> None:
    for fields, _ in BAD.values():
        write(fields)
    await send_input("good", RUN)

    receiver = receive_input(str, flow_run_id=RUN, timeout=30)
    for _ in BAD:
        with pytest.raises(DecodeError):
            await receiver.next()

    assert await receiver.next() == "good"


async def test_a_bad_entry_that_comes_while_somebody_waits_is_an_error_too(write: Write) -> None:
    receiver = receive_input(str, flow_run_id=RUN, timeout=30)
    await send_input("before", RUN)
    assert await receiver.next() == "before"

    write(BAD["1,000 levels deep"][0])
    with pytest.raises(DecodeError):
        await receiver.next()
    await send_input("after", RUN)
    assert await receiver.next() == "after"


def test_synchronous_code_gets_the_same_errors(write: Write) -> None:
    write(BAD["not msgpack"][0])
    sync.send_input("good", RUN)

    receiver = sync.receive_input(str, flow_run_id=RUN, timeout=30)
    with pytest.raises(DecodeError):
        receiver.next()
    assert list(zip(range(1), receiver, strict=False)) == [(0, "good")]


async def test_a_hostile_entry_costs_a_bounded_amount_of_memory(write: Write) -> None:
    for name in ("a lie about a text's length", "a lie about an array's length", "a MiB of empty lists"):
        write(BAD[name][0])
    receiver = receive_input(str, flow_run_id=RUN, timeout=30)

    tracemalloc.start()
    try:
        for _ in range(3):
            with pytest.raises(DecodeError):
                await receiver.next()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 32 * MIB


async def test_a_loop_goes_on_where_it_is_begun_again(write: Write) -> None:
    await send_input("one", RUN)
    write(BAD["not msgpack"][0])
    await send_input("two", RUN)
    receiver = receive_input(str, flow_run_id=RUN, timeout=0, raise_timeout_error=False)
    seen: list[str] = []

    async def receive() -> None:
        async for name in receiver:
            seen.append(name)  # noqa: PERF401 - what was seen before the error counts

    with pytest.raises(DecodeError):
        await receive()
    await receive()

    assert seen == ["one", "two"]


# --- messages that can be read, and do not fit -----------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [{"size": "huge"}, {}, {"size": "small", "colour": "red"}, {"value": "small"}, "small", 3, [1]],
    ids=["a wrong value", "a field missing", "a field too many", "a plain value", "a text", "a number", "a list"],
)
async def test_a_message_that_does_not_fit_is_an_error_once_then_the_good_one(body: Any, write: Write) -> None:
    write(entry(msgpack.packb(body)), "ticket-auto")
    await Ticket(size="large").send_to(RUN)

    receiver = Ticket.receive(flow_run_id=RUN, timeout=30)
    with pytest.raises(ValidationError):
        await receiver.next()

    assert (await receiver.next()).size == "large"


async def test_a_number_that_must_not_be_compared_does_not_fit_an_enum(write: Write) -> None:
    write(entry(msgpack.packb({"value": msgpack.ExtType(6, b"sNaN")})), "level")
    await send_input(1, RUN, key_prefix="level")
    receiver = receive_input(Level, flow_run_id=RUN, key_prefix="level", timeout=30)
    with pytest.raises(ValidationError, match=r"signalling NaN|Input should be 1") as unfit:
        await receiver.next()
    assert unfit.value.__context__ is None
    assert await receiver.next() is Level.LOW


async def test_a_users_validator_is_asked() -> None:
    await send_input(User(name="andrew"), RUN)
    await send_input(User.model_construct(name="nobody"), RUN)
    await send_input(User(name="marvin"), RUN)

    receiver = receive_input(User, flow_run_id=RUN, timeout=30)
    assert (await receiver.next()).name == "andrew"
    with pytest.raises(ValidationError, match="there is no such user"):
        await receiver.next()
    assert (await receiver.next()).name == "marvin"


async def test_a_value_of_the_wrong_type_in_a_shared_channel_does_not_fit() -> None:
    await send_input("many", RUN, key_prefix="numbers")
    await send_input(3, RUN, key_prefix="numbers")

    receiver = receive_input(int, flow_run_id=RUN, key_prefix="numbers", timeout=30)
    with pytest.raises(ValidationError):
        await receiver.next()
    assert await receiver.next() == 3


async def test_what_is_sent_as_another_type_waits_for_who_asks_for_that_type() -> None:
    await send_input("three", RUN)

    with pytest.raises(TimeoutError):
        await receive_input(int, flow_run_id=RUN, timeout=0).next()

    assert await receive_input(str, flow_run_id=RUN, timeout=0).next() == "three"


async def test_what_a_list_holds_is_checked_when_it_is_received() -> None:
    await send_input(["one", "two"], RUN)
    await send_input([1, 2], RUN)

    receiver = receive_input(list[int], flow_run_id=RUN, timeout=30)
    with pytest.raises(ValidationError):
        await receiver.next()
    assert await receiver.next() == [1, 2]


async def test_a_message_that_stands_twice_in_a_stream_is_yielded_once(write: Write) -> None:
    body = msgpack.packb({"value": "andrew"})
    for number in (1, 1, 2):
        write(entry(body, id=f"{PRODUCER}-{number}", seq=number))
    await send_input("marvin", RUN)

    receiver = receive_input(str, flow_run_id=RUN, timeout=0, raise_timeout_error=False)
    assert [name async for name in receiver] == ["andrew", "andrew", "marvin"]
    assert list(sync.receive_input(str, flow_run_id=RUN, timeout=0, raise_timeout_error=False)) == [
        *("andrew", "andrew", "marvin")
    ]


async def test_a_channel_that_is_no_stream_is_refused_and_not_taken_for_silence(
    client: redis.Redis, streams: Streams
) -> None:
    client.set(streams.key(RUN, CHANNEL), "not a stream", px=60_000)

    with pytest.raises(FlowchanError, match=rf"run {RUN}, channel {CHANNEL}"):
        await receive_input(str, flow_run_id=RUN, timeout=30).next()
