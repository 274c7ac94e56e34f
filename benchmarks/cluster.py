"""A Cluster of three nodes of the benchmark's own, in temporary folders and on ports of localhost."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from typing import Any

import redis

from benchmarks.within import Within
from flowchan.broker.embedded import binary
from flowchan.settings import current_settings
from flowchan.wire import keys

NODES = 3

_PATIENCE = 20.0
_POLL = 0.01


class Cluster(Within):
    """Runs within the ``with`` block, each node with an append-only file."""

    def __init__(self) -> None:
        chosen = next(binary.usable(current_settings().server_bin))
        self.name = f"{chosen.engine}, a Cluster of {NODES} nodes, TCP, append-only file"
        self._folders = [tempfile.TemporaryDirectory(prefix="bench-") for _ in range(NODES)]
        ports = _free_ports(2 * NODES)
        self._ports, buses = ports[:NODES], ports[NODES:]
        self._buses = dict(zip(self._ports, buses, strict=True))
        self._processes = [
            subprocess.Popen(
                [chosen.path, *_options(folder.name, port, self._buses[port])],
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the benchmark, which ends the nodes
            )
            for folder, port in zip(self._folders, self._ports, strict=True)
        ]
        self._clients: list[Any] = [redis.Redis(port=port) for port in self._ports]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._ports[0]}"

    def cpu_seconds(self) -> float:
        """What all nodes have spent so far, in user and system mode."""
        spent = [client.info("cpu") for client in self._clients]
        return sum(float(each["used_cpu_user"]) + float(each["used_cpu_sys"]) for each in spent)

    def begin(self) -> None:
        self._await("start", lambda: all(client.ping() for client in self._clients))
        self._form()

    def end(self) -> None:
        for client in self._clients:
            client.close()
        for process in self._processes:
            process.terminate()
            process.wait()
        for folder in self._folders:
            folder.cleanup()

    def _form(self) -> None:
        share = -(-keys.SLOTS // NODES)
        for index, client in enumerate(self._clients):
            last = min(keys.SLOTS, (index + 1) * share) - 1
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", index * share, last)
            for port in self._ports[:index]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", port, self._buses[port])

        def is_fine(client: Any) -> bool:
            about = client.execute_command("CLUSTER", "INFO")
            return b"cluster_state:ok" in about and f"cluster_size:{NODES}".encode() in about

        self._await("form", lambda: all(map(is_fine, self._clients)))

    def _await(self, what: str, look: Any) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            with contextlib.suppress(redis.ConnectionError):
                if look():
                    return
            if any(process.poll() is not None for process in self._processes) or time.monotonic() > deadline:
                raise RuntimeError(f"The Cluster did not {what}.")
            time.sleep(_POLL)


def _options(folder: str, port: int, bus: int) -> list[str]:
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": folder,
        "cluster-enabled": "yes",
        "cluster-port": str(bus),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
