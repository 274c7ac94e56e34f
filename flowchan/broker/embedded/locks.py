"""Who may do what just now: the locks of a server's folder.

They are ``flock``, which the kernel gives back when its holder dies, however it dies:

- ``start.lock`` is held while somebody starts or stops a server;
- ``stop.lock`` is held, beside it, by who stops one;
- ``watchdog.lock`` is held by the watchdog as long as it lives;
- ``data.lock`` is held by the server itself (it inherits the open file), so no second one opens its data.

The idle stop cannot take a server away from somebody who has just found it. Who looks for a server connects, and
only then looks whether ``stop.lock`` is held; if it is, he waits for ``start.lock``. The watchdog first takes
``stop.lock`` and only then asks the server whether anyone has connected of late. So whoever has not seen the lock
has been seen by the watchdog, which then does not stop the server.

The standard library only: the watchdog imports it.
"""

# ruff: noqa: PTH116, PTH118 - pathlib would double what the watchdog has to import
from __future__ import annotations

import contextlib
import fcntl
import os
import time

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from collections.abc import Generator

START_LOCK = "start.lock"
STOP_LOCK = "stop.lock"
WATCHDOG_LOCK = "watchdog.lock"
DATA_LOCK = "data.lock"

_POLL = 0.005


def lock(path: str, wait: float = 0.0) -> int | None:
    """Take a lock; None if others still hold it after ``wait`` seconds. Give it back with :func:`unlock`."""
    deadline = time.monotonic() + wait
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_open_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() >= deadline:
            return None
        time.sleep(_POLL)


def unlock(descriptor: int) -> None:
    """Give a lock back, even if a fork in another thread has taken a copy of the open file along."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def held(path: str) -> bool:
    """Whether somebody holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that those who only look do not see one another.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def is_open_at(descriptor: int, path: str) -> bool:
    """Whether this open file is still the one at that path."""
    there = status_of(path)
    return there is not None and os.path.samestat(os.fstat(descriptor), there)


def status_of(path: str) -> os.stat_result | None:
    """What ``stat`` says of a path; None if nothing is there."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextlib.contextmanager
def stopping(folder: str, wait: float = 0.0) -> Generator[bool]:
    """The turn to stop the server; False if others still have the turn after ``wait`` seconds."""
    deadline = time.monotonic() + wait
    taken: list[int] = []
    try:
        for name in (START_LOCK, STOP_LOCK):
            descriptor = lock(os.path.join(folder, name), max(0.0, deadline - time.monotonic()))
            if descriptor is None:
                break
            taken.append(descriptor)
        yield len(taken) == 2
    finally:
        for descriptor in reversed(taken):
            unlock(descriptor)
