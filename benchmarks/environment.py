"""What the figures were taken on; nothing that tells whose machine it was."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path

_PACKAGES = ("redis", "hiredis", "uvloop", "pydantic", "pydantic-core", "msgpack", "anyio")


def environment(server: str) -> dict[str, str]:
    """Versions, processor and load, by name."""
    kernel = re.match(r"[\d.]*", platform.release())
    return {
        "flowchan": _version("flowchan"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{package: _version(package) for package in _PACKAGES},
        "server": server,
        "processor": f"{_cores()} cores, {_processor()}",
        "kernel": f"{platform.system()} {kernel[0] if kernel else ''}".strip(),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _cores() -> int | None:
    # Those that this process may use, where the system tells.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _version(package: str) -> str:
    if package == "flowchan":
        from flowchan import __version__  # noqa: PLC0415 - it may be a checkout that was never installed

        return __version__
    return metadata.version(package)


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
