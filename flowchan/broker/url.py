"""What ``FLOWCHAN_URL`` says: where the broker is, and how a person may be told so."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

import redis
from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from flowchan.broker.address import Address
from flowchan.errors import InvalidSettingError

_SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
_SENTINEL = "+sentinel"
_PORT = 6379
_SENTINEL_PORT = 26379


class Place(NamedTuple):
    """Where a URL leads to."""

    name: str
    """For messages: never with a user or a password."""
    kind: Any
    """redis-py's class for such a connection."""
    options: dict[str, Any]
    """What that class takes."""
    hosts: tuple[Address, ...] = ()
    """Nodes of a Cluster, or sentinels; of one server, that server. Empty for a socket."""
    service: str | None = None
    """What the sentinels call the server that they watch; None if the hosts are no sentinels."""
    credentials: tuple[str | None, str | None] = (None, None)
    """User and password for the sentinels."""

    def at(self, address: Address) -> tuple[Any, dict[str, Any]]:
        """The class and what it takes for another server, with the same user, password and certificates."""
        options = {name: value for name, value in self.options.items() if name != "path"}
        kind = redis.Connection if "path" in self.options else self.kind
        return kind, {**options, "host": address.host, "port": address.port}


def place_of(url: str) -> Place:
    """Take a URL apart.

    Raises:
        InvalidSettingError: it cannot be used; says why, and quotes nothing, for all of it may be a password.
    """
    scheme, separator, rest = url.partition("://")
    plain = scheme.removesuffix(_SENTINEL)
    if not separator or plain not in _SCHEMES or scheme == f"unix{_SENTINEL}":
        raise _unusable("its scheme is unknown")
    plain = _SCHEMES[plain]
    try:
        if scheme.endswith(_SENTINEL):
            return _watched(plain, rest)
        authority, behind = _cut(rest)
        user, at, hosts = authority.rpartition("@")
        if plain == "unix" or "," not in hosts:
            return _one(plain, rest)
        addresses = _addresses(hosts, _PORT)
        one = _one(plain, f"{user}{at}{addresses[0]}{behind}")
        return one._replace(name=f"The cluster at {', '.join(map(str, addresses))}", hosts=addresses)
    except ValueError as error:
        raise error if isinstance(error, InvalidSettingError) else _unusable("its form is wrong") from None


def _one(scheme: str, rest: str) -> Place:
    url = f"{scheme}://{rest}"
    _check(urlsplit(url))
    options = parse_url(url)
    kind = options.pop("connection_class", redis.Connection)
    if "path" in options:
        return Place(f"The server at unix://{options['path']}", kind, options)
    address = Address(options.get("host", "localhost"), options.get("port", _PORT))
    return Place(f"The server at {address.host}:{address.port}", kind, options, (address,))


def _watched(scheme: str, rest: str) -> Place:
    authority, behind = _cut(rest)
    user, at, hosts = authority.rpartition("@")
    path, _, query = behind.partition("?")
    service, _, database = path.removeprefix("/").partition("/")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", service):
        raise _unusable("sentinels are asked for a service: its name follows the hosts, as in …/mymaster")
    given = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    theirs = {name: value for name, value in given if name in ("sentinel_username", "sentinel_password")}
    ours = urlencode([each for each in given if each[0] not in theirs], quote_via=quote)
    addresses = _addresses(hosts, _SENTINEL_PORT)
    one = _one(scheme, f"{user}{at}{addresses[0]}/{database}{'?' if ours else ''}{ours}")
    return one._replace(
        name=f"The primary of {service!r}",
        hosts=addresses,
        service=service,
        credentials=(theirs.get("sentinel_username"), theirs.get("sentinel_password")),
    )


def _cut(rest: str) -> tuple[str, str]:
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    return rest[:end], rest[end:]


def _addresses(hosts: str, port: int) -> tuple[Address, ...]:
    found = []
    for each in hosts.split(","):
        parts = urlsplit(f"//{each}")
        if not parts.hostname or parts.port == 0:
            raise _unusable("one of its hosts is none")
        found.append(Address(parts.hostname, parts.port or port))
    return tuple(found)


def refuse_plaintext(kind: Any, options: Mapping[str, Any]) -> None:
    """Make sure that nobody on a network can read along.

    Raises:
        InvalidSettingError: the place is on another machine, and reached without TLS.
    """
    host = str(options.get("host", "localhost"))
    if issubclass(kind, SSLConnection | UnixDomainSocketConnection) or _is_loopback(host):
        return
    raise InvalidSettingError(
        f"FLOWCHAN_URL cannot be used: it leads to {host} without TLS, so that whoever is on the way there could read"
        " and change all messages, and the password. Write rediss:// (or valkeys://), or set"
        " FLOWCHAN_ALLOW_PLAINTEXT=1 where the network is trusted."
    )


def _is_loopback(host: str) -> bool:
    """Whether a host is this machine, by what is sure without a look-up."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _check(parts: SplitResult) -> None:
    """What redis-py would pass over in silence, and then talk to another server or database."""
    if parts.scheme == "unix":
        if not parts.path or parts.hostname:
            raise _unusable("a socket's path begins with a third slash")
        return
    if "@" in parts.path + parts.query or parts.fragment:
        raise _unusable("in a user or password, '/' is written %2F, '?' %3F, '#' %23 and '@' %40")
    database = parts.path.removeprefix("/")
    if database and not (database.isascii() and database.isdigit()):
        raise _unusable("its database is no number")
    if parts.port == 0:
        raise _unusable("its port is no number from 1 to 65535")


def _unusable(reason: str) -> InvalidSettingError:
    return InvalidSettingError(
        "FLOWCHAN_URL cannot be used: it must read like redis://[user:password@]host[:port][/database], rediss://…,"
        " valkey://… or unix:///path/to/socket; redis://host,host,… for a Cluster,"
        f" redis+sentinel://host,host,…/service[/database] for Sentinel ({reason})."
    )


def unknown_option() -> InvalidSettingError:
    """For a URL whose query has what redis-py does not take."""
    return InvalidSettingError("FLOWCHAN_URL cannot be used: it has an option that redis-py does not know.")
