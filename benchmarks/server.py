"""A server of the benchmark's own: the binary that flowchan would embed, in a temporary folder."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import redis

from flowchan.broker.embedded import binary
from flowchan.settings import current_settings
from flowchan.wire import codec, keys
from flowchan.wire.envelope import Envelope, to_fields

_PATIENCE = 20.0
_POLL = 0.01
_LULL = 0.1
_AT_ONCE = 50_000

# Entries as flowchan writes them, each with a message ID and a sequence of its own.
_FILL = """
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
    redis.call('XADD', KEYS[1], '*', 'v', '1', 'id', string.format('00000000000000ff-%x', number),
        'seq', tostring(number), 'schema', ARGV[3], 'body', ARGV[4])
end
redis.call('PEXPIRE', KEYS[1], 3600000)
"""


class Server:
    """Runs within the ``with`` block, on a unix socket and with an append-only file, as an embedded one does."""

    def __init__(self) -> None:
        chosen = next(binary.usable(current_settings().server_bin))
        self.name = f"{chosen.engine}, unix socket, append-only file"
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        self.socket = str(Path(self._folder.name) / "s")
        self._process = subprocess.Popen(
            [chosen.path, *_options(self._folder.name, self.socket)],
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the benchmark, which ends the server
        )
        self._client = redis.Redis(unix_socket_path=self.socket)

    def cpu_seconds(self) -> float:
        """What the server has spent so far, in user and system mode."""
        spent = self._info("cpu")
        return float(spent["used_cpu_user"]) + float(spent["used_cpu_sys"])

    def bytes_used(self) -> int:
        """What the server's data and clients take."""
        return int(self._info("memory")["used_memory"])

    def bytes_sent(self) -> int:
        """What the server has written to its clients so far."""
        return int(self._info("stats")["total_net_output_bytes"])

    def connections(self) -> int:
        return int(self._info("clients")["connected_clients"])

    def most_connections(self) -> int:
        return int(cast("Mapping[str, str]", self._client.config_get("maxclients"))["maxclients"])

    def fill(self, run: str, count: int) -> str:
        """Store messages for a run that receives ``str``, written by the server itself; the stream's key."""
        stream = keys.stream("flowchan", keys.run_id(run), keys.channel_from_class_name("strAutomaticRunInput"))
        body = codec.encode({"value": "andrew"})
        # What it writes is held against what flowchan writes.
        names = to_fields(Envelope("0", None, 1, "00000000", {}, body))[::2]
        assert names == [b"v", b"id", b"seq", b"schema", b"body"], names
        for first in range(1, count + 1, _AT_ONCE):
            self._client.eval(_FILL, 1, stream, first, min(count, first + _AT_ONCE - 1), "00000000", body)
        return stream

    def forget(self) -> None:
        """Drop all data; connections stay."""
        self._client.execute_command("FLUSHALL", "SYNC")

    def trim(self) -> None:
        """Drop what streams hold; who has read it goes on behind it."""
        for stream in self._client.scan_iter(count=1000, _type="STREAM"):
            self._client.xtrim(stream, maxlen=0, approximate=False)

    def settle(self) -> None:
        """Wait until the server has nothing to do but to answer here."""
        quiet, before = 0, -1
        deadline = time.monotonic() + _PATIENCE
        while quiet < 4:
            now = int(self._info("stats")["total_commands_processed"])
            quiet, before = (quiet + 1 if now - before == 1 else 0), now
            if time.monotonic() > deadline:
                raise RuntimeError("The server does not come to rest.")
            time.sleep(_LULL)

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

    def _info(self, section: str) -> Mapping[str, Any]:
        return cast("Mapping[str, Any]", self._client.info(section))


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
