"""What connections are had from: a server, or the way to one slot of a Cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from flowchan.broker.connection import Connection
from flowchan.errors import FlowchanError
from flowchan.settings import Settings

Ready = Callable[[Connection | FlowchanError], None]
"""Takes a connection, or why there is none."""


class Opener(Protocol):
    """Opens connections for one event loop, and knows whether there is somebody to connect to."""

    @property
    def settings(self) -> Settings:
        """Where to, and how long to wait."""
        ...

    @property
    def name(self) -> str:
        """For messages to a person: never with a user or a password."""
        ...

    @property
    def trouble(self) -> FlowchanError | None:
        """Why there is nobody at present; None while there is."""
        ...

    def open(self, ready: Ready) -> None:
        """Open a connection and hand it to ``ready``, in a later turn of the loop."""
        ...
