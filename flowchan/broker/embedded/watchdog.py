"""The embedded server's watchdog: it starts the server, syncs its file, stops it when nobody is left, and ends with it.

Run by ``launch`` as ``python -I -S -B watchdog.py FOLDER SOCKET IDLE FILES [SERVER ARGUMENT...]``: with a server's
command line it starts that server, without one it looks after the server that runs. ``FILES`` is the folder of the
files to sync, or empty. It is the standard library and its siblings ``contact``, ``disk``, ``environment`` and
``locks`` only, so that it starts in milliseconds and stays small.
"""

# ruff: noqa: PTH118, PTH120 - pathlib would double what this has to import
from __future__ import annotations

import _thread
import contextlib
import os
import select
import signal
import socket
import sys
import time

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING or __package__:
    from flowchan.broker.embedded import contact, disk, environment, locks
else:
    # Run by its path, this knows no flowchan. The siblings come last, so that they hide nothing of Python's own.
    sys.path.append(os.path.dirname(__file__))
    import contact
    import disk
    import environment
    import locks

_PATIENCE = 5.0  # seconds for a predecessor to leave
_START = 30.0  # seconds in which a server that was started has to open its socket
_STOP = 60.0  # seconds in which a server that was told to stop has to end
_POLL = 0.005
_SYNC = 1.0  # seconds from one sync of the files to the next


class Watchdog:
    """The one that looks after the server of a folder."""

    def __init__(self, folder: str, address: str, idle: float, files: str) -> None:
        """For the server that listens at ``address``; ``idle`` is in seconds; ``files`` are to be synced."""
        self.folder = folder
        self.address = address
        self.idle = idle
        self.disk = disk.Disk(files) if files else None
        self.guard = -1
        self.child = 0

    def run(self, command: list[str]) -> None:
        """Start the server, if told how; return when it has ended."""
        guard = locks.lock(self._path(locks.WATCHDOG_LOCK), wait=_PATIENCE)
        if guard is None:
            log("another watchdog is still there, this one leaves")
            return
        self.guard = guard
        if command and not self._start(command):
            return
        connection = self._connect()
        if self.disk is not None:
            # Beside the rest: a disk that is slow must not keep this from seeing that the server is to end.
            _thread.start_new_thread(self._sync, (self.disk,))
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
        data = locks.lock(self._path(locks.DATA_LOCK), wait=_PATIENCE)
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
                environment.lift_limits()
                os.dup2(2, 1)
                os.set_inheritable(data, True)  # noqa: FBT003 - is positional only
                os.execve(command[0], command, environment.VARIABLES)  # noqa: S606 - no shell is what is wanted
            except OSError as error:
                log(f"{command[0]} does not run: {error}")
            finally:
                os._exit(127)
        os.close(data)
        return True

    def _connect(self) -> socket.socket | None:
        """The connection by which the watchdog learns of everything; None if the server has ended or is deaf."""
        deadline = time.monotonic() + _START
        while not self._reap() and (self.child or locks.held(self._path(locks.DATA_LOCK))):
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self.address)
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                connection.close()
            else:
                return connection
            if not locks.is_open_at(self.guard, self._path(locks.WATCHDOG_LOCK)):
                # The folder was deleted: nobody will find this server.
                if self.child:
                    os.kill(self.child, signal.SIGKILL)
                return None
            if time.monotonic() > deadline:
                log("the server does not open its socket")
                if self.child:
                    os.kill(self.child, signal.SIGTERM)
                return None
            time.sleep(_POLL)
        return None

    def _look_after(self, connection: socket.socket) -> None:
        socket_file = locks.status_of(self.address)
        pause = min(1.0, max(self.idle / 4, 0.02))
        seen = -1
        quiet_since = time.monotonic()
        while True:
            # Nothing is sent unasked: what can be read here is the end.
            if select.select([connection], [], [], pause)[0]:
                raise ConnectionResetError("The server has ended.")
            if not locks.is_open_at(self.guard, self._path(locks.WATCHDOG_LOCK)):
                self._abandon(connection, socket_file)
                return
            if locks.status_of(self.address) is None:
                log("the socket has been removed, the server is stopped")
                if self._shut_down(connection):
                    return
                continue
            clients, arrivals = contact.census(connection)
            if clients > 1 or arrivals != seen:
                seen = arrivals
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= self.idle and self._retire(connection, seen):
                return

    def _sync(self, files: disk.Disk) -> None:
        while True:
            with contextlib.suppress(OSError):  # a disk that fails is the server's to report
                files.sync()
            time.sleep(_SYNC)

    def _retire(self, connection: socket.socket, seen: int) -> bool:
        """Stop the server unless a client has come; whether it was stopped."""
        with contextlib.suppress(FileNotFoundError), locks.stopping(self.folder) as turn:
            if turn and contact.census(connection) == (1, seen):
                log(f"no client for {self.idle:g} s, the server is stopped")
                if self._shut_down(connection):
                    contact.clear(self.address, self.folder)
                    return True
        return False  # also if somebody deletes the folder: the next look will tell

    def _shut_down(self, connection: socket.socket) -> bool:
        # NOSAVE leaves out a snapshot, which is not used here; the append-only file is written and synced.
        with contextlib.suppress(ConnectionError):
            log(f"the server does not stop: {contact.ask(connection, 'SHUTDOWN NOSAVE')[0]}")
            return False
        deadline = time.monotonic() + _STOP
        while locks.held(self._path(locks.DATA_LOCK)) and time.monotonic() < deadline:
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
        there = locks.status_of(self.address)
        if there and socket_file and os.path.samestat(there, socket_file):
            contact.clear(self.address, self.folder)

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


def log(text: str) -> None:
    """A line in the server's log."""
    with contextlib.suppress(OSError):
        os.write(2, f"{os.getpid()}:watchdog {time.strftime('%d %b %Y %H:%M:%S')} {text}\n".encode())


def main() -> None:
    """Detach from whoever started this, then be the watchdog."""
    folder, address, idle, files, *command = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o077)
    os.chdir("/")
    if os.fork():
        os._exit(0)  # waited for by its parent; so the watchdog is nobody's child, and nobody's zombie
    Watchdog(folder, address, float(idle), files).run(command)


if __name__ == "__main__":
    main()
