"""A small proxy on a unix socket, for what happens to bytes on their way: cut, lost, held back, swallowed."""

from __future__ import annotations

import contextlib
import enum
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self


class Fate(enum.Enum):
    """What becomes of a piece of a request; all but PASS and SWALLOW end the connection."""

    PASS = enum.auto()
    LOSE_REQUEST = enum.auto()
    HALVE_REQUEST = enum.auto()
    LOSE_REPLY = enum.auto()
    HALVE_REPLY = enum.auto()
    SWALLOW = enum.auto()
    """It is lost, and the connection looks well: as behind a firewall that forgot it."""


class Proxy:
    """Stands between flowchan and a server.

    Attributes:
        fate: decides on each piece that a client sends.
        accepts: whether new connections get anywhere; where not, they are closed at once.
    """

    def __init__(self, upstream: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fcp-", dir="/tmp")
        self.socket = Path(self._folder.name) / "p"
        self.fate: Callable[[bytes], Fate] = lambda _: Fate.PASS
        self.accepts = True
        self.seen = 0
        """Connections so far."""
        self.cut = 0
        """Connections that ``fate`` has ended."""
        self._upstream = str(upstream)
        self._open = threading.Event()
        self._open.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self._listener.listen(128)
        self._start(self._accept)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def hold(self) -> None:
        """Keep what clients send from now on; it goes on its way with :meth:`release`, whoever is gone by then."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def cut_clients(self) -> None:
        """End all connections as the clients see them; what is held back still reaches the server."""
        with self._lock:
            pairs = list(self._pairs)
        for client, _ in pairs:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.release()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            pairs = list(self._pairs)
        for client, server in pairs:
            _end(client, server)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
        for client, server in pairs:
            client.close()
            server.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.seen += 1
            server = socket.socket(socket.AF_UNIX)
            try:
                if not self.accepts:
                    raise ConnectionRefusedError
                server.connect(self._upstream)
            except OSError:
                client.close()
                server.close()
                continue
            with self._lock:
                self._pairs.append((client, server))
            fates: list[Fate] = []
            self._start(self._requests, client, server, fates)
            self._start(self._replies, client, server, fates)

    def _requests(self, client: socket.socket, server: socket.socket, fates: list[Fate]) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                self._open.wait()
                fate = self.fate(data)
                if fate is Fate.SWALLOW:
                    continue
                if fate is Fate.PASS:
                    server.sendall(data)
                    continue
                self.cut += 1
                if fate is Fate.LOSE_REQUEST:
                    break
                if fate is Fate.HALVE_REQUEST:
                    server.sendall(data[: len(data) // 2])
                    break
                fates.append(fate)
                server.sendall(data)
                return  # the other direction ends it, when the server has answered
        _end(client, server)

    def _replies(self, client: socket.socket, server: socket.socket, fates: list[Fate]) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if fates:
                    if Fate.HALVE_REPLY in fates:
                        client.sendall(data[: len(data) // 2])
                    break
                with contextlib.suppress(OSError):
                    client.sendall(data)
        _end(client, server)


def _end(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
