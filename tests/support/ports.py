"""Ports of localhost that nobody listens on."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket

# Below those that the system gives to clients: one of them may take any of these between a look and a start. Each
# process of the tests begins elsewhere, and none is given twice.
_FIRST, _MANY = 20_000, 10_000
_numbers = itertools.count(os.getpid() * 997)


def free_ports(count: int) -> list[int]:
    """So many different ones; free a moment ago."""
    ports: list[int] = []
    while len(ports) < count:
        port = _FIRST + next(_numbers) % _MANY
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            ports.append(port)
    return ports
