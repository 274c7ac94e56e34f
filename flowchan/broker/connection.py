"""One socket to the broker: commands go out in the order they are given, and each reply to who asked."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import hiredis

from flowchan.broker.address import Address

Handler = Callable[[Any], None]
"""Takes a reply. An exception instance stands for a refusal, or for the connection's end."""

pack: Callable[[tuple[Any, ...]], bytes] = cast("Any", hiredis.pack_command)
"""A command as the server reads it."""

REPLY_PATIENCE = 10.0
"""Seconds that a command which does not block may go unanswered before its connection counts as dead."""

_EAGER = 16
"""Up to so many outstanding replies a command is written at once; past it, once per turn of the loop.

At once, so that a send is under way even where the caller's next line blocks the loop. Not always, so
that a thousand sends in one turn are one system call and one wake-up of the server."""

_LATE = 1.0
"""Seconds that a timer may be late before the loop counts as having been blocked."""

_FLUSH_BYTES = 64 * 1024

_READ_BYTES = 32 * 1024
_MOST_READ_BYTES = 512 * 1024
"""How much is read at once, and while there is more than that. To set much aside for each read of little would take
ten times as long as to read it: from 128 KiB on, the C library asks the system for it."""


class Identity(NamedTuple):
    """What the server calls a connection."""

    id: int
    """Unique as long as the server runs."""
    name: str
    """Unique among all connections of all clients."""
    node: Address | None = None
    """Which of a Cluster's nodes it is with; None where there is one server."""


class Refusal(Exception):  # noqa: N818 - an answer of the server, on its way to where it is translated
    """An error reply, as the server wrote it."""

    @property
    def code(self) -> str:
        """The first word of the reply, such as ``NOGROUP``."""
        return str(self).split(" ", 1)[0]


class ConnectionLost(Exception):  # noqa: N818 - likewise
    """The connection ended before the reply came."""


class Connection:
    """A pipelined connection, owned by one event loop.

    It works on the bare socket with the loop's readiness callbacks: no task, no transport and no stream
    stands between a reply and its handler, and nothing of it is left to warn about when a loop ends.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, identity: Identity | None, patience: float
    ) -> None:
        """Take over ``sock``; ``patience`` is for how many seconds a reply may be outstanding."""
        sock.setblocking(False)  # noqa: FBT003 - socket's own signature
        self.identity = identity
        """None where the server does not tell."""
        self.patience = patience
        self.lost: Callable[[ConnectionLost], None] | None = None
        """Called once, when the connection ends without :meth:`close`."""
        self.ended: Callable[[], None] | None = None
        """Called before that, for whoever made the connection."""
        self._loop = loop
        self._sock: socket.socket | None = sock
        self._fd = sock.fileno()
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._read_bytes = _READ_BYTES
        self._reader = hiredis.Reader(replyError=Refusal)
        self._waiting: deque[Handler] = deque()
        self._unsent: list[bytes | memoryview] = []
        self._unsent_bytes = 0
        self._flushing = False
        self._blocked = False
        self._heard = 0.0
        self._watch: asyncio.TimerHandle | None = None
        loop.add_reader(self._fd, self._readable)

    @property
    def is_open(self) -> bool:
        """Whether commands can be given to it."""
        return self._sock is not None

    @property
    def silence(self) -> float:
        """Seconds that a reply is outstanding; 0 while none is."""
        return self._loop.time() - self._heard if self._sock is not None and self._waiting else 0.0

    def write(self, packed: bytes, *handlers: Handler) -> None:
        """Send packed commands; ``handlers`` take their replies, one each, in order."""
        if self._sock is None:
            lost = ConnectionLost("The connection is closed.")
            for handler in handlers:
                self._loop.call_soon(handler, lost)
            return
        outstanding = len(self._waiting)
        self._waiting.extend(handlers)
        if not outstanding:
            self._heard = self._loop.time()
            if self._watch is None:
                self._look_again(self.patience)
        self._unsent.append(packed)
        self._unsent_bytes += len(packed)
        if self._blocked:
            return
        if outstanding <= _EAGER or self._unsent_bytes >= _FLUSH_BYTES:
            self._flush()
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def call(self, *command: Any) -> asyncio.Future[Any]:
        """Send one command; the future has its reply, or raises ``Refusal`` or ``ConnectionLost``."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def resolve(reply: Any) -> None:
            if future.done():
                return
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        self.write(pack(command), resolve)
        return future

    def poll(self) -> None:
        """Handle what has arrived by now, without waiting for the loop to say so."""
        if self._sock is not None:
            self._readable()

    def last_words(self) -> None:
        """Handle the replies that have arrived, though the loop is closed: what they wake on it does not run."""
        with contextlib.suppress(OSError, hiredis.ProtocolError):
            while self._sock is not None and self._waiting and (data := self._sock.recv(_READ_BYTES)):
                self._reader.feed(data)
                while self._waiting and (reply := self._reader.gets()) is not False:
                    with contextlib.suppress(RuntimeError):  # the loop is closed
                        self._waiting.popleft()(reply)

    def close(self) -> None:
        """End the connection; handlers that still wait are told that it is lost. ``lost`` is not called."""
        self.lost = None
        self._end(ConnectionLost("The connection was closed."))

    def drop(self, reason: str) -> None:
        """End the connection as if it had been lost: ``lost`` is called."""
        self._end(ConnectionLost(reason))

    def abandon(self) -> None:
        """Give back the socket and nothing else: for a loop that is closed, or is another process's."""
        self.lost = None
        self._waiting.clear()
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _flush(self) -> None:
        self._flushing = False
        if not self._unsent or self._sock is None:
            return
        data: bytes | memoryview = self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent)
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            sent = 0
        except OSError as error:
            # Not at once: the caller is in the middle of a write, and its handlers would run inside it.
            self._loop.call_soon(self._end, ConnectionLost(_reason(error)))
            self._unsent, self._unsent_bytes = [], 0
            return
        self._unsent_bytes = len(data) - sent
        if self._unsent_bytes:
            self._unsent = [memoryview(data)[sent:]]
            if not self._blocked:
                self._blocked = True
                self._loop.add_writer(self._fd, self._flush)
        else:
            self._unsent = []
            if self._blocked:
                self._blocked = False
                self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        reader, waiting = self._reader, self._waiting
        while (sock := self._sock) is not None:
            try:
                data = sock.recv(self._read_bytes)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                self._end(ConnectionLost(_reason(error)))
                return
            if not data:
                self._end(ConnectionLost("The server closed the connection."))
                return
            self._heard = self._loop.time()
            self._read_bytes = _MOST_READ_BYTES if len(data) == self._read_bytes else _READ_BYTES
            try:
                reader.feed(data)
                while self._sock is sock and (reply := reader.gets()) is not False:
                    if not waiting:
                        raise hiredis.ProtocolError
                    waiting.popleft()(reply)
            except hiredis.ProtocolError:
                self._end(ConnectionLost("The server sent what is no reply."))
                return
            # A TLS record can be held by the socket object, where no readiness callback sees it.
            if not self._is_tls:
                return

    def _look_again(self, seconds: float) -> None:
        due = self._loop.time() + seconds
        self._watch = self._loop.call_at(due, self._look_at_clock, due)

    def _look_at_clock(self, due: float) -> None:
        self._watch = None
        if self._sock is None or not self._waiting:
            return
        # A loop that was blocked has not heard what is there: listen first, then judge.
        self._readable()
        if not (self.is_open and self._waiting):
            return
        now = self._loop.time()
        if now - due > _LATE:
            self._heard = now  # nor has a blocked loop written all that it had to
        left = self._heard + self.patience - now
        if left <= 0:
            self._end(ConnectionLost(f"No reply within {self.patience:g} s."))
        else:
            self._look_again(left)

    def _end(self, lost: ConnectionLost) -> None:
        if self._sock is None:
            return
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
        with contextlib.suppress(OSError):
            self._sock.close()
        self._sock = None
        self._unsent = []
        tell, self.lost = self.lost, None
        if tell is not None and self.ended is not None:
            self.ended()
        while self._waiting:
            self._waiting.popleft()(lost)
        if tell is not None:
            tell(lost)


def ignore(_: Any) -> None:
    """Handle a reply that says nothing."""


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
