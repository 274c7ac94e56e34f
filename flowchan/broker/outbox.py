"""Sends: each is written at once or with the others of its turn, in order, and stored exactly once."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

from flowchan.broker.adding import adding, numbered_anew
from flowchan.broker.connection import Connection, ConnectionLost, Identity, Refusal
from flowchan.broker.destination import Destination, Terms, new_producer, number_of
from flowchan.broker.keeping import Keeping
from flowchan.broker.opener import Opener
from flowchan.broker.refusals import PASSING, translated
from flowchan.broker.sent import Sent, log_failure
from flowchan.broker.settling import fence, look_back, unfound
from flowchan.errors import (
    BrokerUnavailable,
    EncodeError,
    FlowchanError,
    MessageTooLarge,
    SendOutcomeUnknown,
    SendQueueFull,
)
from flowchan.wire import keys
from flowchan.wire.envelope import Envelope, to_fields
from flowchan.wire.signing import Keyring

logger = logging.getLogger(__name__)

_PASSING_PAUSE = 0.5
_STREAMS_KEPT = 65_536


class Outbox:
    """The sends of one event loop, over one connection.

    Guarantees: sends are stored in the order in which :meth:`send` was called; a send that was cut off
    before its answer is looked for before it is sent again, so it is stored once; what cannot be stored
    within ``settings.send_timeout`` fails, and its failure is raised to who awaits it or else logged.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, dialler: Opener) -> None:
        self.loop = loop
        self._dialler = dialler
        self._settings = dialler.settings
        # Asked for with every send, and a model's attribute takes four times as long as one's own.
        self._max_bytes, self._max_pending = self._settings.max_message_bytes, self._settings.max_pending
        self._terms = Terms.of(self._settings)
        self._keyring = Keyring.of(self._settings.signing_pairs)
        self._is_capped = self._settings.max_channel_length is not None
        self._is_plain = self._keyring is None and not self._is_capped
        self._keeping = Keeping(loop, self._settings, dialler.name, lambda: self._connection)
        self._connection: Connection | None = None
        self._opening = False
        self._pending: deque[Sent] = deque()
        self._destinations: dict[str, Destination] = {}
        self._counter = 0
        self._written_by: Identity | None = None
        self._settling: asyncio.Task[None] | None = None
        self._drains: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._is_closed = False
        self._is_resting = False
        self._expiry: asyncio.TimerHandle | None = None

    def send(
        self,
        stream: str,
        sender: str | None,
        schema: str,
        headers: Mapping[str, str],
        body: bytes,
        once: str | None = None,
    ) -> Sent:
        """Put one message on its way; returns at once.

        ``once`` is the key of a marker: a message whose marker is there was sent before, and its entry is
        the answer. Where it is that of a message ID, so it is with a message of this ID.

        Raises:
            MessageTooLarge: ``body`` is larger than a message may be.
            SendQueueFull: too many sends wait already.
        """
        if len(body) > self._max_bytes:
            _, run, name = keys.address(stream)
            raise MessageTooLarge(len(body), self._max_bytes, f" (run {run}, channel {name})")
        if len(self._pending) >= self._max_pending:
            raise SendQueueFull(len(self._pending))
        destination = self._destinations.get(stream) or self._remember(stream)
        # One that may turn out to have been sent before is a producer's only one: its number may not be used.
        message_id = (
            destination.next_id() if once is None else keys.message_id_of(stream, once) or f"{new_producer()}-1"
        )
        try:
            if once is None and not headers and self._is_plain:
                packed = destination.xadd(message_id, sender, schema, body)
            else:
                headers = {**headers, **destination.headers(message_id)}
                fields = to_fields(Envelope(message_id, sender, number_of(message_id), schema, headers, body))
                if self._keyring is not None:
                    fields = self._keyring.signed(stream, fields)
                packed = adding(stream, once, self._settings, fields, self._keyring)
        except EncodeError:
            if once is None:
                destination.sequence -= 1  # a number that no message bears would be one that is lost
            raise
        self._counter += 1
        sent = Sent(self, self._counter, destination, message_id, packed, once)
        self._pending.append(sent)
        if self._connection is not None:
            self._write(sent)
        else:
            self._open()
            self._set_deadlines()
        return sent

    def is_idle(self) -> bool:
        """Whether every send has ended."""
        return not self._pending

    async def drain(self) -> None:
        """Wait until every send so far has ended, well or badly."""
        if self._pending:
            if self._connection is None:
                self._open()
            # Not their own futures: a caller who was cancelled has cancelled his, and the send goes on.
            ended: asyncio.Future[None] = self.loop.create_future()
            self._drains.append((self._pending[-1].number, ended))
            await ended

    def close(self) -> None:
        """End the connection. What is still pending fails."""
        self._is_closed = True
        self._keeping.close()
        if self._settling is not None:
            self._settling.cancel()
        if self._expiry is not None:
            self._expiry.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        for sent in list(self._pending):
            self._fail(sent, BrokerUnavailable(f"The client was closed before a message was stored ({sent.where})."))

    def give_up(self) -> None:
        """Say what has not been stored, and give back the socket: the loop was closed without notice."""
        if self._connection is not None:
            self._connection.last_words()
        pending, self._pending = self._pending, deque()
        for sent in pending:
            if sent.entry is not None:
                continue
            outcome = "it is not known whether it was stored" if sent.written else "it was not stored"
            logger.error("The event loop ended before a message was acknowledged (%s): %s.", sent.where, outcome)
        self.abandon()

    def abandon(self) -> None:
        """Give back the socket only: it is another process's."""
        if self._connection is not None:
            self._connection.abandon()

    # --- a broker that turns out to be several servers ---------------------------------------------

    @property
    def waiting(self) -> int:
        """How many sends have not ended."""
        return len(self._pending)

    def hand_over(self) -> tuple[list[Sent], list[asyncio.Future[None]]]:
        """Have others send what waits here; who waits until it has ended."""
        self._is_closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        pending, drains = list(self._pending), [ended for _, ended in self._drains]
        self._pending.clear()
        self._drains.clear()
        return pending, drains

    def adopt(self, sent: Sent) -> None:
        """Send what another outbox has accepted."""
        self._counter += 1
        sent.belong_to(self, self._counter)
        self._destinations.setdefault(sent.stream, sent.destination)  # and go on with its numbers
        self._pending.append(sent)
        self._open()
        self._set_deadlines()

    # --- the way out -----------------------------------------------------------------------------

    def _remember(self, stream: str) -> Destination:
        if len(self._destinations) >= _STREAMS_KEPT:
            self._destinations.clear()
        destination = self._destinations[stream] = Destination(stream, self._terms)
        return destination

    def _write(self, sent: Sent) -> None:
        connection = self._connection
        assert connection is not None  # noqa: S101 - narrows the type; callers have looked
        destination, now = sent.destination, self.loop.time()
        if self._is_capped:  # its script keeps the channel, if it stores the message
            sent.written_with(expiring=False)
            connection.write(sent.packed, sent)
        elif now < destination.expires_at:
            sent.written_with(expiring=False)
            connection.write(sent.packed, sent)
            self._keeping.later(destination)
        else:
            destination.expires_at = now + self._keeping.every
            sent.written_with(expiring=True)
            connection.write(sent.packed + destination.expire, sent, sent)

    # --- what became of it ------------------------------------------------------------------------

    def succeeded(self, sent: Sent) -> None:
        """It is stored."""
        self._forget(sent)
        sent.end()

    def expired(self, sent: Sent, reply: Any) -> None:
        """It is stored, and the server has answered to what went along to have its channel kept."""
        self._keeping.answered(sent.destination, reply)
        sent.destination.floor = sent.entry or sent.destination.floor
        self.succeeded(sent)

    def refused(self, sent: Sent, reply: Refusal) -> None:
        """It is not stored: to be sent again if that may help, else failed."""
        sent.destination.expires_at = 0.0
        if reply.code in PASSING and not 0.0 < sent.deadline < self.loop.time():
            sent.written, sent.refusal = False, reply
            # A refusal may pass in the middle of what is under way: then one behind is stored, and this one comes late,
            # where a receiver would take its old number for one that it has had.
            sent.destination.begin_anew(sent.message_id)
            # The ones behind it were refused for the same reason or must not overtake it: start over.
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.lost = None
                self.loop.call_soon(connection.close)
                self._rest()
            self._set_deadlines()
            return
        self._fail(sent, translated(reply, self._dialler.name, sent.where))

    def _fail(self, sent: Sent, error: FlowchanError) -> None:
        if sent.entry is not None:  # only the answer to PEXPIRE is missing
            self.succeeded(sent)
            return
        self._forget(sent)
        sent.destination.begin_anew(sent.message_id)
        sent.end(error)
        if sent.is_unwatched:
            log_failure(sent)

    def _forget(self, sent: Sent) -> None:
        pending = self._pending
        if pending and pending[0] is sent:
            pending.popleft()
        elif sent in pending:
            pending.remove(sent)
        while self._drains and not (pending and pending[0].number <= self._drains[0][0]):
            _, ended = self._drains.popleft()
            if not ended.done():
                ended.set_result(None)

    # --- the connection --------------------------------------------------------------------------

    def _rest(self) -> None:
        """Try again in a while, whatever is to be sent meanwhile: a server that refuses is not to be pestered."""
        self._is_resting = True
        self.loop.call_later(_PASSING_PAUSE, self._rested)

    def _rested(self) -> None:
        self._is_resting = False
        if self._pending:
            self._open()

    def _open(self) -> None:
        if self._is_resting:
            return
        if self._connection is None and not self._opening and self._settling is None and not self._is_closed:
            self._opening = True
            self._dialler.open(self._opened)

    def _opened(self, connection: Connection | FlowchanError) -> None:
        self._opening = False
        if isinstance(connection, FlowchanError):
            for sent in list(self._pending):
                self._fail(sent, connection)
            return
        if self._is_closed:
            connection.close()
            return
        connection.lost = self._lost
        connection.patience = min(connection.patience, self._settings.send_timeout)
        if any(sent.written for sent in self._pending):
            self._settling = self.loop.create_task(self._settle(connection))
        else:
            self._begin(connection)

    def _begin(self, connection: Connection) -> None:
        self._connection = connection
        self._written_by = connection.identity
        self._number_anew()
        for sent in tuple(self._pending):
            self._write(sent)

    def _number_anew(self) -> None:
        # None of these has been written, or none of them was stored. Where one is of a former producer, those that were
        # sent since are behind it and have lower numbers of the present one: all of them get new ones.
        numbered = [sent for sent in self._pending if sent.marker is None]
        olds = {sent.destination for sent in numbered if not sent.message_id.startswith(sent.destination.producer)}
        if not olds:
            return
        renumbered = [sent for sent in numbered if sent.destination in olds]
        for sent in renumbered:
            if sent.destination in olds and sent.message_id.startswith(sent.destination.producer):
                olds.discard(sent.destination)  # the first of them says how many of that producer have been stored
                sent.destination.begin_anew(sent.message_id)
        for destination in olds:
            destination.begin_anew(destination.next_id())
        for sent in renumbered:
            sent.message_id = sent.destination.next_id()
            headers = sent.destination.headers(sent.message_id)
            sent.packed = numbered_anew(sent.packed, sent.message_id, headers, self._keyring)

    def _lost(self, _: ConnectionLost) -> None:
        self._connection = None
        self._keeping.doubt(sent.destination for sent in self._pending)
        if self._pending:
            self._open()
            self._set_deadlines()

    def _set_deadlines(self) -> None:
        now = self.loop.time()
        for sent in reversed(self._pending):
            if sent.deadline:
                break  # and so have all in front of it
            sent.deadline = now + self._settings.send_timeout
        if self._pending and self._expiry is None:
            self._expiry = self.loop.call_at(self._pending[0].deadline, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        if self._connection is not None:
            return
        now = self.loop.time()
        for sent in list(self._pending):
            if sent.deadline > now:
                break
            why = self._dialler.trouble or f"{self._dialler.name} did not answer."
            if sent.refusal is not None and not sent.written:
                self._fail(sent, translated(sent.refusal, self._dialler.name, sent.where))
            elif sent.written:
                self._fail(sent, _unknown(sent, f"{why} It is not sent again by itself."))
            else:
                self._fail(sent, BrokerUnavailable(f"A message was not stored ({sent.where}): {why}"))
        self._set_deadlines()

    # --- after a loss ----------------------------------------------------------------------------

    async def _settle(self, connection: Connection) -> None:
        """Find out which of the doubtful sends were stored before the connection was lost."""
        try:
            if self._written_by is not None:
                await fence(connection, self._written_by)
                self._written_by = None
            doubtful = [sent for sent in self._doubtful() if sent.entry is None]
            stored = await look_back(connection, doubtful)
        except ConnectionLost:
            self._settling = None
            self._open()
        except Refusal as refusal:
            self._settling = None
            connection.lost = None
            connection.close()
            if refusal.code in PASSING:
                self._rest()
            else:
                for sent in self._doubtful():
                    self._fail(sent, _unknown(sent, str(translated(refusal, self._dialler.name, sent.where))))
                self._open()
        except asyncio.CancelledError:
            # The end of the loop cancels every task, and only then waits until all has been stored.
            self._settling = None
            connection.lost = None
            connection.close()
            self._open()
            raise
        else:
            self._settling = None
            for sent in unfound(doubtful, stored):
                sent.written = False
            self._settled(connection, stored)

    def _doubtful(self) -> list[Sent]:
        return [sent for sent in self._pending if sent.written and not (sent.entry is None and sent.marker is not None)]

    def _settled(self, connection: Connection, stored: Mapping[str, bytes]) -> None:
        found: set[Destination] = set()
        for sent in list(self._pending):
            sent.entry = sent.entry or stored.get(sent.message_id)
            if sent.entry is not None:
                found.add(sent.destination)
                self.succeeded(sent)
        for destination in found:
            # Its time to live may not have been set: the two commands could be cut apart.
            self._keeping.now(destination, connection)
        if connection.is_open:
            self._begin(connection)
        else:
            self._open()


def _unknown(sent: Sent, why: str) -> SendOutcomeUnknown:
    text = f"It is not known whether a message was stored ({sent.where}): {why}"
    return SendOutcomeUnknown(text, message_id=sent.message_id, idempotency_key=sent.idempotency_key)
