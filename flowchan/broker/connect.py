"""Reaching the broker: redis-py shakes hands (TLS, passwords, database), then hands its socket over."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.connection import UnixDomainSocketConnection, parse_url
from redis.exceptions import AuthenticationError, AuthorizationError
from redis.retry import Retry

from flowchan.broker.connection import Connection, Identity
from flowchan.errors import BrokerRefused, BrokerUnavailable, FlowchanError, InvalidSettingError
from flowchan.settings import Settings
from flowchan.wire import keys

logger = logging.getLogger(__name__)

REPLY_PATIENCE = 10.0
"""Seconds that a command which does not block may go unanswered before its connection counts as dead."""

_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}
_RETRY_PAUSE = 0.05


class Dialled(NamedTuple):
    """An open socket to the broker: authenticated, on its database, speaking RESP2."""

    sock: socket.socket
    identity: Identity | None
    name: str
    """The server's, as a person may read it: never with a password."""


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
        except (AuthenticationError, AuthorizationError) as error:
            raise BrokerRefused(f"{name} refused the user or password of FLOWCHAN_URL.", code="WRONGPASS") from error
        except redis.BusyLoadingError as error:
            reason: Exception = error
        except redis.ResponseError as error:
            code = str(error).split(" ", 1)[0]
            raise BrokerRefused(f"{name} refused the connection: {error}", code=code) from None
        except (redis.RedisError, OSError) as error:
            if settings.url is not None:
                raise _unavailable(settings, name, error) from None
            reason = error  # it may have stopped just now: the next turn starts it again
        else:
            return Dialled(sock, identity, name)
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
            f" {int(found)} partitions; this version has {keys.PARTITIONS}. Choose another FLOWCHAN_NAMESPACE."
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
    scheme, separator, rest = settings.url.partition("://")
    try:
        parsed = parse_url(_SCHEMES.get(scheme, scheme) + separator + rest)
    except ValueError as error:
        raise InvalidSettingError(
            "FLOWCHAN_URL cannot be used: it must read like redis://[user:password@]host[:port][/database],"
            f" rediss://…, valkey://… or unix:///path/to/socket ({_harmless(error)})."
        ) from None
    kind = parsed.pop("connection_class", redis.Connection)
    if "path" in parsed:
        name = f"The server at unix://{parsed['path']}"
    else:
        name = f"The server at {parsed.get('host', 'localhost')}:{parsed.get('port', 6379)}"
    try:
        return kind(**{**common, **parsed, "protocol": 2}), name
    except TypeError:
        raise InvalidSettingError(
            "FLOWCHAN_URL cannot be used: it has an option that redis-py does not know."
        ) from None


def _harmless(error: ValueError) -> str:
    # urllib quotes the part it stumbled over, which may be a password with an unescaped character.
    return "the port is no number" if "ort" in str(error) else "its scheme or form is unknown"


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

    def open(self, ready: Ready) -> None:
        """Open a connection and hand it to ``ready``, in a later turn of the loop.

        If the broker was never reached, ``ready`` gets the error of the first attempt. If it was, attempts
        go on until one succeeds: those who wait have deadlines of their own.
        """
        if self._closed:
            self._loop.call_soon(ready, BrokerUnavailable("This client was closed."))
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
        def back_on_loop(done: ThreadFuture[Dialled]) -> None:
            try:
                self._loop.call_soon_threadsafe(self._attempted, done, ready)
            except RuntimeError:  # the loop ended meanwhile
                if done.exception() is None:
                    done.result().sock.close()

        _threads().submit(dial, self.settings).add_done_callback(back_on_loop)

    def _attempted(self, done: ThreadFuture[Dialled], ready: Ready) -> None:
        error = done.exception()
        if error is not None:
            self._failed(error, ready)
            return
        sock, identity, self.name = done.result()
        if self._closed:
            sock.close()
            ready(BrokerUnavailable("This client was closed."))
            return
        if self.trouble is not None:
            logger.warning("%s is back.", self.name)
        self.trouble, self._was_there = None, True
        ready(Connection(self._loop, sock, identity, REPLY_PATIENCE))
        waiting, self._waiting = self._waiting, deque()
        for other in waiting:
            self._attempt(other)

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


_pool: ThreadPoolExecutor | None = None


def _threads() -> ThreadPoolExecutor:
    global _pool  # noqa: PLW0603 - one small pool a process; a fork must not inherit its dead threads
    if _pool is None:
        _pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="flowchan-dial")
    return _pool


def _forget_threads() -> None:
    global _pool  # noqa: PLW0603
    _pool = None


os.register_at_fork(after_in_child=_forget_threads)
