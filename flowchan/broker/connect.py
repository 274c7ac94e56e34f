"""Reaching the broker: redis-py shakes hands (TLS, passwords, database), then hands its socket over."""

from __future__ import annotations

import logging
import secrets
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import AuthenticationError, AuthorizationError
from redis.retry import Retry

from flowchan.broker.address import Address
from flowchan.broker.cluster.topology import Topology
from flowchan.broker.connection import Identity
from flowchan.broker.url import Place, place_of, refuse_plaintext, unknown_option
from flowchan.errors import BrokerRefused, BrokerUnavailable, InvalidSettingError
from flowchan.settings import Settings
from flowchan.wire import keys

logger = logging.getLogger(__name__)

_RETRY_PAUSE = 0.05
_SENTINEL_PAUSE = 0.2
_NODE_PATIENCE = 1.0
"""Seconds that one of several may take to say where the others are."""


class Dialled:
    """An open socket to the broker: authenticated, on its database, speaking RESP2.

    Closed with this, unless it was taken: whom it was opened for may be gone when it is there.
    """

    def __init__(
        self,
        sock: socket.socket | None,
        identity: Identity | None,
        name: str,
        *,
        address: Address | None = None,
        topology: Topology | None = None,
    ) -> None:
        self.identity = identity
        self.name = name
        """The server's, as a person may read it: never with a password."""
        self.address = address
        """Which of several servers it is; None where there is one only."""
        self.topology = topology
        """Of a Cluster, and then there is no socket: each of its nodes is dialled by itself."""
        self._sock = sock

    def take(self) -> socket.socket:
        """The socket, for whoever will close it."""
        assert self._sock is not None  # noqa: S101 - once
        sock, self._sock = self._sock, None
        return sock

    def __del__(self) -> None:
        if self._sock is not None:
            self._sock.close()


def dial(settings: Settings) -> Dialled:
    """Open a socket to the broker, blocking; of a Cluster, find out where its slots are.

    Raises:
        InvalidSettingError: the URL is none, or leads over a network without TLS, and that was not allowed.
        BrokerUnavailable: nobody answered within ``settings.connect_timeout`` seconds.
        BrokerRefused: the server is there and does not want this client.
    """
    deadline = time.monotonic() + settings.connect_timeout
    while True:
        name = "The broker"
        reason: Exception = TimeoutError()
        for reached in _ways(settings):
            name = reached.name
            if reached.connection is None:
                reason = reached.trouble
                continue
            try:
                return _greeted(reached, settings)
            except redis.BusyLoadingError as error:
                reason = error
            except (redis.RedisError, OSError, UnicodeError) as error:
                reason = _worth_another_try(error, name)
            finally:
                reached.connection.disconnect()
        # An embedded server may have stopped just now: the next turn starts it again. Sentinels may be about it.
        can_change = settings.url is None or isinstance(reason, redis.BusyLoadingError) or _is_watched(settings)
        pause = _SENTINEL_PAUSE if _is_watched(settings) else _RETRY_PAUSE
        if not can_change or time.monotonic() + pause > deadline:
            raise unavailable(settings, name, reason) if not isinstance(reason, BrokerRefused) else reason
        time.sleep(pause)


def dial_node(settings: Settings, address: Address) -> Dialled:
    """Open a socket to one node of a Cluster, blocking.

    Raises:
        BrokerUnavailable, BrokerRefused: as :func:`dial`.
    """
    name = node_name(address)
    connection = _to(settings, address, settings.connect_timeout)
    try:
        connection.connect()
        identity = _identity(connection, address)
        return Dialled(_taken(connection), identity, name, address=address)
    except (redis.RedisError, OSError, UnicodeError) as error:
        raise unavailable(settings, name, _worth_another_try(error, name)) from None
    finally:
        connection.disconnect()


def ask_topology(settings: Settings, addresses: Iterable[Address]) -> Topology:
    """Where the slots of a Cluster are, as the first of these nodes says that answers.

    Raises:
        BrokerUnavailable: none did.
    """
    reason: Exception = TimeoutError()
    for address in addresses:
        connection = _to(settings, address, min(settings.connect_timeout, _NODE_PATIENCE))
        try:
            connection.connect()
            topology = _topology(connection, address)
            if topology.addresses():
                return topology
        except (redis.RedisError, OSError, UnicodeError) as error:
            reason = error
        finally:
            connection.disconnect()
    raise unavailable(settings, "The cluster", reason)


def node_name(address: Address) -> str:
    """A node of a Cluster, for a message to a person."""
    return f"The node of the cluster at {address}"


class _Reached(NamedTuple):
    """A connection that is not open yet, or why there is none."""

    connection: Any
    name: str
    address: Address | None = None
    trouble: Exception = TimeoutError()


def _ways(settings: Settings) -> Iterator[_Reached]:
    """What there is to try, one after the other."""
    common = _common(settings.connect_timeout)
    if settings.url is None:
        from flowchan.broker import embedded  # noqa: PLC0415 - not imported by who has a server of their own

        server = embedded.ensure(settings)
        kind: Any = UnixDomainSocketConnection
        yield _Reached(_made(settings, kind, {"path": str(server.socket), **common}), "The embedded server")
        return
    place = place_of(settings.url)
    if place.service is not None:
        for address in _primaries(place, settings):
            if isinstance(address, Exception):
                yield _Reached(None, place.name, trouble=address)
            else:
                yield _Reached(_to(settings, address, settings.connect_timeout), place.name, address)
    elif len(place.hosts) > 1:
        for address in place.hosts:
            connection = _to(settings, address, settings.connect_timeout / len(place.hosts))
            yield _Reached(connection, place.name, address)
    else:
        only = place.hosts[0] if place.hosts else None
        yield _Reached(_made(settings, place.kind, {**common, **place.options}), place.name, only)


def _primaries(place: Place, settings: Settings) -> Iterator[Address | Exception]:
    """Where each sentinel says that the primary is, or why it says nothing."""
    user, password = place.credentials
    patience = min(settings.connect_timeout, _NODE_PATIENCE)
    for sentinel in place.hosts:
        kind, options = place.at(sentinel)
        options |= {"username": user, "password": password, "db": 0}
        connection = _made(settings, kind, {**_common(patience), **options})
        try:
            connection.connect()
            connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", place.service)
            answer = connection.read_response()
        except (AuthenticationError, AuthorizationError):
            yield BrokerRefused("A sentinel refused the user or password of FLOWCHAN_URL.", code="WRONGPASS")
            continue
        except (redis.RedisError, OSError, UnicodeError) as error:
            yield error
            continue
        finally:
            connection.disconnect()
        if answer is None:
            yield _Unfit("its sentinels do not know it")
        else:
            host, port = (_text(part) for part in answer)
            yield Address(host, int(port))


class _Unfit(redis.RedisError):
    """A server that answers, and is not the one that is looked for; says why."""


def _greeted(reached: _Reached, settings: Settings) -> Dialled:
    connection, name, address, _ = reached
    connection.connect()
    if _is_watched(settings):
        _check_role(connection)
    elif settings.url is not None and _is_cluster(connection, settings):
        if address is None:
            raise InvalidSettingError(
                "FLOWCHAN_URL cannot be used: its socket is of one node of a Cluster. Name a node's host and port."
            )
        topology = _topology(connection, address)
        name = name.replace("The server at", "The cluster at")
        _agree_on_partitions_of_cluster(topology, settings, name)
        return Dialled(None, None, name, address=address, topology=topology)
    elif settings.url is not None and len(place_of(settings.url).hosts) > 1:
        raise InvalidSettingError(
            "FLOWCHAN_URL cannot be used: it names several servers, which are to be nodes of one Cluster,"
            " and the first that answered is none."
        )
    _agree_on_partitions(connection, settings, name)
    identity = _identity(connection)
    return Dialled(_taken(connection), identity, name, address=address)


def _taken(connection: Any) -> socket.socket:
    # redis-py has no public way to give its socket away; the name has stood since its version 2.
    sock: socket.socket = connection._sock  # noqa: SLF001
    connection._sock = None  # noqa: SLF001
    return sock


def _worth_another_try(error: Exception, name: str) -> Exception:
    """The error, if it may be another one next time.

    Raises:
        BrokerRefused: it would not.
    """
    if isinstance(error, (AuthenticationError, AuthorizationError)):
        raise BrokerRefused(f"{name} refused the user or password of FLOWCHAN_URL.", code="WRONGPASS") from None
    if isinstance(error, redis.ResponseError) and not isinstance(error, redis.BusyLoadingError):
        code = str(error).split(" ", 1)[0]
        raise BrokerRefused(f"{name} refused the connection: {error}", code=code) from None
    return error


def _check_role(connection: Any) -> None:
    """Sentinels may not have noticed yet: a primary must say itself that it is one, if it may."""
    connection.send_command("ROLE")
    try:
        role = connection.read_response()[0]
    except redis.ResponseError:
        return
    if _text(role) != "master":
        raise _Unfit("its sentinels name a replica")


_alone: set[Settings] = set()
"""Whose server is no node of a Cluster: asked once a process."""


def _is_cluster(connection: Any, settings: Settings) -> bool:
    if settings in _alone:
        return False
    # Who may connect may give this command; nothing is switched by it.
    connection.send_command("HELLO")
    try:
        answer = connection.read_response()
    except redis.ResponseError:
        return False
    about = dict(zip(answer[::2], answer[1::2], strict=True)) if isinstance(answer, list) else answer
    if about.get(b"mode") == b"cluster":
        return True
    _alone.add(settings)
    return False


def _topology(connection: Any, asked: Address) -> Topology:
    connection.send_command("CLUSTER", "SLOTS")
    return Topology.parse(connection.read_response(), asked)


def _is_watched(settings: Settings) -> bool:
    return settings.url is not None and place_of(settings.url).service is not None


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


def _agree_on_partitions_of_cluster(topology: Topology, settings: Settings, name: str) -> None:
    """As above, with the node that knows."""
    address = topology.primary(keys.slot(keys.about(settings.namespace)))
    if settings in _agreed or address is None:
        return
    connection = _to(settings, address, settings.connect_timeout)
    try:
        connection.connect()
        _agree_on_partitions(connection, settings, name)
    except (redis.RedisError, OSError, UnicodeError):
        return  # it is away: whoever comes next agrees with it
    finally:
        connection.disconnect()


def _identity(connection: Any, address: Address | None = None) -> Identity | None:
    connection.send_command("CLIENT", "ID")
    try:
        return Identity(connection.read_response(), connection.client_name, address)
    except redis.ResponseError:
        return None


def _common(timeout: float) -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        # A retry below the outbox would store a message twice.
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "client_name": f"flowchan-{secrets.token_hex(6)}",
    }


def _to(settings: Settings, address: Address, timeout: float) -> Any:
    """A connection to one of several servers, not open yet."""
    assert settings.url is not None  # noqa: S101 - the embedded server is one
    kind, options = place_of(settings.url).at(address)
    return _made(settings, kind, {**_common(timeout), **options})


def _made(settings: Settings, kind: Any, options: dict[str, Any]) -> Any:
    if not settings.allow_plaintext:
        refuse_plaintext(kind, options)  # here, for a Cluster's nodes and sentinels name servers, too
    try:
        connection = kind(**{**options, "protocol": 2})
    except TypeError:
        raise unknown_option() from None
    # No CLIENT SETINFO, by which redis-py says its own name: a server's rules need not allow what nobody needs. However
    # this version of redis-py wants to be told.
    connection.driver_info = connection.lib_name = connection.lib_version = None
    return connection


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def unavailable(settings: Settings, name: str, error: Exception) -> BrokerUnavailable:
    """The error that tells a person that the server was not reached, and why."""
    if isinstance(error, BrokerUnavailable):
        return error
    cause = error.__cause__ or error.__context__ or error
    reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else type(error).__name__
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = f"its certificate was not accepted: {cause.verify_message.rstrip('.')}"
    if isinstance(error, redis.BusyLoadingError):
        reason = "it is still loading its data"
    elif isinstance(error, _Unfit):
        reason = str(error)
    elif isinstance(error, (redis.TimeoutError, TimeoutError)):
        reason = f"no answer within {settings.connect_timeout:g} s"
    hint = "Is it running, and is FLOWCHAN_URL right?" if settings.url else f"Its log is in {settings.home}."
    return BrokerUnavailable(f"{name} cannot be reached: {reason}. {hint}")
