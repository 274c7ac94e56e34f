"""What an embedded server that runs says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flowchan.broker.embedded import contact, locks

if TYPE_CHECKING:
    from flowchan.broker.embedded.place import Place

PROBE = 1.0
"""Seconds for an answer to PING."""


@dataclass(frozen=True)
class Server:
    """An embedded server that runs."""

    socket: Path
    """Where it listens."""
    pid: int
    engine: str
    """``valkey`` or ``redis``."""
    version: str
    data: Path
    """The folder of its append-only file."""


class Answer(NamedTuple):
    """What was said: ``status`` is the answer to PING, ``server`` is None as long as it is too busy to say more."""

    server: Server | None
    status: str

    @property
    def ready(self) -> bool:
        """Whether it takes commands."""
        return self.server is not None and self.status == "+PONG"

    @property
    def busy(self) -> bool:
        """Whether it will take commands later."""
        return self.status.startswith(("-LOADING", "-BUSY"))


def probe(place: Place, timeout: float = PROBE) -> Answer | None:
    """What the server says of itself; None if there is none, or none that answers in time."""
    try:
        with contact.connect(str(place.socket), timeout) as connection:
            status, text = contact.ask(connection, "PING", "INFO server")
    except contact.FAILURES:
        return None
    fields = contact.info(text)
    if "process_id" not in fields:
        return Answer(None, status)
    engine = "valkey" if "valkey_version" in fields else "redis"
    version = fields[f"{engine}_version"]
    return Answer(Server(place.socket, int(fields["process_id"]), engine, version, place.data), status)


def attached(place: Place) -> Server | None:
    """The server if it runs, is ready and looked after: no lock is taken to know, and no process started."""
    if place.is_private() and locks.held(place.watchdog_lock) and locks.held(place.data_lock):
        answer = probe(place)
        # In this order: see the locks, the watchdog asks in the other.
        if answer and answer.ready and not locks.held(place.stop_lock):
            return answer.server
    return None


def process_of(place: Place) -> str:
    """The process of a server that may not answer, as an error tells it; empty if that cannot be known."""
    try:
        return f" (process {int((place.folder / 'server.pid').read_text())})"
    except (OSError, ValueError):
        return ""
