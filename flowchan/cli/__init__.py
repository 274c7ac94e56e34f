"""``flowchan`` on the command line. Each noun has a file of its own, which is imported when its command is given."""

from __future__ import annotations

import os
import sys

from cyclopts import App, CycloptsError

from flowchan import __version__
from flowchan.errors import FlowchanError

app = App(
    name="flowchan",
    help="Typed two-way channels for running code, over Redis Streams.",
    version=__version__,
)
app.command("flowchan.cli.demo:demo")


def main() -> None:
    """Do what the arguments say.

    The exit code is 0 if that went well, 1 if not (standard error says why, in one line where it can), 2 if the
    arguments make no sense, 130 after Ctrl-C, 141 if whoever read the output has left, as ``head`` does.
    """
    try:
        app(exit_on_error=False)
    except CycloptsError:
        sys.exit(2)  # it has said what is wrong
    except FlowchanError as error:
        print(f"flowchan: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # The interpreter flushes standard output once more on its way out, and must not stumble over it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
