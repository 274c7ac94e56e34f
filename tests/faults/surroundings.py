"""What a fault needs around it: a server of its own, settings of its own, and no trace of either afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator

from tests.support.bridge import end_of_bridge
from tests.support.proxy import Proxy
from tests.support.server import Server
from tests.support.streams import Streams

RUN = "r"


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Have these ``FLOWCHAN_*`` settings hold within the block, and no others: ``environment(url=…, lease="1")``."""
    before = {name: value for name, value in os.environ.items() if name.startswith("FLOWCHAN_")}
    settings = {"namespace": f"t{secrets.token_hex(6)}", **values}
    try:
        for name in before:
            del os.environ[name]
        os.environ.update({f"FLOWCHAN_{name.upper()}": value for name, value in settings.items()})
        yield
    finally:
        end_of_bridge()
        for name in [name for name in os.environ if name.startswith("FLOWCHAN_")]:
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def own_server(*options: str, tcp: bool = False, append_only: bool = True, **settings: str) -> Iterator[Server]:
    """A server that may be broken, and the settings that lead there; both end with the block."""
    server = Server(*options, tcp=tcp, append_only=append_only)
    try:
        server.start()
        with environment(**{"url": server.url, **settings}):
            yield server
    finally:
        server.close()


@contextlib.contextmanager
def own_proxy(server: Server, *, tcp: bool = False) -> Iterator[Proxy]:
    """A proxy before that server; within the block, what is sent goes through it."""
    proxy = Proxy(server.socket, tcp=tcp)
    url = os.environ["FLOWCHAN_URL"]
    os.environ["FLOWCHAN_URL"] = proxy.url
    try:
        yield proxy
    finally:
        end_of_bridge()
        os.environ["FLOWCHAN_URL"] = url
        proxy.close()


@contextlib.contextmanager
def looking(server: Server) -> Iterator[Streams]:
    """The streams of the present namespace, with plain redis-py."""
    with server.client() as client:
        yield Streams(client, os.environ["FLOWCHAN_NAMESPACE"])
