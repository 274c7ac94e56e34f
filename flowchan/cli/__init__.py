"""``flowchan`` on the command line: one noun a file, and nothing that a command does not need is imported for it."""

from __future__ import annotations

import os
import sys

from flowchan.errors import FlowchanError


def main() -> None:
    """Do what the arguments say.

    The exit code is 0 if that went well, 1 if not (standard error says why, in one line where it can), 2 if the
    arguments make no sense, 130 after Ctrl-C, 141 if whoever read the output has left, as ``head`` does.
    """
    from cyclopts import CycloptsError  # noqa: PLC0415 - 100 ms, which the demo's other process does not need

    from flowchan.cli.app import app  # noqa: PLC0415

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
