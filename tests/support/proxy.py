"""A small proxy, for what happens to bytes on their way: cut, reset, lost, held back, slowed down, swallowed."""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path


class Fate(enum.Enum):
    """What becomes of a piece of a request; all but PASS end the connection."""

    PASS = enum.auto()
    LOSE_REQUEST = enum.auto()
    HALVE_REQUEST = enum.auto()
    LOSE_REPLY = enum.auto()
    HALVE_REPLY = enum.auto()


def losing(*commands: bytes, fates: Mapping[int, Fate], of: int) -> Callable[[bytes], Fate]:
    """Of so many pieces in which one of these commands is, the first, second … has this fate; again and again."""
    pieces = 0

    def fate(request: bytes) -> Fate:
        nonlocal pieces
        if not any(command in request for command in commands):
            return Fate.PASS
        pieces += 1
        return fates.get(pieces % of, Fate.PASS)

    return fate


class _Pair:
    """One connection: the client's end, the server's end."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.fate = Fate.PASS
        self.swallows_requests = self.swallows_replies = False
        self.is_reset = False
        self.open = threading.Event()
        self.open.set()
        self.answers = threading.Event()
        self.answers.set()
        self.threads: list[threading.Thread] = []
        self._running = 2
        self._ending = threading.Lock()

    def end(self) -> None:
        for each in (self.server,) if self.is_reset else (self.client, self.server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def is_over(self) -> bool:
        """Called by each direction at its end: whether it is the last one, which gives back the sockets."""
        with self._ending:
            self._running -= 1
            if not self._running:
                self.client.close()
                self.server.close()
            return not self._running


class Proxy:
    """Stands between flowchan and a server.

    Attributes:
        fate: decides on each piece that a client sends.
        accepts: whether new connections get anywhere; where not, they are closed at once.
        answers: whether they do, for now; where not, they stay open and nothing ever comes of them.
        delay: seconds that each piece is under way, in both directions.
        rate: bytes a second, in each direction of each connection; None: as many as come.
        cuts: how many connections ``fate`` has ended.
        calls: when somebody connected, whatever came of it.
    """

    def __init__(self, upstream: Path, *, tcp: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fcp-", dir="/tmp")
        self.socket = Path(self._folder.name) / "p"
        self.fate: Callable[[bytes], Fate] = lambda _: Fate.PASS
        self.accepts = self.answers = True
        self.delay = 0.0
        self.rate: float | None = None
        self.cuts = 0
        self.calls: list[float] = []
        self._upstream = str(upstream)
        self._pairs: list[_Pair] = []
        self._made = 0
        self._beginning = threading.Lock()
        self._unanswered: list[socket.socket] = []
        # Only over TCP there is a reset.
        self._listener = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        self._listener.bind(("127.0.0.1", 0) if tcp else str(self.socket))
        self._listener.listen(128)
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}" if tcp else f"unix://{self.socket}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def connections(self) -> int:
        """Connections so far, that got somewhere."""
        return self._made

    def hold(self) -> None:
        """Keep what comes from now on by the connections that there are."""
        for pair in list(self._pairs):
            pair.open.clear()

    def hold_replies(self) -> None:
        """Keep what the server says from now on, until they are released; what it is asked it is asked."""
        for pair in list(self._pairs):
            pair.answers.clear()

    def release_replies(self) -> None:
        """Deliver what the server has said meanwhile."""
        for pair in list(self._pairs):
            pair.answers.set()

    def cut_held(self) -> None:
        """End the connections that are held, as clients see it; what they have sent is still on its way."""
        for pair in list(self._pairs):
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

    def swallow(self, *, requests: bool = True, replies: bool = True) -> None:
        """Let nothing through any more on the connections that there are, in one direction or both; they stay open."""
        for pair in list(self._pairs):
            pair.swallows_requests, pair.swallows_replies = requests, replies

    def cut(self) -> int:
        """End all connections that there are, in order; how many that were."""
        return self._end_all(are_reset=False)

    def reset(self) -> int:
        """The same by a reset (RST), which throws away what is on its way; over TCP."""
        return self._end_all(are_reset=True)

    def _end_all(self, *, are_reset: bool) -> int:
        with self._beginning:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.is_reset = are_reset
            pair.open.set()
            pair.answers.set()
            if are_reset:
                with contextlib.suppress(OSError):
                    pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    pair.client.shutdown(socket.SHUT_RD)  # wakes who reads there, and sends nothing
            pair.end()
        for pair in pairs:
            for thread in pair.threads:
                thread.join(10)
                assert not thread.is_alive()
        return len(pairs)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(5)
        self._listener.close()
        for pair in list(self._pairs):
            pair.open.set()
            pair.answers.set()
            pair.end()
            for thread in pair.threads:
                thread.join(5)
                assert not thread.is_alive()
        for client in self._unanswered:
            client.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if client.family == socket.AF_INET:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.calls.append(time.monotonic())
            if not self.answers:
                self._unanswered.append(client)
                continue
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
                threading.Thread(target=self._forward, args=(direction, pair), daemon=True)
                for direction in (self._requests, self._replies)
            ]
            with self._beginning:  # who waits for a pair's threads waits for such as have started
                self._made += 1
                self._pairs.append(pair)
                for thread in pair.threads:
                    thread.start()

    def _forward(self, direction: Callable[[_Pair], None], pair: _Pair) -> None:
        direction(pair)
        if pair.is_over():
            with self._beginning:
                self._pairs.remove(pair)

    def _requests(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := pair.client.recv(1 << 16):
                pair.open.wait()
                if pair.swallows_requests:
                    continue
                self._take_time(data)
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
                pair.answers.wait()
                if pair.swallows_replies:
                    continue
                self._take_time(data)
                if pair.fate is not Fate.PASS:
                    if pair.fate is Fate.HALVE_REPLY:
                        pair.client.sendall(data[: len(data) // 2])
                    break
                with contextlib.suppress(OSError):
                    pair.client.sendall(data)
        pair.end()

    def _take_time(self, data: bytes) -> None:
        if self.delay or self.rate:
            time.sleep(self.delay + (len(data) / self.rate if self.rate else 0.0))
