"""The tests, in three processes. What fails is run once more by itself; what fails twice has failed.

They start servers, fork, send signals and stop clocks, on machines that do other things meanwhile. Both summaries are
printed, so a test that fails now and then is seen.
"""

from __future__ import annotations

import subprocess
import sys

COMMAND = [sys.executable, "-m", "pytest", "--numprocesses=3", *sys.argv[1:]]
SOME_FAILED = 1


def main() -> int:
    """Run them; the exit code is pytest's."""
    code = subprocess.call(COMMAND)
    if code == SOME_FAILED:
        print("\nOnce more, those that failed:", flush=True)
        code = subprocess.call([*COMMAND, "--last-failed"])
    return code


if __name__ == "__main__":
    sys.exit(main())
