"""The embedded server of a home: to have it, to see it, to stop it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flowchan.broker.embedded import contact, locks
from flowchan.broker.embedded.answer import attached, probe, process_of
from flowchan.broker.embedded.place import Place, home_errors
from flowchan.errors import BrokerUnavailable

if TYPE_CHECKING:
    from flowchan.broker.embedded.answer import Server
    from flowchan.settings import Settings

_POLL = 0.005


def ensure(settings: Settings) -> Server:
    """The embedded server of ``settings.home``, started if it does not run; it answers when this returns.

    Any number of processes and threads may call this at once; one server is started. From the return on, a
    caller has ``settings.server_idle`` seconds to connect before the server may stop. A server that runs
    keeps the settings that it was started with. Blocks; takes well under a millisecond where a server runs.

    Raises:
        ServerNotFound: there is no server binary; says what to install.
        InvalidSettingError: ``FLOWCHAN_HOME`` or ``FLOWCHAN_SERVER_BIN`` cannot be used.
        BrokerUnavailable: the server does not come up, the data was written by a newer one, or the disk is full.
    """
    with home_errors(settings.home):
        place = Place.of(settings.home)
        server = attached(place)
        if server is None:
            from flowchan.broker.embedded.startup import in_turn  # noqa: PLC0415 - not imported by who finds a server

            server = in_turn(place, settings)
        return server


def running(settings: Settings) -> Server | None:
    """The embedded server of ``settings.home`` if it runs, loading its data or ready; starts nothing."""
    with home_errors(settings.home):
        place = Place.of(settings.home)
        answer = probe(place) if place.is_private() and locks.held(place.data_lock) else None
        return answer.server if answer else None


def stop(settings: Settings, timeout: float = 10.0) -> bool:
    """Stop the embedded server of ``settings.home``, whoever uses it; all that it has stored is on disk then.

    Args:
        settings: whose ``home`` says which server.
        timeout: seconds that this may take.

    Returns:
        Whether there was one.

    Raises:
        BrokerUnavailable: it has not ended within ``timeout``, or refuses to.
    """
    deadline = time.monotonic() + timeout
    with home_errors(settings.home):
        place = Place.of(settings.home)
        if not place.is_private():
            return False
        with locks.stopping(str(place.folder), wait=timeout) as turn:
            if not turn:
                raise BrokerUnavailable(f"Another process starts or stops the embedded server of {place.home}.")
            found = locks.held(place.data_lock)
            if found:
                _shut_down(place, deadline)
            contact.clear(str(place.socket), str(place.folder))
            return found


def _shut_down(place: Place, deadline: float) -> None:
    refusal = ""
    try:
        with contact.connect(str(place.socket), max(0.01, deadline - time.monotonic())) as connection:
            refusal = contact.ask(connection, "SHUTDOWN NOSAVE")[0]
    except contact.FAILURES:
        pass  # gone, or about to go, or not: that is looked at now
    while not refusal and time.monotonic() < deadline:
        # The watchdog too, so that nothing runs on when this returns.
        if not (locks.held(place.data_lock) or locks.held(place.watchdog_lock)):
            return
        time.sleep(_POLL)
    if locks.held(place.data_lock):
        raise BrokerUnavailable(
            f"The embedded server{process_of(place)} did not stop{': ' if refusal else ''}{refusal}."
            f" Its log is {place.log}."
        )
