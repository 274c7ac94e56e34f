"""A server of the benchmark's own: the binary that flowchan would embed, in a temporary folder."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from flowchan.broker.embedded import binary
from flowchan.settings import current_settings

_PATIENCE = 10.0
_POLL = 0.01


class Server:
    """Runs within the ``with`` block, on a unix socket and with an append-only file, as an embedded one does."""

    def __init__(self) -> None:
        chosen = next(binary.usable(current_settings().server_bin))
        self.name = f"{chosen.engine}, unix socket, append-only file"
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        self.socket = str(Path(self._folder.name) / "s")
        self._process = subprocess.Popen(
            [chosen.path, *_options(self._folder.name, self.socket)], stdout=subprocess.DEVNULL
        )
        self._client = redis.Redis(unix_socket_path=self.socket)

    def cpu_seconds(self) -> float:
        """What the server has spent so far, in user and system mode."""
        spent = self._client.info("cpu")
        return float(spent["used_cpu_user"]) + float(spent["used_cpu_sys"])

    def __enter__(self) -> Self:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._client.ping()
            except redis.ConnectionError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__(None, None, None)
                    raise RuntimeError("The server did not start.") from None
                time.sleep(_POLL)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()


def _options(folder: str, socket: str) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": socket,
        "unixsocketperm": "700",
        "dir": folder,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]
