"""The commands of ``flowchan``."""

from __future__ import annotations

from cyclopts import App

from flowchan import __version__
from flowchan.cli.demo import demo

app = App(
    name="flowchan",
    help="Typed two-way channels for running code, over Redis Streams.",
    version=__version__,
)
app.command(demo)
