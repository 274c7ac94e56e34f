"""What a receiver with signing keys lets pass: what was signed for its stream, and each message once."""

from __future__ import annotations

import logging
import threading

from flowchan.broker.source import Entry
from flowchan.errors import SignatureError
from flowchan.wire import keys
from flowchan.wire.envelope import Envelope
from flowchan.wire.keys import EntryId
from flowchan.wire.signing import Keyring

_logger = logging.getLogger(__name__)

_WINDOW = 1024
"""How far a producer's messages may be out of their order; older ones are repeats."""

_PRODUCERS = 16_384
_IDS = 4096


class Vetting:
    """One receiver's look at signatures.

    Guarantees: a message passes if it was signed for the stream that it stands in. Who copies a signed entry within a
    stream has it passed over: for a receiver without a group however old the original is that it has seen, for one of
    a group among the last few thousand.

    Attributes:
        refused: how many messages have not passed.
    """

    def __init__(self, keyring: Keyring, *, shares: bool) -> None:
        self.refused: int = 0
        self._keyring = keyring
        self._is_repeat = self._is_copy if shares else self._is_seen
        self._windows: dict[tuple[str, str], tuple[int, int]] = {}
        """By stream and producer: the highest number so far, and which of those below it were seen, as bits."""
        self._entries: dict[tuple[str, str], EntryId] = {}
        self._lock = threading.Lock()

    def passes(self, entry: Entry, envelope: Envelope) -> bool:
        """Whether the message is to be had; False where it is a copy of one that was.

        Raises:
            SignatureError: it was not signed, or not for this stream.
        """
        try:
            self._keyring.verify(entry.stream, entry.fields)
        except SignatureError as error:
            self._refuse(entry, str(error))
            raise
        with self._lock:
            is_repeat = self._is_repeat(entry, envelope)
        if is_repeat:
            self._refuse(entry, "It is a copy of an earlier one.")
        return not is_repeat

    def _refuse(self, entry: Entry, why: str) -> None:
        with self._lock:
            self.refused += 1
            is_first = self.refused == 1
        if is_first:
            _, run, channel = keys.address(entry.stream)
            _logger.warning(
                "A message was refused (run %s, channel %s): %s More of this receiver's are only counted.",
                run, channel, why,
            )  # fmt: skip

    def _is_seen(self, entry: Entry, envelope: Envelope) -> bool:
        producer = entry.stream, envelope.message_id.partition("-")[0]
        newest, seen = self._windows.get(producer, (0, 0))
        ahead = envelope.sequence - newest
        if ahead > 0:
            seen = (seen << ahead | 1) % (1 << _WINDOW) if ahead < _WINDOW else 1
            newest = envelope.sequence
        elif ahead <= -_WINDOW or seen >> -ahead & 1:
            return True
        else:
            seen |= 1 << -ahead
        self._windows[producer] = newest, seen
        if len(self._windows) > _PRODUCERS:
            del self._windows[next(iter(self._windows))]
        return False

    def _is_copy(self, entry: Entry, envelope: Envelope) -> bool:
        # What nobody has acknowledged comes again, under the ID that it had.
        known = self._entries.setdefault((entry.stream, envelope.message_id), entry.id)
        if len(self._entries) > _IDS:
            del self._entries[next(iter(self._entries))]
        return known != entry.id
