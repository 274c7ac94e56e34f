"""Handing the append-only file to the disk, from beside the server."""

from __future__ import annotations

import contextlib
import os


class Disk:
    """The append-only files of a folder, and how much of each has reached the disk.

    The server writes each command to its file before it answers and leaves the rest to this. Its own
    ``appendfsync everysec`` would hold a *write* back, too, while a sync is under way, and answer all the
    same: a server that is killed then loses what it had acknowledged.
    """

    def __init__(self, folder: str) -> None:
        """Of the files in ``folder``, which need not be there yet."""
        self._folder = folder
        self._synced: dict[str, int] = {}

    def sync(self) -> list[str]:
        """Have what was appended since the last time reach the disk; the names of the files that grew."""
        grown: list[str] = []
        # A file that the server replaces meanwhile is gone for a good reason.
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._folder):
                with contextlib.suppress(FileNotFoundError):
                    size = entry.stat().st_size
                    if self._synced.get(entry.name) != size:
                        self._sync(entry.path)
                        self._synced[entry.name] = size
                        grown.append(entry.name)
        return grown

    @staticmethod
    def _sync(path: str) -> None:
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
