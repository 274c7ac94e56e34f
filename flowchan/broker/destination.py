"""A stream that is sent to: its sequence, its time to live, and how an XADD to it begins and ends."""

from __future__ import annotations

import secrets

import hiredis

from flowchan.broker.connection import pack
from flowchan.wire.envelope import Envelope, to_fields
from flowchan.wire.signing import FIELD, Keyring

# In the place of the values that change with each message.
_ID, _SEQUENCE, _BODY = "\0id\0", 9_999_999_999_999_999, b"\0body\0"
_PACKED_ID, _PACKED_SEQUENCE, _PACKED_BODY = (
    b"$%d\r\n%b\r\n" % (len(value), value) for value in (_ID.encode(), b"%d" % _SEQUENCE, _BODY)
)

_Around = tuple[bytes, bytes, bytes, bytes]


class Destination:
    """What an outbox keeps of a stream that it sends to.

    Guarantees: as far as it can be known here, the numbers of one producer have no gap in the stream. So whenever a
    number was given to a message that is not stored, or may not be, what has not been written yet and all that follows
    are another producer's, from 1 on.

    Most of an XADD is the same as in the one before: the names, the sender, the schema. That much is packed once, when
    a sender turns out to send again, and saves two of five microseconds for each message.
    """

    __slots__ = ("_around", "_same", "expire", "expires_at", "floor", "producer", "sequence", "stream")

    def __init__(self, stream: str, retention_ms: int) -> None:
        self.stream = stream
        self.producer = new_producer()
        """Who numbers the messages."""
        self.sequence = 0
        """Of its last message."""
        self.floor = b"-"
        """An entry that was stored some time ago: what is under way stands behind it."""
        self.expire = pack(("PEXPIRE", stream, retention_ms))
        """The command that has the stream kept for another retention time, packed."""
        self.expires_at = 0.0
        """From when on, by the loop's clock, that command is due again."""
        self._same: tuple[str | None, str] | None = None
        self._around: _Around | None = None

    def begin_anew(self, message_id: str) -> None:
        """What follows is of another producer, if this message is of the present one."""
        if message_id.startswith(self.producer):
            self.producer, self.sequence = new_producer(), 0

    def next_id(self) -> str:
        """The ID of the next message, which has the next number."""
        self.sequence += 1
        return f"{self.producer}-{self.sequence:x}"

    def xadd(self, message_id: str, sender: str | None, schema: str, body: bytes) -> bytes:
        """The packed command that adds the next message, which bears the number ``sequence``.

        Raises:
            EncodeError: the sender is not valid Unicode.
        """
        if self._same != (sender, schema):
            self._same, self._around = (sender, schema), None
            return self._packed(Envelope(message_id, sender, self.sequence, schema, {}, body))
        if self._around is None:
            self._around = self._split(sender, schema)
        begin, middle, end, last = self._around
        name, number = message_id.encode(), b"%d" % self.sequence
        return b"%b$%d\r\n%b\r\n%b$%d\r\n%b\r\n%b$%d\r\n%b\r\n%b" % (
            *(begin, len(name), name, middle, len(number), number, end, len(body), body, last),
        )

    def _packed(self, envelope: Envelope) -> bytes:
        return pack(("XADD", self.stream, "*", *to_fields(envelope)))

    def _split(self, sender: str | None, schema: str) -> _Around:
        # The sender's text may hold anything, these values too. It stands behind the ID and before the others.
        begin, _, rest = self._packed(Envelope(_ID, sender, _SEQUENCE, schema, {}, _BODY)).partition(_PACKED_ID)
        rest, _, last = rest.rpartition(_PACKED_BODY)
        middle, _, end = rest.rpartition(_PACKED_SEQUENCE)
        return begin, middle, end, last


def new_producer() -> str:
    """A producer that nobody has been."""
    return secrets.token_hex(8)


def number_of(message_id: str) -> int:
    """The sequence number of a message of ours, which is the counter in its ID."""
    return int(message_id.partition("-")[2], 16)


def numbered_anew(packed: bytes, message_id: str, keyring: Keyring | None) -> bytes:
    """A command that adds a message, as it was packed, with another ID and its number; signed anew if it was."""
    reader = hiredis.Reader()
    reader.feed(packed)
    command: list[bytes] = reader.gets()
    parts = iter(command[3:])  # XADD stream * field value …
    number = b"%d" % number_of(message_id)
    values = dict(zip(parts, parts, strict=True)) | {b"id": message_id.encode(), b"seq": number}
    values.pop(FIELD, None)
    fields: list[bytes | str] = [part for pair in values.items() for part in pair]
    if keyring is not None:
        fields = keyring.signed(command[1].decode(), fields)
    return pack((*command[:3], *fields))
