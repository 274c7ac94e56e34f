"""What an embedded server that runs has to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowchan.broker.embedded import contact, locks
from flowchan.broker.embedded.answer import PROBE
from flowchan.broker.embedded.place import Place, home_errors

if TYPE_CHECKING:
    from flowchan.settings import Settings


@dataclass(frozen=True)
class Figures:
    """How much an embedded server has to do."""

    clients: int
    """Connections of programs; neither the watchdog's nor the one that asked."""
    memory: int
    """Bytes that its data takes in memory."""
    disk: int
    """Bytes that its data takes on disk."""
    uptime: int
    """Seconds since it was started."""


def figures(settings: Settings) -> Figures | None:
    """How much the embedded server of ``settings.home`` has to do; None if it is not there or too busy to say.

    To ask counts as use: its idle time begins anew.
    """
    with home_errors(settings.home):
        place = Place.of(settings.home)
        if not place.is_private() or not locks.held(place.data_lock):
            return None
        try:
            with contact.connect(str(place.socket), PROBE) as connection:
                fields = contact.info(contact.ask(connection, "INFO server clients memory")[0])
        except contact.FAILURES:
            return None
        if "connected_clients" not in fields:
            return None
        others = 1 + locks.held(place.watchdog_lock)
        files = [each for each in (place.data / "appendonlydir").glob("*") if each.is_file()]
        return Figures(
            clients=max(0, int(fields["connected_clients"]) - others),
            memory=int(fields["used_memory"]),
            disk=sum(each.stat().st_size for each in files),
            uptime=int(fields["uptime_in_seconds"]),
        )
