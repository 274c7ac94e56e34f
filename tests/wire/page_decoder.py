"""A second client: reads messages by ``docs/wire-format.md`` alone, with msgpack and the standard library.

Nothing of flowchan is imported here, on purpose. What this needs to know and the page does not say is a
gap in the page.
"""

from __future__ import annotations

import binascii
import re
import struct
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgpack

PAGE = (Path(__file__).parents[2] / "docs" / "wire-format.md").read_text(encoding="utf-8")


class Message(NamedTuple):
    """An entry, decoded."""

    message_id: str
    sender: str | None
    sequence: int
    schema: str
    headers: dict[str, str]
    value: Any


class Refused(Exception):  # noqa: N818 - as the page says it
    """The page says that a reader refuses this."""


# --- the page's own examples --------------------------------------------------------------------------


def block(name: str) -> list[str]:
    """The lines of a fenced block of the page, by what its fence says behind ``text``."""
    found = re.search(rf"^ *```text {name}\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1].splitlines()


def rows(columns: str) -> list[list[str]]:
    """The cells of a table of the page, by how its head begins; backticks around a whole cell are taken off."""
    found = re.search(rf"^\| {re.escape(columns)} .*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found, columns
    return [
        [re.sub(r"^`(.*)`$", r"\1", cell.strip()) for cell in line.strip("|").split("|")]
        for line in found[1].splitlines()
    ]


def example_fields() -> list[bytes]:
    """The example of an entry, as a server returns it."""
    fields: list[bytes] = []
    for line in block("entry"):
        name, value = line.split()
        fields += (name.encode(), bytes.fromhex(value) if name == "body" else value.encode())
    return fields


# --- keys ---------------------------------------------------------------------------------------------


def stream_key(namespace: str, run: str, channel: str) -> str:
    if re.fullmatch(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}", run):
        digits = run.replace("-", "").lower()
        run = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    tags = [int(tag) for line in block("tags") for tag in line.split()]
    return f"{namespace}:{{{tags[slot(run) // 256]}}}:{run}:{channel}"


def slot(text: str) -> int:
    crc = 0
    for byte in text.encode():
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
    return (crc & 0xFFFF) % 16384


def message_key(stream: str, entry_id: str) -> str:
    channel = stream.split(":")[3]
    return f"{channel}-{entry_id}-{binascii.crc32(stream.encode()):08x}"


# --- entries ------------------------------------------------------------------------------------------


def decode_entry(fields: list[bytes]) -> Message:
    names = fields[::2]
    entry = dict(zip(names, fields[1::2], strict=True))
    if entry[b"v"] != b"1":
        raise Refused(f"version {entry[b'v'].decode()}")
    if len(entry) < len(names):
        raise Refused("a field is there twice")
    return Message(
        message_id=entry[b"id"].decode(),
        sender=entry[b"from"].decode() if b"from" in entry else None,
        sequence=int(entry[b"seq"]),
        schema=entry.get(b"schema", b"").decode(),
        headers={name[2:].decode(): text.decode() for name, text in entry.items() if name.startswith(b"h.")},
        value=decode_body(entry[b"body"]),
    )


# --- bodies -------------------------------------------------------------------------------------------


def decode_body(body: bytes) -> Any:
    return msgpack.unpackb(body, ext_hook=_extension, timestamp=3)


def _extension(code: int, payload: bytes) -> Any:  # noqa: C901 - the page's table, row by row
    match code:
        case 1:
            return tuple(decode_body(payload))
        case 2:
            return set(decode_body(payload))
        case 3:
            return frozenset(decode_body(payload))
        case 4:
            parts = decode_body(payload)
            return {parts[i]: parts[i + 1] for i in range(0, len(parts), 2)}
        case 5:
            return int.from_bytes(payload, "big", signed=True)
        case 6:
            return Decimal(payload.decode())
        case 7:
            return UUID(bytes=payload)
        case 8:
            return complex(*struct.unpack(">dd", payload))
        case 9:
            return _datetime(payload.decode())
        case 10:
            return date(*map(int, payload.decode().split("-")))
        case 11:
            return _time(payload.decode())
        case 12:
            return timedelta(microseconds=int.from_bytes(payload, "big", signed=True))
        case _:
            raise Refused(f"extension type {code}")


_CLOCK = r"(\d\d):(\d\d):(\d\d)(?:\.(\d{6}))?"
_OFFSET = r"(?:([+-])(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{6}))?)?)?"
_SUFFIXES = r"((?:\[[^\]]+\])*)"


def _datetime(text: str) -> datetime:
    found = re.fullmatch(rf"(\d{{4}})-(\d\d)-(\d\d)T{_CLOCK}{_OFFSET}{_SUFFIXES}", text, re.ASCII)
    if not found:
        raise Refused(text)
    zone, fold = _suffixes(found[13])
    parts = [int(part or 0) for part in found.groups()[:7]]
    value = datetime(*parts, tzinfo=_offset(*found.groups()[7:12]), fold=fold)  # type: ignore[arg-type, misc]
    if zone is not None:
        for side in {fold, 1}:
            named = value.replace(tzinfo=zone, fold=side)
            if named.utcoffset() == value.utcoffset():
                return named
    return value


def _time(text: str) -> time:
    found = re.fullmatch(rf"{_CLOCK}{_OFFSET}{_SUFFIXES}", text, re.ASCII)
    if not found:
        raise Refused(text)
    zone, fold = _suffixes(found[10])
    hour, minute, second, microsecond = (int(part or 0) for part in found.groups()[:4])
    return time(hour, minute, second, microsecond, tzinfo=zone or _offset(*found.groups()[4:9]), fold=fold)


def _offset(sign: str | None, hours: str, minutes: str, seconds: str | None, fraction: str | None) -> timezone | None:
    if sign is None:
        return None
    size = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds or 0), microseconds=int(fraction or 0))
    return timezone(-size if sign == "-" else size)


def _suffixes(text: str) -> tuple[ZoneInfo | None, int]:
    zone, fold = None, 0
    for number, suffix in enumerate(re.findall(r"\[([^\]]+)\]", text)):
        if suffix.startswith("!"):
            raise Refused(suffix)
        if suffix == "fold=1":
            fold = 1
        elif number == 0 and "=" not in suffix:
            try:
                zone = ZoneInfo(suffix)
            except ZoneInfoNotFoundError:
                zone = None
    return zone, fold
