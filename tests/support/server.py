"""A real server of the tests' own, that can be killed, started again and held up."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flowchan.broker.embedded.binary import usable
from tests.support.ports import free_ports

_PATIENCE = 20.0


@functools.cache
def binary() -> Path:
    """The server that flowchan itself would embed."""
    return next(usable(None)).path


class Server:
    """A server on a unix socket in a temporary folder (and on a port of localhost, if asked for).

    Args:
        options: of its command line.
        tcp: whether it has a port, too.
        port: which one.
        append_only: whether it keeps what it is told.
        program: what to start; None: what flowchan itself would embed.
    """

    def __init__(
        self, *options: str, tcp: bool = False, port: int = 0, append_only: bool = True, program: Path | None = None
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fct-", dir="/tmp")
        self.folder = Path(self._folder.name)
        self.socket = self.folder / "s"
        self.port = port or (free_ports(1)[0] if tcp else 0)
        # Written before each answer, as the embedded one does: `everysec` may hold a write back, and lose what it has
        # acknowledged when it is killed.
        self._options = ["--appendonly", "yes" if append_only else "no", "--appendfsync", "no", *options]
        self._program = program or binary()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_paused = False

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def answers(self) -> bool:
        """Whether it is there, and was not held up."""
        return self._process is not None and not self._is_paused

    def start(self) -> Self:
        """Start on whatever data is there; it answers when this returns."""
        self.launch()
        return self.wait()

    def wait(self) -> Self:
        """Until it answers."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                with self.client() as client:
                    client.ping()
            except redis.AuthenticationError:
                return self  # that is an answer
            except (redis.ConnectionError, redis.BusyLoadingError):
                pass
            else:
                return self
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.005)

    def launch(self) -> None:
        """Start, and do not wait until it answers."""
        self.launch_as(
            *("--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket, "--dir", self.folder),
            *("--save", "", "--logfile", self.folder / "log", "--repl-diskless-sync-delay", "0"),
            *self._options,
        )

    def launch_as(self, *arguments: str | Path) -> None:
        """The same with other arguments, such as a file of settings."""
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen([self._program, *arguments], start_new_session=True)  # Ctrl-C is for the tests

    def kill(self) -> None:
        """As a crash or the kernel would end it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def pause(self) -> None:
        """Hold it up: connections stay, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        self._is_paused = True

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self._is_paused = False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def client(self, password: str | None = None) -> redis.Redis:
        """A plain client; one connection, which is made when it is used first."""
        return redis.Redis(
            unix_socket_path=str(self.socket),
            single_connection_client=True,
            retry=Retry(NoBackoff(), 0),
            password=password,
        )

    def close(self) -> None:
        self.kill()
        self._folder.cleanup()
