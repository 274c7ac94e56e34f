"""A real Cluster of the tests' own: three primaries, and replicas where one of them is to fall."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import redis

from flowchan.wire import keys
from tests.support.ports import free_ports
from tests.support.server import Server
from tests.support.together import Together
from tests.support.waiting import eventually

PRIMARIES = 3


class Node:
    """One server of a Cluster."""

    def __init__(self, port: int, bus: int, options: tuple[str, ...]) -> None:
        self.server = Server(
            *("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "1500"),
            *options,
            port=port,
            append_only=False,
        )
        self.port = port
        self.bus = bus

    def ask(self, *command: Any) -> Any:
        """The answer of this node, whoever has the key."""
        return self._client.execute_command(*command)

    @functools.cached_property
    def _client(self) -> redis.Redis:
        return self.server.client()

    @functools.cached_property
    def id(self) -> str:
        return str(self.ask("CLUSTER", "MYID").decode())

    @property
    def knows(self) -> int:
        """How many nodes it has shaken hands with, itself among them."""
        lines = self.ask("CLUSTER", "NODES").splitlines()
        return sum(b"handshake" not in line.split()[2] for line in lines)

    def is_primary(self) -> bool:
        return bool(self.ask("ROLE")[0] == b"master")

    def is_fine(self) -> bool:
        return b"cluster_state:ok" in self.ask("CLUSTER", "INFO")

    def announced(self) -> set[int]:
        """The ports at which clients are to find the primaries."""
        return {primary[1] for _, _, primary, *_ in self.ask("CLUSTER", "SLOTS")}

    def forget_connection(self) -> None:
        if (client := self.__dict__.pop("_client", None)) is not None:
            client.close()


class Cluster(Together):
    """Its nodes, and what happens to them."""

    def __init__(self, *options: str, replicas: int = 0) -> None:
        ports = free_ports(2 * PRIMARIES * (1 + replicas))
        pairs = zip(ports[::2], ports[1::2], strict=True)
        self.nodes = [Node(port, bus, options) for port, bus in pairs]
        self.replicas = replicas

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.nodes[0].port}"

    @property
    def urls(self) -> str:
        """With all its nodes."""
        return "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def _begin(self) -> None:
        for node in self.nodes:
            node.server.launch()
        for node in self.nodes:
            node.server.wait()
        self._form()

    def close(self) -> None:
        for node in self.nodes:
            node.forget_connection()
            node.server.close()

    def _form(self) -> None:
        share = -(-keys.SLOTS // PRIMARIES)
        for index, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            if index < PRIMARIES:
                last = min(keys.SLOTS, (index + 1) * share) - 1
                node.ask("CLUSTER", "ADDSLOTSRANGE", index * share, last)
            for other in self.nodes[:index]:
                node.ask("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus)
        eventually(lambda: all(node.knows == len(self.nodes) for node in self.nodes), "the nodes' meeting")
        for index, node in enumerate(self.nodes[PRIMARIES:]):
            node.ask("CLUSTER", "REPLICATE", self.nodes[index % PRIMARIES].id)
        eventually(lambda: all(node.is_fine() for node in self.nodes), "the Cluster's beginning")
        for node in self.nodes[PRIMARIES:]:
            eventually(lambda node=node: b"connected" in node.ask("ROLE"), "a replica's beginning")

    # --- what has what -----------------------------------------------------------------------------

    def primary(self, key: str) -> Node:
        """Who has a key, by its own word."""
        slot = keys.slot(key)
        return eventually(
            lambda: next((node for node in self._alive() if node.is_primary() and _has(node, slot)), None)
        )

    def replica(self, primary: Node) -> Node:
        """One that follows a primary."""
        port = primary.port
        return next(
            node for node in self._alive() if node.ask("ROLE")[:1] == [b"slave"] and node.ask("ROLE")[2] == port
        )

    def connections(self) -> list[str]:
        """The connections that flowchan has to its nodes."""
        lines = [line for node in self._alive() for line in node.ask("CLIENT", "LIST").decode().splitlines()]
        return [line for line in lines if " name=flowchan" in line]

    def lasting(self, pattern: str) -> list[str]:
        """Keys without a time to live."""
        found = [(node, key) for node in self._alive() if node.is_primary() for key in node.ask("KEYS", pattern)]
        return [key.decode() for node, key in found if node.ask("PTTL", key) == -1]

    def flush(self) -> None:
        for node in self._alive():
            if node.is_primary():
                node.ask("FLUSHALL")

    def _alive(self) -> list[Node]:
        return [node for node in self.nodes if node.server.answers]

    # --- what happens to it -------------------------------------------------------------------------

    def move(self, slot: int, target: Node) -> None:
        """Move one slot with all its keys, as ``redis-cli --cluster reshard`` does."""
        with self.moving(slot, target) as source:
            while names := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1):
                source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)

    @contextlib.contextmanager
    def moving(self, slot: int, target: Node) -> Iterator[Node]:
        """A slot is on its way to another node within the block, and there at its end."""
        source = next(node for node in self._alive() if _has(node, slot))
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        yield source
        for node in (target, source, *self.nodes):
            if node.is_primary():
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)


def _has(node: Node, slot: int) -> bool:
    for first, last, primary, *_ in node.ask("CLUSTER", "SLOTS"):
        if first <= slot <= last:
            return bool(primary[2].decode() == node.id)
    return False
