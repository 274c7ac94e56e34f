"""TLS before a server that does not speak it itself, which the wheel's does not; with certificates of the tests' own."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import trustme

from tests.support.server import Server


class Authority:
    """A certificate authority, and what it has signed, as files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.certificate = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.certificate)
        self._count = 0

    def issue(self, *names: str) -> tuple[Path, Path]:
        """A certificate for some names or addresses, and its key."""
        self._count += 1
        certificate, key = self._folder / f"{self._count}.pem", self._folder / f"{self._count}.key"
        issued = self._authority.issue_cert(*names)
        certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return certificate, key


@contextlib.contextmanager
def tls_proxy(server: Server, certificate: Path, key: Path, *, clients: Path | None = None) -> Iterator[int]:
    """Speaks TLS on a port of localhost, before a server; the port.

    With ``clients``, a client must show a certificate that this authority has signed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    ends: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(target: Callable[..., None], *args: object) -> None:
        threads.append(threading.Thread(target=target, args=args, daemon=True))
        threads[-1].start()

    def serve(client: socket.socket) -> None:
        # One thread for both ways: an SSL socket is not for two.
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(str(server.socket))
        try:
            secure = context.wrap_socket(client, server_side=True)
        except (OSError, ssl.SSLError):
            client.close()
            upstream.close()
            return
        ends.extend((secure, upstream))
        with contextlib.suppress(OSError, ssl.SSLError):
            _pass_on(secure, upstream)
        # One end has gone, so the other one is told.
        secure.close()
        upstream.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                start(serve, listener.accept()[0])

    listener = socket.create_server(("127.0.0.1", 0))
    start(accept)
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        for end in ends:
            end.close()


def _pass_on(secure: ssl.SSLSocket, plain: socket.socket) -> None:
    """Pass on what comes from either, until one ends."""
    while True:
        # What is left of a record is not in the socket any more.
        ready = [secure] if secure.pending() else select.select([secure, plain], [], [])[0]
        for source in ready:
            source.settimeout(0.01)  # there may be less than a record
            with contextlib.suppress(TimeoutError):
                data = source.recv(65536)
                if not data:
                    return
                target = plain if source is secure else secure
                target.settimeout(10)
                target.sendall(data)
