"""Ports of localhost that nobody listens on."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import os
import socket
import tempfile
from pathlib import Path
from typing import IO

# Below those that the system gives to clients: one of them may take any of these between a look and a start. Each
# process of the tests begins elsewhere.
_FIRST, _MANY = 20_000, 10_000
_numbers = itertools.count(os.getpid() * 997)
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """So many different ones; free a moment ago, and given to no process of tests that still runs."""
    ports: list[int] = []
    while len(ports) < count:
        port = _FIRST + next(_numbers) % _MANY
        with contextlib.suppress(OSError), socket.socket() as probe:
            if port in _given:
                continue
            # Of this process until it ends, however it ends: one byte of the file for each port.
            fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            _given.add(port)
            probe.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


@functools.cache
def _locks() -> IO[bytes]:
    return (Path(tempfile.gettempdir()) / f"fct-ports-{os.getuid()}").open("ab")
