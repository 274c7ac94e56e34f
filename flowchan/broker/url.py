"""What ``FLOWCHAN_URL`` says: where the broker is, and how a person may be told so."""

from __future__ import annotations

import ipaddress
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import redis
from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from flowchan.errors import InvalidSettingError

_SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}


class Place(NamedTuple):
    """Where a URL leads to."""

    name: str
    """For messages: never with a user or a password."""
    kind: Any
    """redis-py's class for such a connection."""
    options: dict[str, Any]
    """What that class takes."""


def place_of(url: str) -> Place:
    """Take a URL apart.

    Raises:
        InvalidSettingError: it cannot be used; says why, and quotes nothing, for all of it may be a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise _unusable("its scheme is unknown")
    url = f"{_SCHEMES[scheme]}://{rest}"
    try:
        _check(urlsplit(url))
        options = parse_url(url)
    except ValueError as error:
        raise error if isinstance(error, InvalidSettingError) else _unusable("its form is wrong") from None
    kind = options.pop("connection_class", redis.Connection)
    if "path" in options:
        return Place(f"The server at unix://{options['path']}", kind, options)
    return Place(f"The server at {options.get('host', 'localhost')}:{options.get('port', 6379)}", kind, options)


def refuse_plaintext(place: Place) -> None:
    """Make sure that nobody on a network can read along.

    Raises:
        InvalidSettingError: the place is on another machine, and reached without TLS.
    """
    host = str(place.options.get("host", "localhost"))
    if issubclass(place.kind, SSLConnection | UnixDomainSocketConnection) or _is_loopback(host):
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
        f" valkey://… or unix:///path/to/socket ({reason})."
    )


def unknown_option() -> InvalidSettingError:
    """For a URL whose query has what redis-py does not take."""
    return InvalidSettingError("FLOWCHAN_URL cannot be used: it has an option that redis-py does not know.")
