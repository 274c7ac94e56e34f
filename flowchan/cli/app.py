"""The commands of ``flowchan``."""

from __future__ import annotations

import sys

from cyclopts import App, CycloptsError

from flowchan import __version__

# Where each is, for it is imported when it is run, or for the help of all.
_COMMANDS = {
    "broker": "flowchan.cli.broker:app",
    "cancel": "flowchan.cli.cancel:cancel",
    "completion": "flowchan.cli.completion:completion",
    "dead-letters": "flowchan.cli.dead_letters:dead_letters",
    "demo": "flowchan.cli.demo:demo",
    "doctor": "flowchan.cli.doctor:doctor",
    "listen": "flowchan.cli.listen:listen",
    "resume": "flowchan.cli.resume:resume",
    "run": "flowchan.cli.run:run",
    "runs": "flowchan.cli.runs:runs",
    "send": "flowchan.cli.send:send",
    "serve": "flowchan.cli.serve:serve",
    "show": "flowchan.cli.show:show",
}

app = App(
    name="flowchan",
    help="Typed two-way channels for running code, over Redis Streams.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)
for _name, _place in _COMMANDS.items():
    app.command(_place, name=_name)


def run() -> None:
    """Run the command that the arguments name, and exit; with 2 if they name none that there is."""
    if not _COMMANDS.keys() & sys.argv[1:2]:
        for name in _COMMANDS:
            app[name]  # imports it, for what follows is the help of all, or a name to be guessed
    try:
        app(exit_on_error=False)
    except CycloptsError:
        sys.exit(2)  # it has said what is wrong
