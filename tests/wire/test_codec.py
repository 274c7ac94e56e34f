from __future__ import annotations

import enum
import inspect
import socket
import sys
import threading
import traceback
import tracemalloc
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import hypothesis
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import ExtType

from flowchan.errors import DecodeError, EncodeError
from flowchan.wire.codec import decode, encode
from tests.wire.values import alike, values

MIB = 1024 * 1024
MANY = hypothesis.settings(max_examples=1500, deadline=None)
SOME = hypothesis.settings(max_examples=500, deadline=None)

pack: Callable[[object], bytes] = msgpack.packb  # pyright: ignore[reportAssignmentType]


def there_and_back(value: object) -> Any:
    return decode(encode(value), max_bytes=MIB)


def extension(code: int, payload: bytes) -> bytes:
    return pack(ExtType(code, payload))


# --- what comes back ----------------------------------------------------------------------------------


@SOME
@given(values())
def test_a_value_comes_back_as_what_it_was(value: Any) -> None:
    assert alike(there_and_back(value), value)


@pytest.mark.parametrize(
    "value",
    [
        [(1, 2), [(3,)]],
        {(1, 2), (3, 4)},
        {frozenset({1}), frozenset()},
        {1: "a", None: "b", b"c": "d", (4, "e"): "f", 1.5: "g", "h": [{2: {3: ()}}]},
        {date(2026, 11, 20): {UUID(int=7): Decimal("1.10")}},
        {"": {"": {}}},
        2**64,
        -(2**63) - 1,
        pytest.param(10**4000, id="an integer of 4001 digits"),
        float("nan"),
        float("-inf"),
        -0.0,
        complex("-0j"),
        Decimal("-0"),
        Decimal("1E+999"),
        Decimal("9" * 4300),
        10**4298,
        -(10**4298),
        Decimal("sNaN123"),
        "\x00",
        "\N{GRINNING FACE}",
        datetime.max,  # noqa: DTZ901 - of no zone
        datetime.min.replace(tzinfo=timezone(timedelta(hours=-23, minutes=-59))),
        datetime(1890, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2026, 11, 20, tzinfo=timezone(timedelta(microseconds=1))),
        datetime(2026, 11, 20, tzinfo=timezone(timedelta(microseconds=-1))),
        time(18, 33, tzinfo=timezone(timedelta(microseconds=1))),
        time(18, 33, tzinfo=timezone(timedelta(seconds=-1, microseconds=-1))),
        time(0, 0, 0, 1),
        datetime(2026, 11, 20, 0, 0, 0, 1),  # noqa: DTZ001 - of no zone
        timedelta.max,
        timedelta.min,
        timedelta.resolution,
        time.max.replace(tzinfo=ZoneInfo("Europe/Berlin")),
    ],
)
def test_corners_come_back_as_what_they_were(value: Any) -> None:
    assert alike(there_and_back(value), value)


def test_a_zone_keeps_its_name_and_so_its_rules() -> None:
    # Given a summer's day in Berlin
    sent = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    # When it has travelled and half a year is added
    later = there_and_back(sent) + timedelta(days=184)
    # Then it is winter time, at the same hour
    assert (later.hour, later.utcoffset()) == (12, timedelta(hours=1))


@pytest.mark.parametrize("fold", [0, 1])
def test_both_sides_of_a_clock_put_back_stay_apart(fold: int) -> None:
    sent = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
    assert there_and_back(sent).utcoffset() == timedelta(hours=2 - fold)


def test_the_offset_tells_the_side_of_a_clock_put_back_where_a_writer_has_no_fold() -> None:
    got = decode(extension(9, b"2026-10-25T02:30:00+01:00[Europe/Berlin]"), max_bytes=MIB)
    assert alike(got, datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1))


@pytest.mark.parametrize(
    "text",
    [
        b"2026-07-01T12:00:00+05:00[Europe/Berlin]",
        b"2026-07-01T12:00:00+05:00[Middle-earth/Bree]",
        b"2026-07-01T12:00:00+05:00[../../etc/passwd]",
        b"2026-07-01T12:00:00+05:00[zone.tab]",
        b"2026-07-01T12:00:00+05:00[Europe]",
        b"2026-07-01T12:00:00+05:00[u-ca=hebrew]",
    ],
)
def test_a_zone_that_is_unknown_or_disagrees_leaves_the_offset(text: bytes) -> None:
    expected = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    assert alike(decode(extension(9, text), max_bytes=MIB), expected)


def test_a_zone_of_a_machine_that_never_heard_of_it_is_not_looked_for_for_ever() -> None:
    # Given a body of thousands of zones that do not exist
    whens = [extension(9, b"2026-07-01T12:00:00+05:00[No/Such%d]" % i) for i in range(3000)]
    body = b"\xdc" + len(whens).to_bytes(2, "big") + b"".join(whens)
    # When it is read
    got = decode(body, max_bytes=MIB)
    # Then each has its offset, and zones that exist are found as before
    assert isinstance(got, list)
    assert {when.utcoffset() for when in got} == {timedelta(hours=5)}
    kept = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert alike(there_and_back(kept), kept)


def test_zones_without_a_name_keep_their_offset() -> None:
    class Odd(tzinfo):
        def utcoffset(self, _: datetime | None) -> timedelta:
            return timedelta(hours=3)

        dst = tzname = NotImplemented

    got = there_and_back(datetime(2026, 7, 1, 12, tzinfo=Odd()))
    assert alike(got, datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=3))))


def test_timestamps_of_msgpack_are_read_as_utc() -> None:
    body = pack(msgpack.Timestamp(1_763_661_600, 250_000))
    assert alike(decode(body, max_bytes=MIB), datetime(2025, 11, 20, 18, 0, 0, 250, tzinfo=UTC))


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)
    MANY = [1]  # noqa: RUF012 - the value of a member


class Level(enum.IntEnum):
    LOW = 1


class Mode(enum.StrEnum):
    ON = "on"


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not this"


class Count(int):
    def __int__(self) -> int:
        return -1


class Items(list[Any]):
    pass


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    "value, arrives",
    [
        (Colour.RED, "red"),
        (Colour.PAIR, (1, 2)),
        (Level.LOW, 1),
        (Mode.ON, "on"),
        ({Colour.RED: Mode.ON}, {"red": "on"}),
        ({Level.LOW: 1}, {1: 1}),
        ({Colour.RED}, {"red"}),
        (Text("this"), "this"),
        ({Text("key"): Text("this")}, {"key": "this"}),
        (Count(5), 5),
        (Items([1]), [1]),
        (Point(1, 2), (1, 2)),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, {1: [2]}), {1: [2]}),
        (Counter("aa"), {"a": 2}),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[::2], b"ac"),
        (type("When", (datetime,), {})(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)),
        # msgpack's own extension is a tuple like any other: nobody forges our types with it.
        (ExtType(7, b"x"), (7, b"x")),
    ],
)
def test_what_only_python_tells_apart_arrives_as_the_plain_value(value: Any, arrives: Any) -> None:
    assert alike(there_and_back(value), arrives)


# --- fallback -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Money:
    amount: Decimal


def test_a_fallback_stands_in_for_what_has_no_form_at_any_depth() -> None:
    body = encode({"prices": [Money(Decimal("1.50"))]}, lambda value: {"amount": value.amount})  # type: ignore[attr-defined]
    assert decode(body, max_bytes=MIB) == {"prices": [{"amount": Decimal("1.50")}]}


@pytest.mark.parametrize(
    "fallback",
    [None, lambda value: value, lambda _: object(), lambda _: 1 / 0],
    ids=["none", "itself", "another", "raises"],
)
def test_a_fallback_that_does_not_help_is_an_encode_error(fallback: Callable[[object], object] | None) -> None:
    with pytest.raises(EncodeError, match=r"^Cannot send price: a value of type 'Money' is not serialisable\.$"):
        encode({"price": Money(Decimal(1))}, fallback)


def test_a_fallback_that_never_comes_to_an_end_is_an_encode_error() -> None:
    with pytest.raises(EncodeError, match="nests more than 64 levels deep"):
        encode(Money(Decimal(1)), lambda value: [value])


def test_a_fallback_that_fills_the_stack_is_told_so() -> None:
    def forever(value: object) -> object:
        return forever(value)

    with pytest.raises(RecursionError):
        encode(Money(Decimal(1)), forever)


# --- what is not sent ---------------------------------------------------------------------------------


class Anything:
    def __repr__(self) -> str:
        return "secret"


def test_an_encode_error_names_type_and_place_and_keeps_the_value_to_itself() -> None:
    with socket.socket() as plug, pytest.raises(EncodeError) as caught:
        encode({"value": {"items": [1, "secret", 3, {"when": plug}]}})
    assert str(caught.value) == "Cannot send value.items[3].when: a value of type 'socket' is not serialisable."
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "value, place",
    [
        (Anything(), "the message"),
        ([Anything()], r"\[0\]"),
        ({"a": ([{Anything()}],)}, r"a\[0\]\[0\]\[\*\]"),
        ({"people": {"andrew@secret": 1, "eve@secret": Anything()}}, r"people\[key no\. 2\]"),
        ({"by": {("secret", 1): Anything()}}, r"by\[key no\. 1\]"),
        ({"by": {Anything(): 1}}, r"by\[key no\. 1\]"),
    ],
)
def test_the_place_is_told_without_what_people_wrote(value: Any, place: str) -> None:
    with pytest.raises(
        EncodeError, match=rf"^Cannot send {place}: a value of type 'Anything' is not serialisable\.$"
    ) as caught:
        encode(value)
    assert "secret" not in "".join(traceback.format_exception(caught.value, chain=True)).split("EncodeError", 1)[1]


def test_the_place_of_a_part_far_down_is_shortened() -> None:
    value: Any = Anything()
    for _ in range(60):
        value = {"a_rather_long_name": value}
    with pytest.raises(EncodeError) as caught:
        encode(value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", ["\ud800", ["ok", "\udfff"], {"\ud800": 1}, {("\ud800",)}, {"a": {1: "\ud800"}}])
def test_text_that_is_no_unicode_is_an_encode_error(value: Any) -> None:
    with pytest.raises(EncodeError, match="half of a surrogate pair") as caught:
        encode({"value": value})
    assert caught.value.__context__ is None


def a_list_in_itself() -> Any:
    value: list[Any] = [1]
    value.append({"again": value})
    return value


def a_dict_in_itself() -> Any:
    value: dict[str, Any] = {}
    value["me"] = (value,)
    return value


def a_subclass_in_itself() -> Any:
    value = Items()
    value.append(value)
    return value


@pytest.mark.parametrize("make", [a_list_in_itself, a_dict_in_itself, a_subclass_in_itself])
def test_a_value_that_contains_itself_is_an_encode_error(make: Callable[[], Any]) -> None:
    with pytest.raises(EncodeError, match=r"contains itself|64 levels"):
        encode({"value": make()})


def test_the_same_value_twice_is_no_cycle() -> None:
    twice = (1,)
    assert there_and_back([twice, twice, {"a": twice}]) == [twice, twice, {"a": twice}]


def nest(kind: Callable[[list[Any]], Any], depth: int) -> Any:
    value = kind([])
    for _ in range(depth - 1):
        value = kind([value])
    return value


@pytest.mark.parametrize(
    "kind",
    [list, tuple, frozenset, lambda items: dict(enumerate(items)), lambda items: {"a": items}],
    ids=["list", "tuple", "frozenset", "int keys", "text keys"],
)
def test_what_the_decoder_would_refuse_as_too_deep_is_not_sent(kind: Callable[[list[Any]], Any]) -> None:
    levels = 32 if isinstance(kind([]), dict) and kind([]) else 64
    deepest = nest(kind, levels)
    assert there_and_back(deepest) == deepest
    with pytest.raises(EncodeError, match="64 levels"):
        encode(nest(kind, levels + 1))


@pytest.mark.parametrize(
    "value",
    [
        {Colour.MANY},
        {(Colour.MANY,)},
        {Colour.MANY: 1},
        {frozenset({(Colour.MANY,)})},
    ],
)
def test_what_would_arrive_where_nothing_unhashable_can_be_is_not_sent(value: Any) -> None:
    with pytest.raises(EncodeError, match="neither a key nor in a set"):
        encode(value)
    with pytest.raises(EncodeError, match="neither a key nor in a set"):
        encode({Money(Decimal(1))}, lambda _: {"amount": 1})


def test_two_keys_that_would_arrive_as_one_are_not_sent() -> None:
    with pytest.raises(EncodeError, match=r"^Cannot send by: two of its keys would arrive as one\.$"):
        encode({"by": {"red": 1, Colour.RED: 2}})


@pytest.mark.parametrize(
    "value, told",
    [
        (Decimal("1E+1000"), "a Decimal has an exponent beyond 999"),
        (Decimal("-1E-1000"), "a Decimal has an exponent beyond 999"),
        (Decimal("9" * 4401), "more than 4,300 digits"),
        (2 ** (1785 * 8), "an integer is of more than 4,300 digits"),
        (-(2 ** (1785 * 8)), "an integer is of more than 4,300 digits"),
    ],
    ids=["large", "small", "long", "integer", "negative"],
)
def test_a_number_that_would_take_its_reader_minutes_is_not_sent(value: Any, told: str) -> None:
    with pytest.raises(EncodeError, match=told) as caught:
        encode({"prices": [1, value]})
    assert "prices[1]" in str(caught.value)
    assert caught.value.__context__ is None


def test_a_body_that_no_reader_would_unpack_is_not_sent() -> None:
    with pytest.raises(EncodeError, match="too many small values"):
        encode([{} for _ in range(200_000)])


class BrokenZone(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        raise LookupError("secret")

    dst = tzname = NotImplemented


class BrokenList(list[Any]):
    def __iter__(self) -> Any:
        raise LookupError("secret")


@pytest.mark.parametrize("value", [datetime(2026, 11, 20, tzinfo=BrokenZone()), BrokenList([1])])
def test_a_value_that_fails_to_show_itself_is_an_encode_error(value: Any) -> None:
    with pytest.raises(EncodeError, match=f"'{type(value).__name__}' is not serialisable") as caught:
        encode(value)
    assert caught.value.__context__ is None


def test_many_threads_encode_at_once() -> None:
    # Given threads that send different things, large and small, all at once
    wrong: list[object] = []
    start = threading.Barrier(8)

    def send(number: int) -> None:
        value = {"n": number, "text": "x" * number * 20_000, "pair": (number, {number})}
        start.wait()
        wrong.extend(1 for _ in range(50) if there_and_back(value) != value)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    # When they do
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then each got its own
    assert not wrong


# --- what is not read ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body, reason",
    [
        (b"", "not all of it"),
        (b"\xc1", "not msgpack"),
        (b"\xa5andr", "not all of it"),
        (b"\x01\x02", "more behind its end"),
        (b"\xa2\xff\xfe", "not UTF-8"),
        (b"\x81\x01\x02", "a key that is no text"),
        (b"\x81\x90\x02", "a key that is no text"),
        (b"\xdd\xff\xff\xff\xff", "not all of it"),
        (b"\xdf\xff\xff\xff\xff", "not all of it"),
        (b"\xdb\xff\xff\xff\xff", "not all of it"),
        (b"\xc9\xff\xff\xff\xff\x01", "not all of it"),
        (b"\xdc\x10\x00" + b"\x90" * 100, "ends before"),
        (b"\xdd\x00\x00\x00\xc8" + b"\x90" * 199, "ends before"),
        (b"\xdc\x00\x64" + b"\x90" * 101, "more behind"),
        (b"\x91" * 1000 + b"\xc0", "64 levels"),
        (b"\x81\xa0" * 1000 + b"\xc0", "64 levels"),
        (extension(99, b"x"), "type 99, which this version does not know"),
        (extension(0, b"x"), "type 0, which"),
        (b"\xd4\xfex", "type -2, which"),
        (extension(1, b"\x01"), "type 1 holds no array"),
        (extension(1, b""), "not all of it"),
        (extension(1, b"\x91"), "not all of it"),
        (extension(1, b"\x90\x90"), "more behind its end"),
        (extension(2, b"\x91\x90"), "cannot be one"),
        (extension(3, b"\x91" + extension(1, b"\x91\x80")), "cannot be one"),
        (extension(4, b"\x91\x01"), "a key without a value"),
        (extension(4, b"\x92\x80\x01"), "cannot be one"),
        (extension(2, b"\x91" + extension(6, b"sNaN")), "cannot be one"),
        (extension(6, b"secret"), "type 6 holds no Decimal"),
        (extension(6, b"1E+9999999999999999999999"), "type 6 holds no Decimal"),
        (extension(6, b"1E+1000"), "type 6 holds no Decimal"),
        (extension(6, b"1e-001000"), "type 6 holds no Decimal"),
        (extension(6, b"0E+1000"), "type 6 holds no Decimal"),
        (extension(6, b"1E9_99"), "type 6 holds no Decimal"),
        (extension(6, b"9" * 4401), "type 6 holds no Decimal"),
        (extension(5, b"\x01" * 1786), "type 5 holds no int"),
        (extension(6, "\u0661".encode()), "type 6 holds no Decimal"),
        (extension(7, b"secret"), "type 7 holds no UUID"),
        (extension(8, b"secret"), "type 8 holds no complex"),
        (extension(9, b"secret"), "type 9 holds no datetime"),
        (extension(9, b"2026-11-20T18:33:00" + b"[x]" * 100), "type 9 holds no datetime"),
        (extension(9, b"2026-11-20T18:33:00+01:00[!Europe/Berlin]"), "type 9 holds no datetime"),
        (extension(9, b"2026-11-20T18:33:00[]"), "type 9 holds no datetime"),
        (extension(9, b"2026-11-20T18:33:00["), "type 9 holds no datetime"),
        (extension(10, b"2026-13-20"), "type 10 holds no date"),
        (extension(11, b"25:00"), "type 11 holds no time"),
        (extension(12, b"\x7f" * 20), "type 12 holds no timedelta"),
        (b"\xc7\x0c\xff\x00\x00\x00\x00" + b"\x3f" * 8, "not msgpack"),
    ],
)
def test_a_bad_body_is_a_decode_error_that_says_why_and_shows_nothing(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason) as caught:
        decode(body, max_bytes=MIB)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_body_that_is_too_large_is_not_looked_into() -> None:
    with pytest.raises(DecodeError, match=r"takes 11 bytes; at most 10 are read"):
        decode(b"\xc1" * 11, max_bytes=10)
    assert decode(b"\xa9" + b"x" * 9, max_bytes=10) == "x" * 9


def test_of_a_key_that_is_there_twice_the_last_value_counts() -> None:
    assert decode(b"\x82\xa1a\x01\xa1a\x02", max_bytes=MIB) == {"a": 2}
    assert decode(extension(4, b"\x94\x01\x01\x01\x02"), max_bytes=MIB) == {1: 2}
    assert decode(extension(2, b"\x92\x01\x01"), max_bytes=MIB) == {1}


def nested_extensions(depth: int, blob: bytes = b"") -> bytes:
    body = pack(blob)
    for _ in range(depth):
        body = extension(1, b"\x91" + body)
    return body


def test_extensions_in_extensions_count_as_depth() -> None:
    decode(nested_extensions(64), max_bytes=MIB)
    for depth in (65, 1000):
        with pytest.raises(DecodeError, match="64 levels"):
            decode(nested_extensions(depth), max_bytes=MIB)


@pytest.mark.parametrize(
    "make",
    [
        lambda i: extension(7, UUID(int=i * (2**61 - 1)).bytes),
        lambda i: extension(5, (i * (2**61 - 1)).to_bytes(20, "big")),
    ],
    ids=["UUIDs", "integers"],
)
@pytest.mark.parametrize("code", [2, 3, 4])
def test_members_chosen_to_collide_are_refused_rather_than_compared_for_minutes(
    make: Callable[[int], bytes], code: int
) -> None:
    members = [make(i) for i in range(40_000)]
    if code == 4:
        members = [part for member in members for part in (member, b"\xc0")]
    body = extension(code, b"\xdd" + len(members).to_bytes(4, "big") + b"".join(members))
    with pytest.raises(DecodeError, match="the same hash"):
        decode(body, max_bytes=2 * MIB)


def test_a_stack_that_is_full_is_not_the_fault_of_the_message() -> None:
    # Given a caller that has nearly used up its stack
    body = nested_extensions(64)

    def deep(left: int) -> object:
        return deep(left - 1) if left else decode(body, max_bytes=MIB)

    # Then it is told so, and does not take the message for a bad one
    with pytest.raises(RecursionError):
        deep(sys.getrecursionlimit() - len(inspect.stack(0)) - 40)


# --- memory -------------------------------------------------------------------------------------------


def weighed(unit: bytes, weight: int) -> bytes:
    """An array of as many units as pass for light enough, in a MiB."""
    count = min((MIB - 5) // len(unit), (32 * MIB - 80) // weight)
    return b"\xdd" + count.to_bytes(4, "big") + unit * count


def set_of(code: int, count: int) -> bytes:
    return extension(code, pack(list(range(count))))


def many_keys() -> bytes:
    keys = [b"\xa3%c%c%c" % (a, b, c) for a in range(33, 93) for b in range(33, 93) for c in range(33, 91)]
    return b"\xdf" + len(keys).to_bytes(4, "big") + b"".join(key + b"\xc0" for key in keys)


LIES = b"\xdd\x00\x0f\xff\x00"

HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty lists, as many as may be": lambda: weighed(b"\x90", 80),
    "maps of one pair, as many as may be": lambda: weighed(b"\x81\xa0\xc0", 392),
    "letters of two bytes": lambda: weighed(b"\xa2\xc4\x80", 96),
    "empty sets, as many as may be": lambda: weighed(extension(2, b"\x90"), 249),
    "sets of five, as many as may be": lambda: weighed(set_of(2, 5), 168 + 6 + 80 + 5 * 120),
    "sets of nineteen, as many as may be": lambda: weighed(set_of(3, 19), 168 + 22 + 80 + 19 * 120),
    "maps in extensions, as many as may be": lambda: weighed(extension(4, b"\x92\x01\x02"), 168 + 3 + 80 + 2 * 56),
    "decimals, as many as may be": lambda: weighed(extension(6, b"1"), 209),
    "one map of many keys": many_keys,
    "a MiB in 29 tuples": lambda: nested_extensions(29, b"x" * (MIB - 400)),
    "a MiB in 64 tuples": lambda: nested_extensions(64, b"x" * (MIB - 800)),
    "a lie in each of 60 levels": lambda: LIES * 60,
    "lies side by side": lambda: b"\xdd\x00\x03\x00\x00" + LIES * 200_000,
    "one emoji behind a MiB of ascii": lambda: (
        b"\xdb" + (MIB - 5).to_bytes(4, "big") + b"a" * (MIB - 9) + "\U0001f600".encode()
    ),
    "a MiB of digits": lambda: extension(6, b"9" * (MIB - 6)),
    "a MiB of integer": lambda: extension(5, b"\x7f" * (MIB - 6)),
}


@pytest.mark.parametrize("unit", [b"\x90", b"\x80", extension(2, b"\x90")], ids=["lists", "maps", "sets"])
def test_a_mib_of_empty_containers_is_refused(unit: bytes) -> None:
    count = (MIB - 5) // len(unit)
    with pytest.raises(DecodeError, match="too many small values"):
        decode(b"\xdd" + count.to_bytes(4, "big") + unit * count, max_bytes=MIB)


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_body_of_a_mib_takes_more_than_32_mib(make: Callable[[], bytes]) -> None:
    body = make()
    assert len(body) <= MIB
    tracemalloc.start()
    try:
        decode(body, max_bytes=MIB)
    except DecodeError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak <= 32 * MIB, f"{peak / MIB:.1f} MiB"


# --- fuzz ---------------------------------------------------------------------------------------------


def decodes_or_not(body: bytes) -> None:
    try:
        value = decode(body, max_bytes=MIB)
    except DecodeError:
        return
    # What was read can be sent on, and is still the same.
    assert alike(there_and_back(value), value)


@MANY
@given(st.binary(max_size=300))
def test_random_bytes_are_a_value_or_a_decode_error(body: bytes) -> None:
    decodes_or_not(body)


# Bytes of which random ones have too few: the heads of containers and extensions, our codes.
HEADS = [*range(0x80, 0xA0), *range(0xC0, 0xE0), *range(13)]


@MANY
@given(st.lists(st.sampled_from(HEADS), max_size=60).map(bytes), st.binary(max_size=40))
def test_random_heads_are_a_value_or_a_decode_error(heads: bytes, rest: bytes) -> None:
    decodes_or_not(heads + rest)


@hypothesis.settings(max_examples=1000, deadline=None)
@given(values(), st.data())
def test_mutated_bodies_are_a_value_or_a_decode_error(value: Any, data: st.DataObject) -> None:
    body = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        match data.draw(st.sampled_from(["flip", "cut", "put", "drop"])):
            case "flip" if at < len(body):
                body[at] = data.draw(st.integers(0, 255))
            case "cut":
                del body[at:]
            case "put":
                body[at:at] = data.draw(st.binary(max_size=3))
            case _:
                del body[at : at + 1]
    decodes_or_not(bytes(body))
