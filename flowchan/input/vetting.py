"""What a receiver with signing keys lets pass: what was signed for its stream, and each message once."""

from __future__ import annotations

import logging
import threading

from flowchan.broker.source import Entry
from flowchan.errors import SignatureError
from flowchan.wire import keys
from flowchan.wire.envelope import FOR_GROUP, Envelope
from flowchan.wire.keys import EntryId
from flowchan.wire.signing import Keyring

_logger = logging.getLogger(__name__)

_IDS = 4096


class Vetting:
    """One receiver's look at signatures.

    Guarantees: a message passes if it was signed for the stream that it stands in. A receiver of a group passes over
    copies of the last few thousand that it has had; one without a group knows copies of its own accord, and says so here.

    Attributes:
        refused: how many messages have not passed.
    """

    def __init__(self, keyring: Keyring, *, shares: bool) -> None:
        self.refused: int = 0
        self._keyring = keyring
        self._shares = shares
        self._entries: dict[tuple[str, str], EntryId] = {}
        self._lock = threading.Lock()

    def is_signed(self, entry: Entry) -> bool:
        """Whether the message was signed for its stream; it is not counted."""
        try:
            self._keyring.verify(entry.stream, entry.fields)
        except SignatureError:
            return False
        return True

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
        if self._shares and self._is_copy(entry, envelope):
            self.pass_over(entry)
            return False
        return True

    def pass_over(self, entry: Entry) -> None:
        """The message is a copy of an earlier one."""
        self._refuse(entry, "It is a copy of an earlier one.")

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

    def _is_copy(self, entry: Entry, envelope: Envelope) -> bool:
        if FOR_GROUP in envelope.headers:
            return False  # a dead letter, sent again by somebody who has a key
        # What nobody has acknowledged comes again, under the ID that it had.
        with self._lock:
            known = self._entries.setdefault((entry.stream, envelope.message_id), entry.id)
            if len(self._entries) > _IDS:
                del self._entries[next(iter(self._entries))]
        return known != entry.id
