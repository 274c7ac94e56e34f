"""The embedded server's watchdog: it starts the server, stops it when nobody is left, and ends with it.

Run by :mod:`flowchan.broker.embedded` as ``python -I -S watchdog.py FOLDER SOCKET IDLE [SERVER ARGUMENT...]``:
with a server's command line it starts that server, without one it looks after the server that runs. It is
the standard library only, so that it starts in milliseconds and stays small.

Who may do what is decided by ``flock``, which the kernel gives back when its holder dies, however it dies:

- ``start.lock`` is held while somebody starts or stops a server;
- ``stop.lock`` is held, beside it, by who stops one;
- ``watchdog.lock`` is held by the watchdog as long as it lives;
- ``data.lock`` is held by the server itself (it inherits the open file), so no second one opens its data.

The idle stop cannot take a server away from somebody who has just found it. Who looks for a server connects, and
only then looks whether ``stop.lock`` is held; if it is, he waits for ``start.lock``. The watchdog first takes
``stop.lock`` and only then asks the server whether anyone has connected of late. So whoever has not seen the lock
has been seen by the watchdog, which then does not stop the server.
"""

# ruff: noqa: PTH106, PTH108, PTH116, PTH118, PTH120 - pathlib would double what this has to import
from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import signal
import socket
import sys
import time

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import BinaryIO

START_LOCK = "start.lock"
STOP_LOCK = "stop.lock"
WATCHDOG_LOCK = "watchdog.lock"
DATA_LOCK = "data.lock"
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
"""What a server finds in its environment, whoever starts it."""

_PATIENCE = 5.0  # seconds for a predecessor to leave
_START = 30.0  # seconds in which a server that was started has to open its socket
_STOP = 60.0  # seconds in which a server that was told to stop has to end
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


def ask(connection: socket.socket, *commands: str) -> list[str]:
    """Send commands and read their answers: a status with its ``+`` or ``-``, a text without.

    Raises:
        ConnectionError: the server has gone.
        TimeoutError: it did not answer within the connection's timeout.
    """
    connection.sendall("".join(command + "\r\n" for command in commands).encode())
    with connection.makefile("rb") as stream:
        return [_answer(stream) for _ in commands]


def _answer(stream: BinaryIO) -> str:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("The server has closed the connection.")
    if not line.startswith(b"$"):
        return line[:-2].decode(errors="replace")
    size = int(line[1:])
    text = stream.read(size + 2)
    if len(text) < size + 2:
        raise ConnectionResetError("The server has closed the connection.")
    return text[:-2].decode(errors="replace")


def info(text: str) -> dict[str, str]:
    """The fields of an answer to INFO."""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def clear(address: str, folder: str) -> None:
    """Remove a socket that nobody listens at; its folder too, where that was made for it alone."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)
    if os.path.dirname(address) != folder:
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(address))


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


class Watchdog:
    """The one that looks after the server of a folder."""

    def __init__(self, folder: str, address: str, idle: float) -> None:
        """For the server that listens at ``address``; ``idle`` is in seconds."""
        self.folder = folder
        self.address = address
        self.idle = idle
        self.guard = -1
        self.child = 0

    def run(self, command: list[str]) -> None:
        """Start the server, if told how; return when it has ended."""
        guard = lock(self._path(WATCHDOG_LOCK), wait=_PATIENCE)
        if guard is None:
            log("another watchdog is still there, this one leaves")
            return
        self.guard = guard
        if command and not self._start(command):
            return
        connection = self._connect()
        # Whoever started this waits for the end of this pipe.
        os.dup2(2, 1)
        while connection is not None:
            with connection, contextlib.suppress(ConnectionError):
                self._look_after(connection)
                break
            # The server has ended, or somebody has closed its connections.
            connection = self._connect()
        self._reap(wait=_PATIENCE)

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _start(self, command: list[str]) -> bool:
        data = lock(self._path(DATA_LOCK), wait=_PATIENCE)
        if data is None:
            log("another server holds the data, none is started")
            return False
        try:
            os.write(1, b".")
        except BrokenPipeError:
            return False  # nobody waits for this server any more
        self.child = os.fork()
        if not self.child:
            try:
                # A session of its own: what is sent to the watchdog's group does not reach the server.
                os.setsid()
                lift_limits()
                os.dup2(2, 1)
                os.set_inheritable(data, True)  # noqa: FBT003 - is positional only
                os.execve(command[0], command, ENVIRONMENT)  # noqa: S606 - no shell is what is wanted
            except OSError as error:
                log(f"{command[0]} does not run: {error}")
            finally:
                os._exit(127)
        os.close(data)
        return True

    def _connect(self) -> socket.socket | None:
        """The connection by which the watchdog learns of everything; None if the server has ended or is deaf."""
        deadline = time.monotonic() + _START
        while not self._reap() and (self.child or held(self._path(DATA_LOCK))):
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self.address)
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                connection.close()
            else:
                return connection
            if time.monotonic() > deadline:
                log("the server does not open its socket")
                if self.child:
                    os.kill(self.child, signal.SIGTERM)
                return None
            time.sleep(_POLL)
        return None

    def _look_after(self, connection: socket.socket) -> None:
        socket_file = status_of(self.address)
        pause = min(1.0, max(self.idle / 4, 0.02))
        seen = -1
        quiet_since = time.monotonic()
        while True:
            # Nothing is sent unasked: what can be read here is the end.
            if select.select([connection], [], [], pause)[0]:
                raise ConnectionResetError("The server has ended.")
            if not is_open_at(self.guard, self._path(WATCHDOG_LOCK)):
                self._abandon(connection, socket_file)
                return
            if status_of(self.address) is None:
                log("the socket has been removed, the server is stopped")
                if self._shut_down(connection):
                    return
                continue
            clients, arrivals = census(connection)
            if clients > 1 or arrivals != seen:
                seen = arrivals
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= self.idle and self._retire(connection, seen):
                return

    def _retire(self, connection: socket.socket, seen: int) -> bool:
        """Stop the server unless a client has come; whether it was stopped."""
        with contextlib.suppress(FileNotFoundError), stopping(self.folder) as turn:
            if turn and census(connection) == (1, seen):
                log(f"no client for {self.idle:g} s, the server is stopped")
                if self._shut_down(connection):
                    clear(self.address, self.folder)
                    return True
        return False  # also if somebody deletes the folder: the next look will tell

    def _shut_down(self, connection: socket.socket) -> bool:
        # NOSAVE leaves out a snapshot, which is not used here; the append-only file is written and synced.
        with contextlib.suppress(ConnectionError):
            log(f"the server does not stop: {ask(connection, 'SHUTDOWN NOSAVE')[0]}")
            return False
        deadline = time.monotonic() + _STOP
        while held(self._path(DATA_LOCK)) and time.monotonic() < deadline:
            self._reap()
            time.sleep(_POLL)
        return True

    def _abandon(self, connection: socket.socket, socket_file: os.stat_result | None) -> None:
        """End a server whose folder was deleted."""
        if self.child:
            # Not by SHUTDOWN, which removes the socket by its name: it may be the one of a successor by now.
            os.kill(self.child, signal.SIGKILL)
        else:
            self._shut_down(connection)
        there = status_of(self.address)
        if there and socket_file and os.path.samestat(there, socket_file):
            clear(self.address, self.folder)

    def _reap(self, wait: float = 0.0) -> bool:
        """Whether the server was a child of this process and has ended; it leaves no zombie."""
        deadline = time.monotonic() + wait
        while self.child:
            ended, status = os.waitpid(self.child, os.WNOHANG)
            if ended:
                log(f"server {ended} ended with status {os.waitstatus_to_exitcode(status)}")
                self.child = 0
                return True
            if time.monotonic() >= deadline:
                break
            time.sleep(_POLL)
        return False


def census(connection: socket.socket) -> tuple[int, int]:
    """How many clients there are, and how many have ever come."""
    fields = info(ask(connection, "INFO clients stats")[0])
    if "connected_clients" not in fields:
        return 2, -1  # a server that is too busy for INFO has a client that keeps it so
    return int(fields["connected_clients"]), int(fields["total_connections_received"])


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


def log(text: str) -> None:
    """A line in the server's log."""
    with contextlib.suppress(OSError):
        os.write(2, f"{os.getpid()}:watchdog {time.strftime('%d %b %Y %H:%M:%S')} {text}\n".encode())


def main() -> None:
    """Detach from whoever started this, then be the watchdog."""
    folder, address, idle, *command = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o077)
    os.chdir("/")
    if os.fork():
        os._exit(0)  # waited for by its parent; so the watchdog is nobody's child, and nobody's zombie
    Watchdog(folder, address, float(idle)).run(command)


if __name__ == "__main__":
    main()
