"""What every test gets: a real server, a namespace of its own, and a look at what it left behind."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.bridge import end_of_bridge
from tests.support.proxy import Proxy
from tests.support.server import Server
from tests.support.streams import Streams
from tests.support.waiting import eventually


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The event loop of ``@pytest.mark.anyio`` tests; where both matter, a folder's conftest says so."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """The server of all tests that do not break it."""
    server = Server(append_only=False)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def make_server() -> Iterator[Callable[..., Server]]:
    """Makes servers that belong to one test, append-only by default, and ends them with it."""
    servers: list[Server] = []

    def make(*options: str, **kinds: bool) -> Server:
        servers.append(Server(*options, **kinds))
        return servers[-1].start()

    yield make
    end_of_bridge()
    for server in servers:
        server.close()


@pytest.fixture
def server(make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server for a test that breaks it; what the test sends goes there."""
    own = make_server()
    monkeypatch.setenv("FLOWCHAN_URL", own.url)
    return own


@pytest.fixture(autouse=True)
def namespace(shared_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The settings of a test: the shared server, a new namespace, nothing from the surroundings."""
    for name in list(os.environ):
        if name.startswith("FLOWCHAN_"):
            monkeypatch.delenv(name)
    name = f"t{secrets.token_hex(6)}"
    monkeypatch.setenv("FLOWCHAN_URL", shared_server.url)
    monkeypatch.setenv("FLOWCHAN_NAMESPACE", name)
    # Not made: a test that wants an embedded server names a home of its own.
    monkeypatch.setenv("FLOWCHAN_HOME", str(tmp_path_factory.getbasetemp() / "no-home"))
    return name


@pytest.fixture(scope="session")
def _shared_client(shared_server: Server) -> Iterator[redis.Redis]:
    with shared_server.client() as client:
        yield client


@pytest.fixture
def client(_shared_client: redis.Redis) -> redis.Redis:
    """A plain redis-py client of the shared server, to look at what flowchan does there."""
    return _shared_client


@pytest.fixture
def streams(client: redis.Redis, namespace: str) -> Streams:
    """What the streams of this test hold on the shared server."""
    return Streams(client, namespace)


@pytest.fixture
def make_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Proxy]]:
    """Puts a proxy before a server's socket; what the test sends from then on goes through it."""
    proxies: list[Proxy] = []

    def make(upstream: Path) -> Proxy:
        proxies.append(Proxy(upstream))
        monkeypatch.setenv("FLOWCHAN_URL", proxies[-1].url)
        return proxies[-1]

    yield make
    end_of_bridge()
    for proxy in proxies:
        proxy.close()


@pytest.fixture(autouse=True)
def leaves_nothing_behind(namespace: str, _shared_client: redis.Redis) -> Iterator[None]:
    """Fails a test that leaves a connection, or a key that would be kept for ever."""
    client = _shared_client
    yield
    end_of_bridge()
    eventually(lambda: not connections(client), "the end of the test's connections", 5.0)
    lasting = [key.decode() for key in client.scan_iter(f"{namespace}:*", count=1000) if client.pttl(key) == -1]
    # A block is somebody's settings: it is kept until it is deleted, and must not vanish.
    lasting = [key for key in lasting if ":@block:" not in key]
    client.flushall()
    assert lasting in ([], [f"{namespace}:@about"]), "keys without a time to live"


def connections(client: redis.Redis) -> list[dict[str, str]]:
    """The connections that flowchan has to a server."""
    return [each for each in client.client_list() if each["name"].startswith("flowchan")]
