"""A small proxy on a unix socket, for what happens to bytes on their way: cut, lost, held back, swallowed."""

from __future__ import annotations

import contextlib
import enum
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path


class Fate(enum.Enum):
    """What becomes of a piece of a request; all but PASS end the connection."""

    PASS = enum.auto()
    LOSE_REQUEST = enum.auto()
    HALVE_REQUEST = enum.auto()
    LOSE_REPLY = enum.auto()
    HALVE_REPLY = enum.auto()


class _Pair:
    """One connection: the client's end, the server's end."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.fate = Fate.PASS
        self.swallows = False
        self.open = threading.Event()
        self.open.set()
        self.threads: list[threading.Thread] = []

    def end(self) -> None:
        for each in (self.client, self.server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Stands between flowchan and a server.

    Attributes:
        fate: decides on each piece that a client sends.
        accepts: whether new connections get anywhere; where not, they are closed at once.
        cuts: how many connections ``fate`` has ended.
    """

    def __init__(self, upstream: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fcp-", dir="/tmp")
        self.socket = Path(self._folder.name) / "p"
        self.fate: Callable[[bytes], Fate] = lambda _: Fate.PASS
        self.accepts = True
        self.cuts = 0
        self._upstream = str(upstream)
        self._pairs: list[_Pair] = []
        self._beginning = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self._listener.listen(128)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def connections(self) -> int:
        """Connections so far."""
        return len(self._pairs)

    def hold(self) -> None:
        """Keep what comes from now on by the connections that there are."""
        for pair in self._pairs:
            pair.open.clear()

    def cut_held(self) -> None:
        """End the connections that are held, as clients see it; what they have sent is still on its way."""
        for pair in self._pairs:
            if not pair.open.is_set():
                with contextlib.suppress(OSError):
                    pair.client.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Deliver what was held; returns when the server has taken it, and ended the connections that were cut."""
        held = [pair for pair in self._pairs if not pair.open.is_set()]
        for pair in held:
            pair.open.set()
        for thread in (thread for pair in held for thread in pair.threads):
            thread.join(10)
            assert not thread.is_alive()

    def deliver(self) -> None:
        """Returns when the server has taken all that was sent by clients that are gone; all of them must be."""
        with self._beginning:
            threads = [thread for pair in self._pairs for thread in pair.threads]
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()

    def swallow(self) -> None:
        """Let nothing through any more on the connections that there are, and leave them open."""
        for pair in self._pairs:
            pair.swallows = True

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(5)
        self._listener.close()
        for pair in self._pairs:
            pair.open.set()
            pair.end()
            for thread in pair.threads:
                thread.join(5)
                assert not thread.is_alive()
            pair.client.close()
            pair.server.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                if not self.accepts:
                    raise ConnectionRefusedError
                server.connect(self._upstream)
            except OSError:
                client.close()
                server.close()
                continue
            pair = _Pair(client, server)
            pair.threads = [
                threading.Thread(target=direction, args=(pair,), daemon=True)
                for direction in (self._requests, self._replies)
            ]
            with self._beginning:  # who waits for a pair's threads waits for such as have started
                self._pairs.append(pair)
                for thread in pair.threads:
                    thread.start()

    def _requests(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := pair.client.recv(1 << 16):
                pair.open.wait()
                if pair.swallows:
                    continue
                fate = self.fate(data)
                if fate is Fate.PASS:
                    pair.server.sendall(data)
                    continue
                self.cuts += 1
                if fate is Fate.HALVE_REQUEST:
                    pair.server.sendall(data[: len(data) // 2])
                elif fate is not Fate.LOSE_REQUEST:
                    pair.fate = fate
                    pair.server.sendall(data)
                    return  # the other direction ends it, when the server has answered
                pair.end()
                return
        # The server sees the end behind what was sent, and ends the other direction.
        with contextlib.suppress(OSError):
            pair.server.shutdown(socket.SHUT_WR)

    def _replies(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := pair.server.recv(1 << 16):
                if pair.swallows:
                    continue
                if pair.fate is not Fate.PASS:
                    if pair.fate is Fate.HALVE_REPLY:
                        pair.client.sendall(data[: len(data) // 2])
                    break
                with contextlib.suppress(OSError):
                    pair.client.sendall(data)
        pair.end()
