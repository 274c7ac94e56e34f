"""What a server finds around it, whoever starts it: variables and limits.

The standard library only: the watchdog imports it.
"""

from __future__ import annotations

import contextlib
import os
import resource

VARIABLES = {"PATH": os.defpath, "LC_ALL": "C"}
"""All of its environment variables."""


def lift_limits() -> None:
    """Raise the limits of the shell that this was started from, which were not meant for a server."""
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_AS):
        with contextlib.suppress(ValueError, OSError):
            most = resource.getrlimit(limit)[1]
            resource.setrlimit(limit, (most, most))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for files in (most, 65536, 10240):  # macOS may say "unlimited" and refuse it
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
            break
