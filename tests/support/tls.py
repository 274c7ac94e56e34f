"""TLS before servers that do not speak it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.server import Server


def self_signed(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@contextlib.contextmanager
def tls_proxy(server: Server, certificate: Path, key: Path) -> Iterator[tuple[Server, int]]:
    """TLS before a server that does not speak it itself: the wheel's is built without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
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
        secure.settimeout(0.002)
        upstream.settimeout(0.002)
        with contextlib.suppress(OSError, ssl.SSLError):
            while True:
                for source, target in ((secure, upstream), (upstream, secure)):
                    with contextlib.suppress(TimeoutError):
                        data = source.recv(65536)
                        if not data:
                            return
                        target.settimeout(10)
                        target.sendall(data)
                        target.settimeout(0.002)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                start(serve, listener.accept()[0])

    listener = socket.create_server(("127.0.0.1", 0))
    start(accept)
    try:
        yield server, listener.getsockname()[1]
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
