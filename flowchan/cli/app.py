"""The commands of ``flowchan``."""

from __future__ import annotations

import sys

from cyclopts import App, CycloptsError

from flowchan import __version__
from flowchan.cli.demo import demo

app = App(
    name="flowchan",
    help="Typed two-way channels for running code, over Redis Streams.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)
app.command(demo)


def run() -> None:
    """Run the command that the arguments name, and exit; with 2 if they name none that there is."""
    try:
        app(exit_on_error=False)
    except CycloptsError:
        sys.exit(2)  # it has said what is wrong
