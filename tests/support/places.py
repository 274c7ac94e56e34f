"""The places that all must do alike: one server of each kind, a Cluster, a primary that sentinels watch.

Each has what stands in docs/servers.md. Only a server that is not installed may be missing.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

from flowchan.broker.embedded.binary import usable
from flowchan.errors import FlowchanError
from tests.support.acl import PASSWORD, acl_line, denied
from tests.support.cluster import PRIMARIES, Cluster
from tests.support.ports import free_ports
from tests.support.sentinels import Sentinels
from tests.support.server import Server
from tests.support.tls import Authority, tls_proxy
from tests.support.waiting import eventually


class Place:
    """Where messages may be sent; looked at, and broken, behind flowchan's back.

    Args:
        url: as a user would set it.
        servers: all that connections may lead to.
        password: of who may do everything there.
    """

    def __init__(self, url: str, servers: list[Server], password: str | None = None) -> None:
        self.url = url
        self._clients = [server.client(password) for server in servers]

    def enter(self, namespace: str) -> str:
        """The URL, for one namespace."""
        del namespace
        return self.url

    def leave(self, namespace: str) -> None:
        """Nothing of a test may be left: no connection, no key that would be kept for ever; and then no key at all."""
        eventually(lambda: not list(self.connections()), "the end of the test's connections", 5.0)
        lasting = self.lasting(namespace)
        for client in self._primaries():
            client.flushall()
        assert lasting in ([], [f"{namespace}:@about"]), "keys without a time to live"

    def lasting(self, namespace: str) -> list[str]:
        """Keys without a time to live, but for blocks: those are kept until they are deleted."""
        return [key for key, left in self.times_to_live(namespace) if left == -1 and ":@block:" not in key]

    def times_to_live(self, namespace: str) -> list[tuple[str, int]]:
        """Each key, and for how many milliseconds it is kept."""
        found = [(client, key) for client in self._primaries() for key in client.keys(f"{namespace}:*")]
        return [(key.decode(), client.pttl(key)) for client, key in found]

    def connections(self) -> Iterator[tuple[redis.Redis, str]]:
        """The connections that flowchan has, by who serves them and their number there."""
        for client in self._clients:
            for about in client.client_list():
                if about["name"].startswith("flowchan"):
                    yield client, about["id"]

    def cut(self) -> int:
        """End all connections that flowchan has; how many."""
        cut = list(self.connections())
        for client, number in cut:
            client.execute_command("CLIENT", "KILL", "ID", number)
        return len(cut)

    def _primaries(self) -> list[Any]:
        return [client for client in self._clients if client.execute_command("ROLE")[0] == b"master"]

    def close(self) -> None:
        for client in self._clients:
            client.close()


DONE_WITHOUT = {"client|list", "client|kill", "config|get", "command|info", "command|docs"}
"""What flowchan tries, and does without: by the page, for it would reach across all tenants."""


class Tenancy(Place):
    """Each namespace has a user, who may do what docs/security.md says and nothing else."""

    def __init__(self, server: Server, password: str) -> None:
        super().__init__(f"redis://127.0.0.1:{server.port}", [server], password)

    def enter(self, namespace: str) -> str:
        (admin,) = self._clients
        admin.execute_command(*acl_line(namespace))
        return self.url.replace("//", f"//{namespace}:{PASSWORD}@")

    def leave(self, namespace: str) -> None:
        super().leave(namespace)
        (admin,) = self._clients
        refused = denied(admin.execute_command("ACL", "LOG"))
        admin.execute_command("ACL", "LOG", "RESET")
        admin.execute_command("ACL", "DELUSER", namespace)
        assert refused <= DONE_WITHOUT


@contextlib.contextmanager
def place(kind: str, folder: Path) -> Iterator[Place]:
    """One of ``KINDS`` that is not missing, for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        made = KINDS[kind](stack, folder)
        stack.callback(made.close)
        yield made


def _valkey(stack: contextlib.ExitStack, _: Path) -> Place:
    server = _started(stack, Server(append_only=False))
    return Place(server.url, [server])


def _redis(stack: contextlib.ExitStack, _: Path) -> Place:
    server = _started(stack, Server(tcp=True, program=redis_server()))
    return Place(f"redis://localhost:{server.port}", [server])


def _cluster(stack: contextlib.ExitStack, _: Path) -> Place:
    cluster = stack.enter_context(Cluster())
    return Place(cluster.urls, [node.server for node in cluster.nodes[:PRIMARIES]])


def _sentinel(stack: contextlib.ExitStack, _: Path) -> Place:
    sentinels = stack.enter_context(Sentinels())
    return Place(sentinels.url, sentinels.servers)


def _tls(stack: contextlib.ExitStack, folder: Path) -> Place:
    """A server that speaks TLS itself if one is installed; else something before it does."""
    authority = Authority(folder)
    (certificate, key), (mine, my_key) = authority.issue("localhost"), authority.issue("me@flowchan.example")
    options = ("--requirepass", PASSWORD)
    if speaks_tls():
        (port,) = free_ports(1)
        options += ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
        options += ("--tls-ca-cert-file", str(authority.certificate), "--tls-auth-clients", "yes")
        server = _started(stack, Server(*options, append_only=False, program=redis_server()))
    else:
        server = _started(stack, Server(*options, append_only=False))
        port = stack.enter_context(tls_proxy(server, certificate, key, clients=authority.certificate))
    query = f"ssl_ca_certs={authority.certificate}&ssl_certfile={mine}&ssl_keyfile={my_key}"
    return Place(f"rediss://:{PASSWORD}@localhost:{port}?{query}", [server], PASSWORD)


def _acl(stack: contextlib.ExitStack, _: Path) -> Place:
    admins = f"admins-{PASSWORD}"
    return Tenancy(_started(stack, Server("--requirepass", admins, tcp=True, append_only=False)), admins)


def _started(stack: contextlib.ExitStack, server: Server) -> Server:
    stack.callback(server.close)
    return server.start()


KINDS: dict[str, Callable[[contextlib.ExitStack, Path], Place]] = {
    "valkey": _valkey,
    "redis": _redis,
    "cluster": _cluster,
    "sentinel": _sentinel,
    "tls": _tls,
    "acl": _acl,
}


def missing(kind: str) -> str | None:
    """Why there is no such place on this machine; None if there is one."""
    if kind == "redis" and redis_server() is None:
        return "there is no redis-server of 7.0 or newer on PATH"
    return None


@functools.cache
def redis_server() -> Path | None:
    """A Redis of 7.0 or newer; none of PyPI's packages has one that this Python can install."""
    with contextlib.suppress(FlowchanError):
        if (path := shutil.which("redis-server")) and (found := next(usable(Path(path)))).engine.name == "redis":
            return found.path
    return None


@functools.cache
def speaks_tls() -> bool:
    """Whether there is a Redis that was built with TLS: such a one asks for a certificate, and ends."""
    if (program := redis_server()) is None:
        return False
    command = [program, "--port", "0", "--tls-port", "1"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout
    return "Failed to configure TLS" in said
