"""A stream that is sent to: its sequence, its time to live, and how an XADD to it begins and ends."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from flowchan.broker.connection import pack
from flowchan.broker.script import script
from flowchan.settings import Settings
from flowchan.wire.envelope import FOLLOWS, Envelope, to_fields

# In the place of the values that change with each message.
_ID, _SEQUENCE, _BODY = "\0id\0", 9_999_999_999_999_999, b"\0body\0"
_PACKED_ID, _PACKED_SEQUENCE, _PACKED_BODY = (
    b"$%d\r\n%b\r\n" % (len(value), value) for value in (_ID.encode(), b"%d" % _SEQUENCE, _BODY)
)

_Around = tuple[bytes, bytes, bytes, bytes]

KEEP = b"*8\r\n" + b"".join(pack(("EVAL", script("keep")[0], 2)).partition(b"\r\n")[2:])
"""How the packed command begins that has a channel kept."""


class Terms(NamedTuple):
    """For how long channels are kept."""

    retention_ms: int
    packed: bytes
    """That, and for how long after the run's end: two arguments, packed."""

    @classmethod
    def of(cls, settings: Settings) -> Terms:
        """As they are set."""
        retention_ms = int(settings.retention * 1000)
        _, _, packed = pack((retention_ms, settings.retention_after_end_ms)).partition(b"\r\n")
        return cls(retention_ms, packed)


class Destination:
    """What an outbox keeps of a stream that it sends to.

    Guarantees: as far as it can be known here, the numbers of one producer have no gap in the stream. So whenever a
    number was given to a message that is not stored, or may not be, what has not been written yet and all that follows
    are another producer's, from 1 on. Its first message says which one it follows, so that no loss goes untold by that.

    Most of an XADD is the same as in the one before: the names, the sender, the schema. That much is packed once, when
    a sender turns out to send again, and saves two of five microseconds for each message.
    """

    __slots__ = ("_around", "_same", "_terms", "expires_at", "floor", "follows", "producer", "sequence", "stream")

    def __init__(self, stream: str, terms: Terms) -> None:
        self.stream = stream
        self._terms = terms
        self.producer = new_producer()
        """Who numbers the messages."""
        self.sequence = 0
        """Of its last message."""
        self.follows = ""
        """The last message of the producer before that is known to be stored, if there is one."""
        self.floor = b"-"
        """An entry that was stored some time ago: what is under way stands behind it."""
        self.expires_at = 0.0
        """From when on, by the loop's clock, it is to be kept for another retention time."""
        self._same: tuple[str | None, str] | None = None
        self._around: _Around | None = None

    @property
    def expire(self) -> bytes:
        """The packed command that has the stream kept for another retention time: made each time, for it is long."""
        run, _, channel = self.stream.rpartition(":")
        stream, record, name = self.stream.encode(), f"{run}:@run".encode(), channel.encode()
        return b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n%b$%d\r\n%b\r\n" % (
            *(KEEP, len(stream), stream, len(record), record, self._terms.packed, len(name), name),
        )

    @property
    def expire_plainly(self) -> bytes:
        """Two packed commands that do so where the server runs no script: as long as any channel, and never less."""
        # GT alone takes a key without a time to live for one that is kept for longer.
        command = ("PEXPIRE", self.stream, self._terms.retention_ms)
        return pack((*command, "NX")) + pack((*command, "GT"))

    def begin_anew(self, message_id: str) -> None:
        """What follows is of another producer, if this message is of the present one."""
        if message_id.startswith(self.producer):
            # Those before it were answered before it: they are stored.
            stored = number_of(message_id) - 1
            if stored:
                self.follows = f"{self.producer}-{stored:x}"
            self.producer, self.sequence, self._same = new_producer(), 0, None

    def next_id(self) -> str:
        """The ID of the next message, which has the next number."""
        self.sequence += 1
        return f"{self.producer}-{self.sequence:x}"

    def headers(self, message_id: str) -> dict[str, str]:
        """What a message says of its producer."""
        return {FOLLOWS: self.follows} if self.follows and message_id == f"{self.producer}-1" else {}

    def xadd(self, message_id: str, sender: str | None, schema: str, body: bytes) -> bytes:
        """The packed command that adds the next message, which bears the number ``sequence``.

        Raises:
            EncodeError: the sender is not valid Unicode.
        """
        if self._same != (sender, schema):
            self._same, self._around = (sender, schema), None
            return self._packed(Envelope(message_id, sender, self.sequence, schema, self.headers(message_id), body))
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
