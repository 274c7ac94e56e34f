"""The commands that add a message to a stream, packed: each way of sending has its own."""

from __future__ import annotations

from collections.abc import Mapping

import hiredis

from flowchan.broker.connection import pack
from flowchan.broker.destination import new_producer, number_of
from flowchan.broker.script import script
from flowchan.settings import Settings
from flowchan.wire import keys
from flowchan.wire.envelope import FOLLOWS_FIELD
from flowchan.wire.signing import FIELD, Keyring


def adding(
    stream: str, marker: str | None, settings: Settings, fields: list[bytes | str], keyring: Keyring | None
) -> bytes:
    """The command for a message with these fields, signed if they are to be.

    ``marker`` is the key that is there when it was stored before; its own ID may be part of that.
    """
    if marker is not None and keys.message_id_of(stream, marker) is not None:
        # One that may be stored already is not refused, however full the channel is.
        return _again(stream, marker, settings, fields, keyring)
    if settings.max_channel_length is not None:
        return _capped(stream, marker, settings, fields)
    if marker is not None:
        return _once(stream, marker, settings, fields)
    return pack(("XADD", stream, "*", *fields))


def numbered_anew(packed: bytes, message_id: str, headers: Mapping[str, str], keyring: Keyring | None) -> bytes:
    """A command that adds a message, as it was packed, with another ID, its number, and what it says of its producer.

    It is signed anew if it was signed.
    """
    reader = hiredis.Reader()
    reader.feed(packed)
    command: list[bytes] = reader.gets()
    # XADD stream * field value …, or EVAL script 1 stream terms field value …
    at, stream = (3, command[1]) if command[0] == b"XADD" else (5, command[3])
    parts = iter(command[at:])
    number = b"%d" % number_of(message_id)
    values = dict(zip(parts, parts, strict=True)) | {b"id": message_id.encode(), b"seq": number}
    values.pop(FIELD, None)
    values.pop(FOLLOWS_FIELD, None)
    body = values.pop(b"body")
    values |= {b"h." + name.encode(): text.encode() for name, text in headers.items()} | {b"body": body}
    fields: list[bytes | str] = [part for pair in values.items() for part in pair]
    if keyring is not None:
        fields = keyring.signed(stream.decode(), fields)
    return pack((*command[:at], *fields))


def _capped(stream: str, marker: str | None, settings: Settings, fields: list[bytes | str]) -> bytes:
    """Unless the channel is full, or the message's marker is there."""
    names = (stream,) if marker is None else (stream, marker)
    # Twice as long as a send may take: then its sender has looked for it, or does so no more.
    looked_for = int(settings.send_timeout * 2000)
    terms = (settings.max_channel_length, int(settings.retention * 1000), looked_for, settings.retention_after_end_ms)
    return pack(("EVAL", script("send_capped")[0], len(names), *names, " ".join(map(str, terms)), *fields))


def _once(stream: str, marker: str, settings: Settings, fields: list[bytes | str]) -> bytes:
    """Unless its marker is there."""
    return pack(("EVAL", script("send_once")[0], 2, stream, marker, int(settings.retention * 1000), *fields))


def _again(stream: str, marker: str, settings: Settings, fields: list[bytes | str], keyring: Keyring | None) -> bytes:
    """Unless it is there itself, from a send whose outcome was not known."""
    # For the case that a later one of its producer is stored: then receivers would take it for a copy.
    other = f"{new_producer()}-1".encode()
    terms: list[bytes | str | int] = [int(settings.retention * 1000), other, b""]
    if keyring is not None:
        parts = [part if isinstance(part, bytes) else part.encode() for part in fields]
        *_, signature, _, _ = keyring.signed_again(stream, parts, {b"id": other, b"seq": b"1"})
        terms[2] = signature
    return pack(("EVAL", script("send_again")[0], 2, stream, marker, *terms, *fields))
