"""A message, and the fields of its entry in a stream."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from flowchan.errors import DecodeError, EncodeError

VERSION = 1
"""The version of the format, which every entry bears. A reader refuses newer ones."""

_VERSION = b"%d" % VERSION
FOR_GROUP = "flowchan.group"
"""The header of a message that was sent again for one group alone; whoever else reads it passes over it."""

FOLLOWS = "flowchan.follows"
"""The header of the first message of a producer that took another's place: the ID of the other's last message that is
known to be stored."""

_HEADER = b"h."
_USUAL = [b"v", b"id", b"from", b"seq", b"schema", b"body"]
FOR_GROUP_FIELD, FOLLOWS_FIELD = _HEADER + FOR_GROUP.encode(), _HEADER + FOLLOWS.encode()
"""The fields of an entry that are those headers."""
_USUAL_LENGTH = 2 * len(_USUAL)
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_is_message_id = re.compile(rb"[0-9a-f]{16}-[0-9a-f]{1,16}").fullmatch
_MOST_DIGITS = 18


class Envelope(NamedTuple):
    """What an entry says of a message, and its body."""

    message_id: str
    """``<producer, 16 hex digits>-<counter, 1 to 16 hex digits>``: no two messages share one. Ours count by ``sequence``."""

    sender: str | None
    """Who sent it, by the sender's own word."""

    sequence: int
    """1, 2, 3, … for each producer and stream: a gap is a message that is gone."""

    schema: str
    """Fingerprint of the type's schema, 8 hex digits. Advice: no reason to refuse a message."""

    headers: Mapping[str, str]
    """For what goes along with a message, such as the context of a trace."""

    body: bytes
    """As :func:`flowchan.wire.codec.encode` makes it."""


def to_fields(envelope: Envelope) -> list[bytes | str]:
    """Field, value, field, value, … as XADD takes them, the body last.

    Raises:
        EncodeError: the sender or a header is not valid Unicode; names which.
    """
    message_id, sender, sequence, schema, headers, body = envelope
    fields: list[bytes | str] = [b"v", _VERSION, b"id", message_id]
    if sender is not None:
        fields += (b"from", _utf8(sender, "sender"))
    fields += (b"seq", b"%d" % sequence, b"schema", schema)
    for name, text in headers.items():
        fields += (_HEADER + _utf8(name, "name of a header"), _utf8(text, "text of a header"))
    fields += (b"body", body)
    return fields


def from_fields(fields: Sequence[bytes]) -> Envelope:
    """The message of an entry, from a flat list as XRANGE returns it. Fields of other names are passed over.

    Raises:
        DecodeError: the entry is of a newer version, whatever else it holds, or a field is missing or is
            not what it should be; names the version or the field.
    """
    # An entry as flowchan writes it, without headers, is read in half the time of any other.
    found = None if fields[::2] == _USUAL and len(fields) == _USUAL_LENGTH else _by_name(fields)
    values = fields[1::2] if found is None else map(found.get, _USUAL)
    version, message_id, sender, sequence, schema, body = values
    if version != _VERSION:
        raise _unread(version)
    if message_id is None or not _is_message_id(message_id):
        raise _unusable("id", message_id)
    if sequence is None or not sequence.isdigit() or len(sequence) > _MOST_DIGITS or not int(sequence):
        raise _unusable("seq", sequence)
    if body is None:
        raise _unusable("body", body)
    if found is not None and len(found) * 2 != len(fields):
        raise DecodeError("The entry has a field twice, or one without a value.")
    return _envelope(
        Envelope,
        (
            message_id.decode(),
            None if sender is None else _text("from", sender),
            int(sequence),
            "" if schema is None else schema.decode("ascii", "replace"),
            _NO_HEADERS if found is None else _headers(found),
            body,
        ),
    )


_envelope = tuple.__new__  # half the time of Envelope(...), whose arguments are checked above


def _by_name(fields: Sequence[bytes]) -> dict[bytes, bytes]:
    parts = iter(fields)
    return dict(zip(parts, parts, strict=False))


def _headers(found: Mapping[bytes, bytes]) -> Mapping[str, str]:
    size = len(_HEADER)
    return {
        _text("h.", name[size:]): _text("h.", text) for name, text in found.items() if name.startswith(_HEADER)
    } or _NO_HEADERS


def _text(field: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        pass  # and only then raise: the caught error holds the value
    raise _unusable(field, value)


def _utf8(value: str, what: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        pass  # as above
    raise EncodeError(f"Cannot send the {what}: it holds half of a surrogate pair, which is no character.")


def _unread(version: bytes | None) -> DecodeError:
    if version is not None and version.isdigit() and len(version) <= _MOST_DIGITS and int(version) > VERSION:
        return DecodeError(
            f"The entry is of format version {int(version)}, and this flowchan reads version {VERSION}: update it."
        )
    return _unusable("v", version)


def _unusable(field: str, value: bytes | None) -> DecodeError:
    return DecodeError(f"The entry's field '{field}' {'is missing' if value is None else 'cannot be read'}.")
