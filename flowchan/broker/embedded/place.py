"""Where the embedded server of a home has its files, and who may see them: its user alone."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from flowchan.broker.embedded import locks
from flowchan.errors import BrokerUnavailable, FlowchanError, InvalidSettingError

if TYPE_CHECKING:
    from collections.abc import Generator

_LONGEST_SOCKET = 103  # bytes of a path that macOS takes for a socket; Linux takes four more
_MACHINE_AT_FAULT = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EAGAIN,
}


class Place(NamedTuple):
    """The files of one server. That it is named does not mean that anything is there."""

    home: Path
    folder: Path
    data: Path
    socket: Path
    log: Path
    start_lock: str
    stop_lock: str
    watchdog_lock: str
    data_lock: str

    @classmethod
    def of(cls, home: Path) -> Self:
        """The place of a home; the same for all who mean one folder, however they spell it."""
        home = Path(os.path.realpath(home.expanduser()))
        folder = home / "embedded"
        address = folder / "server.sock"
        if len(os.fsencode(address)) > _LONGEST_SOCKET:
            name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
            # Not the environment's TMPDIR: processes that do not share it would not meet.
            address = Path(f"/tmp/flowchan-{os.geteuid()}-{name}/server.sock")  # noqa: S108 - checked by _claim
        return cls(
            home,
            folder,
            folder / "data",
            address,
            folder / "server.log",
            str(folder / locks.START_LOCK),
            str(folder / locks.STOP_LOCK),
            str(folder / locks.WATCHDOG_LOCK),
            str(folder / locks.DATA_LOCK),
        )

    def is_private(self) -> bool:
        """Whether the folders are there, this user's, and closed to others."""
        for folder in {self.folder, self.socket.parent}:
            try:
                found = folder.lstat()
            except FileNotFoundError:
                return False
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                return False
        return True

    def prepare(self) -> None:
        """Make the folders that are missing.

        Raises:
            InvalidSettingError: one that is there is not this user's alone.
        """
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _claim(self.folder)
        self.data.mkdir(mode=0o700, exist_ok=True)
        self.prepare_socket()

    def prepare_socket(self) -> None:
        """Make the folder of the socket where that is one of its own; raises as :meth:`prepare` does."""
        if self.socket.parent != self.folder:
            _claim(self.socket.parent)


def _claim(folder: Path) -> None:
    """Make a folder of this user's alone, or make sure that it is one: what is in it will be trusted."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        problem = "is not a folder"
    elif found.st_uid != os.geteuid():
        problem = f"belongs to another user ({found.st_uid})"
    elif found.st_mode & 0o022:
        problem = "can be written by other users"
    else:
        if found.st_mode & 0o077:
            folder.chmod(0o700)
        return
    raise InvalidSettingError(f"{folder} {problem}; remove it, or set FLOWCHAN_HOME to another folder.")


@contextlib.contextmanager
def home_errors(home: Path) -> Generator[None]:
    """Failing calls of the operating system, in words: all of them are about files in the home."""
    try:
        yield
    except FlowchanError:
        raise
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, (FileExistsError, NotADirectoryError)) else error.strerror
        text = f"FLOWCHAN_HOME ({str(home)!r}) cannot be used: {reason}."
        if error.errno in _MACHINE_AT_FAULT:
            raise BrokerUnavailable(text) from error
        raise InvalidSettingError(text) from error
