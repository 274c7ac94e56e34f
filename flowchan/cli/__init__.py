"""``flowchan`` on the command line: one noun a file, and nothing that a command does not need is imported for it."""

from __future__ import annotations

import os
import sys

from flowchan.errors import FlowchanError


def main() -> None:
    """Do what the arguments say.

    The exit code is 0 if that went well, 1 if not (standard error says why, unless it is that whoever read the output
    has left, as ``head`` does), 2 if the arguments make no sense, 130 after Ctrl-C.
    """
    try:
        from flowchan.cli.app import run  # noqa: PLC0415 - 100 ms for cyclopts, which the demo's other process saves

        run()
    except FlowchanError as error:
        print(f"flowchan: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # behind the terminal's ^C
        sys.exit(130)
    except BrokenPipeError:
        # The interpreter flushes standard output once more on its way out, and must not stumble over it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
