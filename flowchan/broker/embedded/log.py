"""The log of a server and its watchdog."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT = 1024 * 1024  # bytes


def size(log: Path) -> int:
    """Bytes that have been written; 0 where there is no log."""
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def turn_over(log: Path) -> None:
    """Put a log that has become long aside, in place of the one before it."""
    if size(log) > _LIMIT:
        log.replace(log.with_suffix(".log.1"))


def tail(log: Path, since: int) -> str:
    """The last lines, for an error: none from before the log had the size ``since``."""
    with log.open("rb") as file:
        file.seek(since if since <= size(log) else 0)
        lines = file.read(_LIMIT).decode(errors="replace").splitlines()
    return "\n".join(line[:300] for line in lines[-15:]) or "(nothing)"
