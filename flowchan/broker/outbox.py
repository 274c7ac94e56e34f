"""Sends: each is written at once or with the others of its turn, in order, and stored exactly once."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict, deque
from collections.abc import Mapping
from importlib import resources
from typing import Any

from flowchan.broker.connection import Connection, ConnectionLost, Identity, Refusal, pack
from flowchan.broker.opener import Opener
from flowchan.broker.refusals import PASSING, translated
from flowchan.broker.sent import Sent, log_failure
from flowchan.broker.settling import fence, look_back
from flowchan.errors import BrokerUnavailable, FlowchanError, MessageTooLarge, SendOutcomeUnknown, SendQueueFull
from flowchan.wire import keys
from flowchan.wire.envelope import Envelope, to_fields

logger = logging.getLogger(__name__)

_PASSING_PAUSE = 0.5
_STREAMS_KEPT = 65_536
_SEND_ONCE = (resources.files("flowchan.broker") / "scripts" / "send_once.lua").read_text()


class _Channel:
    """What the outbox keeps of a stream that it sends to."""

    __slots__ = ("expire", "sequence")

    def __init__(self, stream: str, retention_ms: int) -> None:
        self.sequence = 0
        self.expire = pack(("PEXPIRE", stream, retention_ms))


class Outbox:
    """The sends of one event loop, over one connection.

    Guarantees: sends are stored in the order in which :meth:`send` was called; a send that was cut off
    before its answer is looked for before it is sent again, so it is stored once; what cannot be stored
    within ``settings.send_timeout`` fails, and its failure is raised to who awaits it or else logged.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, dialler: Opener) -> None:
        self.producer = secrets.token_hex(8)
        self._loop = loop
        self._dialler = dialler
        self._settings = dialler.settings
        self._retention_ms = int(self._settings.retention * 1000)
        self._connection: Connection | None = None
        self._opening = False
        self._pending: deque[Sent] = deque()
        self._channels: OrderedDict[str, _Channel] = OrderedDict()
        self._counter = 0
        self._written_by: Identity | None = None
        self._settling: asyncio.Task[None] | None = None
        self._drains: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._is_closed = False
        self._expiry: asyncio.TimerHandle | None = None
        self._expire_refused = False

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
        the answer.

        Raises:
            MessageTooLarge: ``body`` is larger than a message may be.
            SendQueueFull: too many sends wait already.
        """
        limit = self._settings.max_message_bytes
        if len(body) > limit:
            _, run, name = keys.address(stream)
            raise MessageTooLarge(len(body), limit, f" (run {run}, channel {name})")
        if len(self._pending) >= self._settings.max_pending:
            raise SendQueueFull(
                f"{len(self._pending):,} sends wait for the broker already (FLOWCHAN_MAX_PENDING). Await some of them."
            )
        channel = self._channels.get(stream)
        if channel is None:
            channel = self._remember(stream)
        channel.sequence += 1
        self._counter += 1
        message_id = f"{self.producer}-{self._counter:x}"
        fields = to_fields(Envelope(message_id, sender, channel.sequence, schema, headers, body))
        if once is None:
            command: tuple[Any, ...] = ("XADD", stream, "*", *fields)
        else:
            command = ("EVAL", _SEND_ONCE, 2, stream, once, self._retention_ms, *fields)
        packed = pack(command) + channel.expire
        sent = Sent(self._counter, stream, message_id, channel.sequence, packed, self._loop.create_future())
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
            ended: asyncio.Future[None] = self._loop.create_future()
            self._drains.append((self._pending[-1].number, ended))
            await ended

    def close(self) -> None:
        """End the connection. What is still pending fails."""
        self._is_closed = True
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
            outcome = "it is not known whether it was stored" if sent.written else "it was not stored"
            logger.error("The event loop ended before a message was acknowledged (%s): %s.", sent.where, outcome)
        self.abandon()

    def abandon(self) -> None:
        """Give back the socket only: it is another process's."""
        if self._connection is not None:
            self._connection.abandon()

    # --- a broker that turns out to be several servers ---------------------------------------------

    def __len__(self) -> int:
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
        sent.number = self._counter
        self._pending.append(sent)
        self._open()
        self._set_deadlines()

    # --- the way out -----------------------------------------------------------------------------

    def _remember(self, stream: str) -> _Channel:
        channel = self._channels[stream] = _Channel(stream, self._retention_ms)
        if len(self._channels) > _STREAMS_KEPT:
            # A stream that is spoken to again starts a new sequence, so as a new producer.
            self._channels.clear()
            self._channels[stream] = channel
            self.producer = secrets.token_hex(8)
        return channel

    def _write(self, sent: Sent) -> None:
        sent.written = True
        connection = self._connection
        assert connection is not None  # noqa: S101 - narrows the type; callers have looked

        def stored(reply: Any) -> None:
            if isinstance(reply, bytes):
                sent.entry = keys.EntryId.parse(reply)
            elif isinstance(reply, Refusal):
                self._refused(sent, reply)

        def kept(reply: Any) -> None:
            if isinstance(reply, ConnectionLost):
                return  # the send stays pending; the loss is handled once, for all
            if isinstance(reply, Refusal) and not self._expire_refused:
                self._expire_refused = True
                logger.warning("%s refuses PEXPIRE (%s): channels are kept for ever.", self._dialler.name, reply.code)
            if sent.entry is not None:
                self._succeed(sent)

        connection.write(sent.packed, stored, kept)

    def _refused(self, sent: Sent, reply: Refusal) -> None:
        if reply.code in PASSING and not 0.0 < sent.deadline < self._loop.time():
            sent.written, sent.refusal = False, reply
            # The ones behind it were refused for the same reason or must not overtake it: start over.
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.lost = None
                self._loop.call_soon(connection.close)
                self._loop.call_later(_PASSING_PAUSE, self._open)
            self._set_deadlines()
            return
        self._fail(sent, translated(reply, self._dialler.name, sent.where))

    def _succeed(self, sent: Sent) -> None:
        self._forget(sent)
        if not sent.future.done():
            sent.future.set_result(sent.entry)

    def _fail(self, sent: Sent, error: FlowchanError) -> None:
        self._forget(sent)
        sent.error = error
        if sent.is_unwatched or sent.future.cancelled():
            log_failure(sent)
        if not sent.future.done():
            sent.future.set_exception(error)
            sent.future.exception()  # seen: Sent's owner, not the loop, decides whether it goes to the log

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

    def _open(self) -> None:
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
            self._settling = self._loop.create_task(self._settle(connection))
        else:
            self._begin(connection)

    def _begin(self, connection: Connection) -> None:
        self._connection = connection
        self._written_by = connection.identity
        for sent in self._pending:
            if not sent.written:
                self._write(sent)

    def _lost(self, _: ConnectionLost) -> None:
        self._connection = None
        if self._pending:
            self._open()
            self._set_deadlines()

    def _set_deadlines(self) -> None:
        now = self._loop.time()
        for sent in self._pending:
            sent.deadline = sent.deadline or now + self._settings.send_timeout
        if self._pending and self._expiry is None:
            self._expiry = self._loop.call_at(self._pending[0].deadline, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        if self._connection is not None:
            return
        now = self._loop.time()
        for sent in list(self._pending):
            if sent.deadline > now:
                break
            why = self._dialler.trouble or f"{self._dialler.name} did not answer."
            if sent.refusal is not None and not sent.written:
                self._fail(sent, translated(sent.refusal, self._dialler.name, sent.where))
            elif sent.written:
                text = f"It is not known whether a message was stored ({sent.where}), nor will it be sent again: {why}"
                self._fail(sent, SendOutcomeUnknown(text, message_id=sent.message_id))
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
            stored = await look_back(
                connection, [sent for sent in self._pending if sent.written and sent.entry is None]
            )
        except ConnectionLost:
            self._settling = None
            self._open()
        except Refusal as refusal:
            self._settling = None
            connection.lost = None
            connection.close()
            if refusal.code in PASSING:
                self._loop.call_later(_PASSING_PAUSE, self._open)
            else:
                for sent in [sent for sent in self._pending if sent.written]:
                    why = translated(refusal, self._dialler.name, sent.where)
                    text = f"It is not known whether a message was stored ({sent.where}): {why}"
                    self._fail(sent, SendOutcomeUnknown(text, message_id=sent.message_id))
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
            self._settled(connection, stored)

    def _settled(self, connection: Connection, stored: Mapping[str, keys.EntryId]) -> None:
        for sent in [sent for sent in self._pending if sent.written]:
            sent.entry = sent.entry or stored.get(sent.message_id)
            if sent.entry is None:
                sent.written = False
            else:
                # Its time to live may not have been set: the two commands could be cut apart.
                connection.write(pack(("PEXPIRE", sent.stream, self._retention_ms)), _ignore)
                self._succeed(sent)
        if connection.is_open:
            self._begin(connection)
        else:
            self._open()


def _ignore(_: Any) -> None:
    return None
