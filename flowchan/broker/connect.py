"""Reaching the broker: redis-py shakes hands (TLS, passwords, database), then hands its socket over."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import random
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import AuthenticationError, AuthorizationError
from redis.retry import Retry

from flowchan.broker.connection import Connection, Identity
from flowchan.broker.url import place_of, unknown_option
from flowchan.errors import BrokerRefused, BrokerUnavailable, FlowchanError, InvalidSettingError
from flowchan.settings import Settings
from flowchan.wire import keys

logger = logging.getLogger(__name__)

REPLY_PATIENCE = 10.0
"""Seconds that a command which does not block may go unanswered before its connection counts as dead."""

_RETRY_PAUSE = 0.05
_YOUNG = 1.0
_TOLERATED = 200
_FORGIVEN = 20.0
"""So many connections may be lost that lived for less than ``_YOUNG`` seconds, and so many more in each second."""

_GRACE = 0.25


class Dialled:
    """An open socket to the broker: authenticated, on its database, speaking RESP2.

    Closed with this, unless it was taken: whom it was opened for may be gone when it is there.
    """

    def __init__(self, sock: socket.socket, identity: Identity | None, name: str) -> None:
        self.identity = identity
        self.name = name
        """The server's, as a person may read it: never with a password."""
        self._sock: socket.socket | None = sock

    def take(self) -> socket.socket:
        """The socket, for whoever will close it."""
        assert self._sock is not None  # noqa: S101 - once
        sock, self._sock = self._sock, None
        return sock

    def __del__(self) -> None:
        if self._sock is not None:
            self._sock.close()


def dial(settings: Settings) -> Dialled:
    """Open a socket to the broker, blocking.

    Raises:
        InvalidSettingError: the URL is none.
        BrokerUnavailable: nobody answered within ``settings.connect_timeout`` seconds.
        BrokerRefused: the server is there and does not want this client.
    """
    deadline = time.monotonic() + settings.connect_timeout
    while True:
        connection, name = _prepare(settings)
        try:
            connection.connect()
            _agree_on_partitions(connection, settings, name)
            identity = _identity(connection)
            # redis-py has no public way to give its socket away; the name has stood since its version 2.
            sock: socket.socket = connection._sock  # noqa: SLF001
            connection._sock = None  # noqa: SLF001
        except (AuthenticationError, AuthorizationError):
            raise BrokerRefused(f"{name} refused the user or password of FLOWCHAN_URL.", code="WRONGPASS") from None
        except redis.BusyLoadingError as error:
            reason: Exception = error
        except redis.ResponseError as error:
            code = str(error).split(" ", 1)[0]
            raise BrokerRefused(f"{name} refused the connection: {error}", code=code) from None
        except (redis.RedisError, OSError, UnicodeError) as error:
            if settings.url is not None:
                raise _unavailable(settings, name, error) from None
            reason = error  # it may have stopped just now: the next turn starts it again
        else:
            return Dialled(sock, identity, name)
        finally:
            connection.disconnect()
        if time.monotonic() + _RETRY_PAUSE > deadline:
            raise _unavailable(settings, name, reason)
        time.sleep(_RETRY_PAUSE)


_agreed: set[Settings] = set()


def _agree_on_partitions(connection: Any, settings: Settings, name: str) -> None:
    """Once a process: what the namespace's keys were laid out with must be what this version lays them out with.

    Raises:
        InvalidSettingError: it is another number of partitions, so neither side would see the other's streams.
    """
    if settings in _agreed:
        return
    about = keys.about(settings.namespace)
    connection.send_command("HSETNX", about, "partitions", keys.PARTITIONS)
    connection.send_command("HGET", about, "partitions")
    replies = []
    for _ in range(2):
        try:
            replies.append(connection.read_response())
        except redis.ResponseError as error:  # who may not write, or not now, is told when it writes
            replies.append(error)
    found = replies[1]
    if isinstance(found, bytes) and found != b"%d" % keys.PARTITIONS:
        raise InvalidSettingError(
            f"The namespace {settings.namespace!r} of {name[0].lower()}{name[1:]} was laid out with"
            f" {found.decode(errors='replace')} partitions; this version has {keys.PARTITIONS}. Choose another FLOWCHAN_NAMESPACE."
        )
    _agreed.add(settings)


def _identity(connection: Any) -> Identity | None:
    connection.send_command("CLIENT", "ID")
    try:
        return Identity(connection.read_response(), connection.client_name)
    except redis.ResponseError:
        return None


def _prepare(settings: Settings) -> tuple[Any, str]:
    common: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": settings.connect_timeout,
        "socket_connect_timeout": settings.connect_timeout,
        # A retry below the outbox would store a message twice.
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "client_name": f"flowchan-{secrets.token_hex(6)}",
    }
    if settings.url is None:
        from flowchan.broker import embedded  # noqa: PLC0415 - not imported by who has a server of their own

        server = embedded.ensure(settings)
        kind: Any = UnixDomainSocketConnection
        return kind(path=str(server.socket), **common), "The embedded server"
    name, kind, options = place_of(settings.url)
    try:
        return kind(**{**common, **options, "protocol": 2}), name
    except TypeError:
        raise unknown_option() from None


def _unavailable(settings: Settings, name: str, error: Exception) -> BrokerUnavailable:
    cause = error.__cause__ or error.__context__ or error
    reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else type(error).__name__
    if isinstance(error, redis.BusyLoadingError):
        reason = "it is still loading its data"
    elif isinstance(error, (redis.TimeoutError, TimeoutError)):
        reason = f"no answer within {settings.connect_timeout:g} s"
    hint = "Is it running, and is FLOWCHAN_URL right?" if settings.url else f"Its log is in {settings.home}."
    return BrokerUnavailable(f"{name} cannot be reached: {reason}. {hint}")


Ready = Callable[[Connection | FlowchanError], None]


class Dialler:
    """Opens connections for one event loop, and knows whether the broker is there.

    While it is not, one attempt a second (with jitter) stands for all who wait: a process with many
    connections does not storm a server that comes back.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        self.settings = settings
        self.trouble: FlowchanError | None = None
        """Why the last attempt failed; None while the broker answers."""
        self.name = "The broker"
        self._loop = loop
        self._was_there = False
        self._closed = False
        self._waiting: deque[Ready] = deque()
        self._probing = False
        self._lost = 0.0
        self._lost_at = 0.0

    def open(self, ready: Ready) -> None:
        """Open a connection and hand it to ``ready``, in a later turn of the loop.

        If the broker was never reached, ``ready`` gets the error of the first attempt. If it was, attempts
        go on until one succeeds: those who wait have deadlines of their own.
        """
        if self._closed:
            self._loop.call_soon(ready, BrokerUnavailable("This client was closed."))
        elif self.trouble is None and self._lost > _TOLERATED:
            # Somebody takes connections and ends them at the first command: that is no reason to spin.
            self._loop.call_later((self._lost - _TOLERATED) / _FORGIVEN, self._attempt, ready)
        elif self.trouble is None:
            self._attempt(ready)
        else:
            self._waiting.append(ready)
            if not self._probing:
                self._probing = True
                self._loop.call_later(0.5 + random.random(), self._probe)  # noqa: S311 - jitter

    def close(self) -> None:
        """Stop; who waits is told."""
        self._closed = True
        waiting, self._waiting = self._waiting, deque()
        for ready in waiting:
            ready(BrokerUnavailable("This client was closed."))

    def _probe(self) -> None:
        self._probing = False
        if self._waiting and not self._closed:
            self._attempt(self._waiting.popleft())

    def _attempt(self, ready: Ready) -> None:
        attempt = _Attempt(self._loop, self.settings, functools.partial(self._attempted, ready))
        attempt.start()

    def _attempted(self, ready: Ready, outcome: Dialled | BaseException) -> None:
        if isinstance(outcome, BaseException):
            self._failed(outcome, ready)
            return
        if self._closed:
            ready(BrokerUnavailable("This client was closed."))
            return
        self.name = outcome.name
        if self.trouble is not None:
            logger.warning("%s is back.", self.name)
        self.trouble, self._was_there = None, True
        connection = Connection(self._loop, outcome.take(), outcome.identity, REPLY_PATIENCE)
        connection.ended = functools.partial(self._count_loss, self._loop.time())
        ready(connection)
        waiting, self._waiting = self._waiting, deque()
        for other in waiting:
            self._attempt(other)

    def _count_loss(self, born: float) -> None:
        now = self._loop.time()
        self._lost = max(0.0, self._lost - (now - self._lost_at) * _FORGIVEN) + (now - born < _YOUNG)
        self._lost_at = now

    def _failed(self, error: BaseException, ready: Ready) -> None:
        if not isinstance(error, FlowchanError):
            error = BrokerUnavailable(f"{self.name} cannot be reached: {type(error).__name__}.")
        if not self._was_there or self._closed:
            ready(error)
            return
        if self.trouble is None:
            logger.warning("%s Trying again about once a second.", error)
        self.trouble = error
        self.open(ready)


class _Attempt:
    """One dialling, in a thread, and its end on the loop: by then, or when the time is up.

    A look-up of a name cannot be interrupted, and a server that answers every step a little late is in
    time with each. So the thread is left behind: it is a daemon, nobody waits for it when the process ends.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, settings: Settings, ended: Callable[[Dialled | BaseException], None]
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._ended = ended
        self._outcome: Dialled | BaseException | None = None
        self._is_over = False

    def start(self) -> None:
        """Begin, and return at once."""
        threading.Thread(target=self._dial, name="flowchan-dial", daemon=True).start()
        if self._settings.url is not None:
            self._wait()

    def _dial(self) -> None:
        with _at_once:
            if self._is_over:
                return
            try:
                self._outcome = dial(self._settings)
            except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits to be told
                self._outcome = error
        with contextlib.suppress(RuntimeError):  # the loop ended meanwhile
            self._loop.call_soon_threadsafe(self._end)

    def _wait(self) -> None:
        # The timer is not kept: in a cycle the socket might be collected before who would close it.
        due = self._loop.time() + self._settings.connect_timeout + _GRACE
        self._loop.call_at(due, self._time_is_up, due)

    def _time_is_up(self, due: float) -> None:
        if self._is_over or self._outcome is not None:
            return  # it has ended, and the loop will come to it
        if self._loop.time() - due > _GRACE:
            self._wait()  # the loop was blocked, and so may have been what it waits for
            return
        url = self._settings.url
        assert url is not None  # noqa: S101 - start() has looked
        self._outcome = _unavailable(self._settings, place_of(url).name, TimeoutError())
        self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        outcome, self._outcome = self._outcome, None
        assert outcome is not None  # noqa: S101 - set by all who call
        self._ended(outcome)


_at_once = threading.BoundedSemaphore(8)


def _forget_threads() -> None:
    global _at_once  # noqa: PLW0603 - the threads that would release it are the parent's
    _at_once = threading.BoundedSemaphore(8)


os.register_at_fork(after_in_child=_forget_threads)
