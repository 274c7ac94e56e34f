"""Reaching the broker: redis-py shakes hands (TLS, passwords, database), then hands its socket over."""

from __future__ import annotations

import logging
import secrets
import socket
import ssl
import time
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import AuthenticationError, AuthorizationError
from redis.retry import Retry

from flowchan.broker.connection import Identity
from flowchan.broker.url import place_of, refuse_plaintext, unknown_option
from flowchan.errors import BrokerRefused, BrokerUnavailable, InvalidSettingError
from flowchan.settings import Settings
from flowchan.wire import keys

logger = logging.getLogger(__name__)

_RETRY_PAUSE = 0.05


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
        InvalidSettingError: the URL is none, or leads over a network without TLS, and that was not allowed.
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
                raise unavailable(settings, name, error) from None
            reason = error  # it may have stopped just now: the next turn starts it again
        else:
            return Dialled(sock, identity, name)
        finally:
            connection.disconnect()
        if time.monotonic() + _RETRY_PAUSE > deadline:
            raise unavailable(settings, name, reason)
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
        return _unnamed(kind(path=str(server.socket), **common)), "The embedded server"
    name, kind, options = place = place_of(settings.url)
    if not settings.allow_plaintext:
        refuse_plaintext(place)
    try:
        return _unnamed(kind(**{**common, **options, "protocol": 2})), name
    except TypeError:
        raise unknown_option() from None


def _unnamed(connection: Any) -> Any:
    """Without CLIENT SETINFO, by which redis-py says its own name: a server's rules need not allow what nobody needs."""
    # However this version of redis-py wants to be told.
    connection.driver_info = connection.lib_name = connection.lib_version = None
    return connection


def unavailable(settings: Settings, name: str, error: Exception) -> BrokerUnavailable:
    """The error that tells a person that the server was not reached, and why."""
    cause = error.__cause__ or error.__context__ or error
    reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else type(error).__name__
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = f"its certificate was not accepted: {cause.verify_message.rstrip('.')}"
    if isinstance(error, redis.BusyLoadingError):
        reason = "it is still loading its data"
    elif isinstance(error, (redis.TimeoutError, TimeoutError)):
        reason = f"no answer within {settings.connect_timeout:g} s"
    hint = "Is it running, and is FLOWCHAN_URL right?" if settings.url else f"Its log is in {settings.home}."
    return BrokerUnavailable(f"{name} cannot be reached: {reason}. {hint}")
