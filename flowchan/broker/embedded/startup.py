"""Starting what is missing, a server or its watchdog: one process at a time, after whoever is at it just now."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from flowchan.broker.embedded import contact, locks, log, stamp
from flowchan.broker.embedded.answer import PROBE, attached, probe, process_of
from flowchan.broker.embedded.choice import choose
from flowchan.broker.embedded.launch import launched
from flowchan.errors import BrokerUnavailable

if TYPE_CHECKING:
    from flowchan.broker.embedded.answer import Answer, Server
    from flowchan.broker.embedded.binary import Binary
    from flowchan.broker.embedded.launch import Launch
    from flowchan.broker.embedded.place import Place
    from flowchan.settings import Settings

_START = 10.0  # seconds to start, beyond those to connect
_TURN = 0.01  # seconds between two looks while another process starts or stops the server
_POLL = 0.005
_FULL = 1024 * 1024  # bytes; with less, a disk is full


def in_turn(place: Place, settings: Settings) -> Server:
    """The server, started if it still has to be when it is this caller's turn; it answers when this returns.

    Raises:
        OSError: the home cannot be used, or the machine has run out of something.
        FlowchanError: as :func:`flowchan.broker.embedded.ensure` says.
    """
    place.prepare()
    silence = _Silence(settings.connect_timeout + _START)
    while (turn := locks.lock(place.start_lock, wait=_TURN)) is None:
        server = attached(place)
        if server is not None:
            return server
        if silence.ended(probe(place)):
            raise BrokerUnavailable(
                f"Another process has been starting or stopping the embedded server of {place.home}"
                f" for {silence.seconds:g} s. Its log is {place.log}."
            )
    try:
        server = _settled(place, _Silence(settings.connect_timeout))
        if server is None:
            return _start(place, settings)
        if not locks.held(place.watchdog_lock):
            with launched(place, settings, []) as launch:
                launch.wait_for_end(_START)
        return server
    finally:
        locks.unlock(turn)


class _Silence:
    """How long a server may stay silent; one that says that it is busy is not."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until = time.monotonic() + seconds

    def ended(self, answer: Answer | None) -> bool:
        if answer is not None and answer.busy:
            self._until = time.monotonic() + self.seconds
        return time.monotonic() > self._until


def _settled(place: Place, silence: _Silence, launch: Launch | None = None) -> Server | None:
    """The server that holds the data, once it is ready; None when none does, and none is being launched."""
    while True:
        # The data's lock is what counts: what answers without it is the server of a folder that was deleted.
        launching = launch is not None and not launch.ended
        holds = locks.held(place.data_lock)
        if not holds and not launching:
            return None
        answer = probe(place, min(PROBE, silence.seconds)) if holds else None
        if answer and answer.ready:
            return answer.server
        if silence.ended(answer):
            raise BrokerUnavailable(
                f"The embedded server{process_of(place)} holds the data in {place.data}, but has not answered at"
                f" {place.socket} for {silence.seconds:g} s"
                f"{f' (last: {answer.status})' if answer else ''}. Its log is {place.log}."
            )
        if launching and launch is not None:
            launch.wait_for_end(_POLL)
        else:
            time.sleep(_POLL)


def _start(place: Place, settings: Settings) -> Server:
    writer = stamp.read(place.data)
    chosen = choose(place, settings, writer)
    contact.clear(str(place.socket), str(place.folder))
    place.prepare_socket()
    # Before the server writes, so that its data never goes without; taken back if it does not come up.
    stamp.write(place.data, chosen.engine)
    logged = log.size(place.log)
    server = None
    try:
        with launched(place, settings, _command(place, settings, chosen)) as launch:
            server = _settled(place, _Silence(settings.connect_timeout + _START), launch)
    finally:
        if server is None and not locks.held(place.data_lock):
            stamp.write(place.data, writer)
    if server is None:
        raise BrokerUnavailable(
            f"The embedded server did not start ({chosen.engine}, {chosen.path}).{_disk_full(place)}"
            f" The end of its log, {place.log}:\n{log.tail(place.log, logged)}"
        )
    return server


def _command(place: Place, settings: Settings, chosen: Binary) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(place.socket),
        "unixsocketperm": "700",
        "daemonize": "no",
        "pidfile": str(place.folder / "server.pid"),
        "dir": str(place.data),
        "appendonly": "yes",
        # Every second is the watchdog's business; see disk.py for why.
        "appendfsync": "always" if settings.server_fsync == "always" else "no",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [str(chosen.path), *(part for name, value in options.items() for part in (f"--{name}", value))]


def _disk_full(place: Place) -> str:
    disk = os.statvfs(place.data)
    return " FLOWCHAN_HOME is on a disk that is full." if disk.f_bavail * disk.f_frsize < _FULL else ""
