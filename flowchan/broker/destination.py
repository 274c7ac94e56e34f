"""A stream that is sent to: its sequence, its time to live, and how an XADD to it begins and ends."""

from __future__ import annotations

from flowchan.broker.connection import pack
from flowchan.wire.envelope import Envelope, to_fields

# Values that nothing else in a command can be taken for, in the place of those that change with each message.
_ID, _SEQUENCE, _BODY = "\0id\0", 9_999_999_999_999_999, b"\0body\0"
_CHANGING = tuple(b"$%d\r\n%b\r\n" % (len(value), value) for value in (_ID.encode(), b"%d" % _SEQUENCE, _BODY))

_Around = tuple[bytes, bytes, bytes, bytes]


class Destination:
    """What an outbox keeps of a stream that it sends to.

    Most of an XADD is the same as in the one before: the names, the sender, the schema. That much is packed once, when
    a sender turns out to send again, and saves two of five microseconds for each message.
    """

    __slots__ = ("_around", "_same", "expire", "expires_at", "sequence", "stream")

    def __init__(self, stream: str, retention_ms: int) -> None:
        self.stream = stream
        self.sequence = 0
        """Of the last message."""
        self.expire = pack(("PEXPIRE", stream, retention_ms))
        """The command that has the stream kept for another retention time, packed."""
        self.expires_at = 0.0
        """From when on, by the loop's clock, that command is due again."""
        self._same: tuple[str | None, str] | None = None
        self._around: _Around | None = None

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
        rest = self._packed(Envelope(_ID, sender, _SEQUENCE, schema, {}, _BODY))
        parts: list[bytes] = []
        for value in _CHANGING:
            part, _, rest = rest.partition(value)
            parts.append(part)
        begin, middle, end = parts
        return begin, middle, end, rest
