"""The socket at which a server listens, and what can be asked there.

The standard library only: the watchdog imports it.
"""

# ruff: noqa: PTH108, PTH120, PTH106 - pathlib would double what the watchdog has to import
from __future__ import annotations

import contextlib
import os
import socket

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import BinaryIO

FAILURES = (FileNotFoundError, ConnectionError, TimeoutError, BlockingIOError)
"""What comes of calling a server that is not there, or too busy to answer in time."""


def connect(address: str, timeout: float) -> socket.socket:
    """A connection that waits ``timeout`` seconds for anything; raises one of ``FAILURES``."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def ask(connection: socket.socket, *commands: str) -> list[str]:
    """Send commands and read their answers: a status with its ``+`` or ``-``, a text without.

    Raises:
        ConnectionError: the server has gone.
        TimeoutError: it did not answer within the connection's timeout.
    """
    connection.sendall("".join(command + "\r\n" for command in commands).encode())
    with connection.makefile("rb") as stream:
        return [_answer(stream) for _ in commands]


def _answer(stream: BinaryIO) -> str:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("The server has closed the connection.")
    if not line.startswith(b"$"):
        return line[:-2].decode(errors="replace")
    size = int(line[1:])
    text = stream.read(size + 2)
    if len(text) < size + 2:
        raise ConnectionResetError("The server has closed the connection.")
    return text[:-2].decode(errors="replace")


def info(text: str) -> dict[str, str]:
    """The fields of an answer to INFO."""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def census(connection: socket.socket) -> tuple[int, int]:
    """How many clients there are, and how many have ever come."""
    fields = info(ask(connection, "INFO clients stats")[0])
    if "connected_clients" not in fields:
        return 2, -1  # a server that is too busy for INFO has a client that keeps it so
    return int(fields["connected_clients"]), int(fields["total_connections_received"])


def clear(address: str, folder: str) -> None:
    """Remove a socket that nobody listens at; its folder too, where that was made for it alone."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)
    if os.path.dirname(address) != folder:
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(address))
