"""The extension types of a body: what msgpack has no form for, each under a code of its own.

Here are those that hold a single value; the four that hold other values are taken apart by the codec.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal, InvalidOperation
from functools import cache
from typing import Any, Final, TypeVar
from uuid import UUID

TUPLE: Final = 1
SET: Final = 2
FROZENSET: Final = 3
MAP: Final = 4
HOLDERS = frozenset({TUPLE, SET, FROZENSET, MAP})
"""Those that hold other values: their payload is one msgpack array."""

INTEGER: Final = 5
DECIMAL: Final = 6
IDENTIFIER: Final = 7
COMPLEX: Final = 8
DATETIME: Final = 9
DATE: Final = 10
TIME: Final = 11
TIMEDELTA: Final = 12


LONGEST_INTEGER: Final = 1785
"""Bytes of an integer: it has at most 4300 digits, which is as many as Python itself reads and writes."""

LONGEST_DECIMAL: Final = 4400
"""Bytes of a Decimal as text."""

_EXPONENT_DIGITS: Final = 3
"""A reader's type may make an int of a Decimal. That of ``1E+999999`` takes a minute to make."""


class Unreadable(ValueError):  # noqa: N818 - says what the payload is
    """A payload is not one of its type. Says so without showing it."""


def read(code: int, payload: bytes) -> object:
    """The value of an extension that holds a single one.

    Raises:
        Unreadable: there is no such type, or the payload is none of it.
    """
    reader = _READERS.get(code)
    if reader is None:
        raise Unreadable(f"it holds an extension of type {code}, which this version does not know")
    try:
        return reader(payload)
    except (ValueError, ArithmeticError, struct.error):
        pass  # and only then raise: the caught error quotes the payload
    raise Unreadable(f"its extension of type {code} holds no {NAMES[code]}")


# --- numbers -----------------------------------------------------------------------------------------


def write_integer(value: int) -> bytes:
    """The payload of an integer that msgpack has no room for.

    Raises:
        Unreadable: it is larger than a reader takes.
    """
    if value.bit_length() >= LONGEST_INTEGER * 8:
        raise Unreadable("an integer is of more than 4,300 digits")
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _read_integer(payload: bytes) -> int:
    if len(payload) > LONGEST_INTEGER:
        raise ValueError
    return int.from_bytes(payload, "big", signed=True)


# A context of its own: under the caller's, text that is no number may be read as NaN without a word.
_EXACT = Context(traps=[InvalidOperation])


def _write_decimal(value: Decimal) -> bytes:
    payload = Decimal.__str__(value).encode()
    if _is_extreme(payload):
        raise Unreadable("a Decimal has an exponent beyond 999, or more than 4,300 digits")
    return payload


def _is_extreme(payload: bytes) -> bool:
    exponent = payload.upper().partition(b"E")[2]
    return len(payload) > LONGEST_DECIMAL or len(exponent.lstrip(b"+-0")) > _EXPONENT_DIGITS


def _read_decimal(payload: bytes) -> Decimal:
    if _is_extreme(payload):
        raise ValueError
    return Decimal(payload.decode("ascii"), _EXACT)


def _write_complex(value: complex) -> bytes:
    return struct.pack(">dd", value.real, value.imag)


def _read_complex(payload: bytes) -> complex:
    return complex(*struct.unpack(">dd", payload))


def _write_uuid(value: UUID) -> bytes:
    return value.bytes


def _read_uuid(payload: bytes) -> UUID:
    return UUID(bytes=payload)


# --- dates and times ---------------------------------------------------------------------------------

# As RFC 9557 writes them: 2026-10-25T02:30:00+01:00[Europe/Berlin]. Other clients have a parser for that.
_ZONE_NAME = re.compile(r"[A-Za-z._][A-Za-z0-9._+-]*(?:/[A-Za-z._][A-Za-z0-9._+-]*)*")
_LONGEST_TIME = 192
_Moment = TypeVar("_Moment", datetime, time)
_MICROSECOND = timedelta(microseconds=1)
_STRANGERS_LOOKED_FOR = 100
_strangers = 0


def _write_datetime(value: datetime) -> bytes:
    return (datetime.isoformat(value) + _tags(value)).encode("ascii")


def _write_time(value: time) -> bytes:
    return (time.isoformat(value) + _tags(value)).encode("ascii")


def _tags(value: datetime | time) -> str:
    fold = "[fold=1]" if value.fold else ""
    zone = value.tzinfo
    if zone is None or type(zone) is timezone:
        return fold
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - 4 ms that most processes never need

    if isinstance(zone, ZoneInfo) and _ZONE_NAME.fullmatch(zone.key or "") and len(zone.key) < _LONGEST_TIME // 2:
        return f"[{zone.key}]{fold}"
    return fold


def _untagged(payload: bytes) -> tuple[str, str | None, int]:
    """The time, the name of its zone and its fold. A tag that is none of ours is passed over, unless it says `!`."""
    if len(payload) > _LONGEST_TIME:
        raise ValueError
    text, *tags = payload.decode("ascii").split("[")
    name, fold = None, 0
    for number, tag in enumerate(tags):
        if tag[-1:] != "]" or tag[0] in "]!":
            raise ValueError
        if tag == "fold=1]":
            fold = 1
        elif number == 0 and "=" not in tag:
            name = tag[:-1]
    return text, name, fold


def _parsed(kind: type[_Moment], text: str) -> _Moment:
    if text[-15:-6] != "00:00:00." or text[-16:-15] not in ("+", "-"):
        return kind.fromisoformat(text)
    # CPython takes an offset of less than a second for UTC.
    size = timedelta(microseconds=int(text[-6:]))
    return kind.fromisoformat(text[:-16]).replace(tzinfo=timezone(-size if text[-16] == "-" else size))


def _read_datetime(payload: bytes) -> datetime:
    text, name, fold = _untagged(payload)
    value = _parsed(datetime, text)
    if fold:
        value = value.replace(fold=1)
    zone = _zone(name)
    if zone is None:
        return value
    # The instant counts more than the name: a zone whose rules are others here does not get to move it.
    for side in (fold, 1):
        local = value.replace(tzinfo=zone, fold=side)
        if value.tzinfo is None or local.utcoffset() == value.utcoffset():
            return local
    return value


def _read_time(payload: bytes) -> time:
    text, name, fold = _untagged(payload)
    value = _parsed(time, text).replace(fold=fold)
    zone = _zone(name)
    if zone is None:
        return value
    local = value.replace(tzinfo=zone)
    return local if value.tzinfo is None or local.utcoffset() == value.utcoffset() else value


def _zone(name: str | None) -> tzinfo | None:
    """The zone of a name, or None where this machine knows none."""
    global _strangers  # noqa: PLW0603 - how often this process was asked in vain
    if name is None or not _ZONE_NAME.fullmatch(name):
        return None
    # To look for a zone that is not there takes 200 µs, and a body has room for 20,000 of them.
    if _strangers > _STRANGERS_LOOKED_FOR and name not in _known_zones():
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 - as above

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        _strangers += 1
        return None


@cache
def _known_zones() -> set[str]:
    from zoneinfo import available_timezones  # noqa: PLC0415 - as above

    return available_timezones()


def _write_date(value: date) -> bytes:
    return date.isoformat(value).encode()


def _read_date(payload: bytes) -> date:
    return date.fromisoformat(payload.decode("ascii"))


def _write_timedelta(value: timedelta) -> bytes:
    return write_integer(timedelta.__floordiv__(value, _MICROSECOND))


def _read_timedelta(payload: bytes) -> timedelta:
    return timedelta(microseconds=_read_integer(payload))


# --- by type and by code -----------------------------------------------------------------------------

WRITERS: Mapping[type, tuple[int, Callable[[Any], bytes]]] = {
    # A datetime is a date, too: what comes first here is asked first.
    datetime: (DATETIME, _write_datetime),
    date: (DATE, _write_date),
    time: (TIME, _write_time),
    timedelta: (TIMEDELTA, _write_timedelta),
    Decimal: (DECIMAL, _write_decimal),
    UUID: (IDENTIFIER, _write_uuid),
    complex: (COMPLEX, _write_complex),
}
"""The code and the payload of a value by its type. ``int`` is not among them: only large ones are extensions."""

_READERS: Mapping[int, Callable[[bytes], object]] = {
    INTEGER: _read_integer,
    DECIMAL: _read_decimal,
    IDENTIFIER: _read_uuid,
    COMPLEX: _read_complex,
    DATETIME: _read_datetime,
    DATE: _read_date,
    TIME: _read_time,
    TIMEDELTA: _read_timedelta,
}

NAMES: Mapping[int, str] = {INTEGER: "integer", **{code: kind.__name__ for kind, (code, _) in WRITERS.items()}}
"""What an extension of one value holds, by its code."""
