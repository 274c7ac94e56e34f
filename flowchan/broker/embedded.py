"""The embedded server: one private Valkey or Redis per user and home, shared by all of the user's processes.

It is found or started on demand, keeps its data in ``FLOWCHAN_HOME``, and is stopped by its watchdog
(:mod:`flowchan.broker.watchdog`, which also says what the locks are for) when no client is left.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import select
import socket
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flowchan.broker import binary, watchdog
from flowchan.errors import BrokerUnavailable, FlowchanError, InvalidSettingError

if TYPE_CHECKING:
    from collections.abc import Generator

    from flowchan.settings import Settings

_LONGEST_SOCKET = 103  # bytes of a path that macOS takes for a socket; Linux takes four more
_START = 10.0  # seconds to start, beyond those to connect
_TURN = 0.01  # seconds between two looks while another process starts or stops the server
_POLL = 0.005
_PROBE = 1.0  # seconds for an answer to PING
_LOG_LIMIT = 1024 * 1024  # bytes
_LOADER = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
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


@dataclass(frozen=True)
class Server:
    """An embedded server that runs."""

    socket: Path
    """Where it listens."""
    pid: int
    engine: str
    """``valkey`` or ``redis``."""
    version: str
    data: Path
    """The folder of its append-only file."""


def ensure(settings: Settings) -> Server:
    """The embedded server of ``settings.home``, started if it does not run; it answers when this returns.

    Any number of processes and threads may call this at once; one server is started. From the return on, a
    caller has ``settings.server_idle`` seconds to connect before the server may stop. A server that runs
    keeps the settings that it was started with. Blocks; takes well under a millisecond where a server runs.

    Raises:
        ServerNotFound: there is no server binary; says what to install.
        InvalidSettingError: ``FLOWCHAN_HOME`` or ``FLOWCHAN_SERVER_BIN`` cannot be used.
        BrokerUnavailable: the server does not come up, the data was written by a newer one, or the disk is full.
    """
    with _home_errors(settings.home):
        place = _place(settings.home)
        return _attached(place) or _in_turn(place, settings)


def running(settings: Settings) -> Server | None:
    """The embedded server of ``settings.home`` if it runs, loading its data or ready; starts nothing."""
    with _home_errors(settings.home):
        place = _place(settings.home)
        answer = _probe(place, _PROBE) if _all_private(place) and watchdog.held(place.data_lock) else None
        return answer.server if answer else None


def stop(settings: Settings, timeout: float = 10.0) -> bool:
    """Stop the embedded server of ``settings.home``, whoever uses it; all that it has stored is on disk then.

    Args:
        settings: whose ``home`` says which server.
        timeout: seconds that this may take.

    Returns:
        Whether there was one.

    Raises:
        BrokerUnavailable: it has not ended within ``timeout``, or refuses to.
    """
    deadline = time.monotonic() + timeout
    with _home_errors(settings.home):
        place = _place(settings.home)
        if not _all_private(place):
            return False
        with watchdog.stopping(str(place.folder), wait=timeout) as turn:
            if not turn:
                raise BrokerUnavailable(f"Another process starts or stops the embedded server of {place.home}.")
            found = watchdog.held(place.data_lock)
            if found:
                _shut_down(place, deadline)
            watchdog.clear(str(place.socket), str(place.folder))
            return found


class _Place(NamedTuple):
    home: Path
    folder: Path
    data: Path
    socket: Path
    log: Path
    start_lock: str
    stop_lock: str
    watchdog_lock: str
    data_lock: str


class _Answer(NamedTuple):
    server: Server | None
    status: str

    @property
    def ready(self) -> bool:
        return self.server is not None and self.status == "+PONG"

    @property
    def busy(self) -> bool:
        return self.status.startswith(("-LOADING", "-BUSY"))


class _Silence:
    """How long a server may stay silent; one that says that it is busy is not."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until = time.monotonic() + seconds

    def ended(self, answer: _Answer | None) -> bool:
        if answer is not None and answer.busy:
            self._until = time.monotonic() + self.seconds
        return time.monotonic() > self._until


def _place(home: Path) -> _Place:
    # Resolved, so that all who mean one folder agree on the socket, however they spell it.
    home = Path(os.path.realpath(home.expanduser()))
    folder = home / "embedded"
    address = folder / "server.sock"
    if len(os.fsencode(address)) > _LONGEST_SOCKET:
        name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
        # Not the environment's TMPDIR: processes that do not share it would not meet.
        address = Path(f"/tmp/flowchan-{os.geteuid()}-{name}/server.sock")  # noqa: S108 - checked by _claim
    return _Place(
        home,
        folder,
        folder / "data",
        address,
        folder / "server.log",
        str(folder / watchdog.START_LOCK),
        str(folder / watchdog.STOP_LOCK),
        str(folder / watchdog.WATCHDOG_LOCK),
        str(folder / watchdog.DATA_LOCK),
    )


def _attached(place: _Place) -> Server | None:
    """The server if it runs, is ready and looked after: no lock is taken to know, and no process started."""
    if _all_private(place) and watchdog.held(place.watchdog_lock) and watchdog.held(place.data_lock):
        answer = _probe(place, _PROBE)
        # In this order: see the watchdog, which asks in the other.
        if answer and answer.ready and not watchdog.held(place.stop_lock):
            return answer.server
    return None


def _in_turn(place: _Place, settings: Settings) -> Server:
    """Start what is missing, after whoever is starting or stopping just now."""
    _prepare(place)
    silence = _Silence(settings.connect_timeout + _START)
    while (turn := watchdog.lock(place.start_lock, wait=_TURN)) is None:
        server = _attached(place)
        if server is not None:
            return server
        if silence.ended(_probe(place, _PROBE)):
            raise BrokerUnavailable(
                f"Another process has been starting or stopping the embedded server of {place.home}"
                f" for {silence.seconds:g} s. Its log is {place.log}."
            )
    try:
        server = _settled(place, _Silence(settings.connect_timeout))
        if server is None:
            return _start(place, settings)
        if not watchdog.held(place.watchdog_lock):
            with _launch(place, settings, []) as launch:
                launch.wait_for_end(_START)
        return server
    finally:
        watchdog.unlock(turn)


def _settled(place: _Place, silence: _Silence, launch: _Launch | None = None) -> Server | None:
    """The server that holds the data, once it is ready; None when none does, and none is being launched."""
    while True:
        # The data's lock is what counts: what answers without it is the server of a folder that was deleted.
        launching = launch is not None and not launch.ended
        holds = watchdog.held(place.data_lock)
        if not holds and not launching:
            return None
        answer = _probe(place, min(_PROBE, silence.seconds)) if holds else None
        if answer and answer.ready:
            return answer.server
        if silence.ended(answer):
            raise BrokerUnavailable(
                f"The embedded server{_process_of(place)} holds the data in {place.data}, but has not answered at"
                f" {place.socket} for {silence.seconds:g} s"
                f"{f' (last: {answer.status})' if answer else ''}. Its log is {place.log}."
            )
        if launching and launch is not None:
            launch.wait_for_end(_POLL)
        else:
            time.sleep(_POLL)


def _start(place: _Place, settings: Settings) -> Server:
    stamp = place.data / "engine.json"
    writer = _writer(stamp)
    chosen = _choose(place, settings, writer)
    watchdog.clear(str(place.socket), str(place.folder))
    if place.socket.parent != place.folder:
        _claim(place.socket.parent)
    # Before the server writes, so that its data never goes without; taken back if it does not come up.
    _write_stamp(stamp, chosen.engine)
    logged = _log_size(place)
    server = None
    try:
        with _launch(place, settings, _command(place, settings, chosen)) as launch:
            server = _settled(place, _Silence(settings.connect_timeout + _START), launch)
    finally:
        if server is None and not watchdog.held(place.data_lock):
            _write_stamp(stamp, writer)
    if server is None:
        raise BrokerUnavailable(
            f"The embedded server did not start ({chosen.engine}, {chosen.path}).{_disk_full(place)}"
            f" The end of its log, {place.log}:\n{_log_tail(place, logged)}"
        )
    return server


def _choose(place: _Place, settings: Settings, writer: binary.Engine | None) -> binary.Binary:
    """The first server that can read the data."""
    refused: list[str] = []
    for found in binary.usable(settings.server_bin):
        if writer is None or found.engine.reads(writer):
            return found
        refused.append(f"{found.engine} ({found.path})")
    raise BrokerUnavailable(
        f"The data in {place.data} was written by {writer}, which the server found here cannot read:"
        f" {', '.join(refused)}. Needed is {writer.readers() if writer else ''}: put it on PATH, or set"
        " FLOWCHAN_SERVER_BIN to it; or set FLOWCHAN_HOME to another folder. The data was not touched."
    )


def _command(place: _Place, settings: Settings, chosen: binary.Binary) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(place.socket),
        "unixsocketperm": "700",
        "daemonize": "no",
        "pidfile": str(place.folder / "server.pid"),
        "dir": str(place.data),
        "appendonly": "yes",
        "appendfsync": settings.server_fsync,
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [str(chosen.path), *(part for name, value in options.items() for part in (f"--{name}", value))]


class _Launch:
    """A watchdog on its way: the pipe ends when it has reached the server, or has given up."""

    def __init__(self, pipe: int) -> None:
        self.ended = False
        self._pipe = pipe
        # Not select(), which cannot look at the descriptors of a process with more than 1024.
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)

    def wait_for_end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.ended and self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            self.ended = not os.read(self._pipe, 64)


@contextlib.contextmanager
def _launch(place: _Place, settings: Settings, command: list[str]) -> Generator[_Launch]:
    if not sys.executable or getattr(sys, "frozen", False):
        # There is no Python that could run the watchdog; a frozen program would run itself.
        raise BrokerUnavailable(
            "An embedded server needs a Python interpreter: set FLOWCHAN_URL to a server that runs."
        )
    arguments = [str(place.folder), str(place.socket), repr(settings.server_idle), *command]
    # The loader's variables are what this interpreter may need to run; the server does not get them.
    environment = watchdog.ENVIRONMENT | {name: os.environ[name] for name in _LOADER if name in os.environ}
    if _log_size(place) > _LOG_LIMIT:
        place.log.replace(place.log.with_suffix(".log.1"))
    with place.log.open("ab") as log:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", watchdog.__file__, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise BrokerUnavailable(f"The watchdog does not run with {sys.executable}: {error}") from None
    assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
    with process.stdout:
        try:
            process.wait(_START)  # it detaches at once
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        yield _Launch(process.stdout.fileno())


def _shut_down(place: _Place, deadline: float) -> None:
    refusal = ""
    try:
        with _connected(place, max(0.01, deadline - time.monotonic())) as connection:
            refusal = watchdog.ask(connection, "SHUTDOWN NOSAVE")[0]
    except (FileNotFoundError, ConnectionError, TimeoutError, BlockingIOError):
        pass  # gone, or about to go, or not: that is looked at now
    while not refusal and time.monotonic() < deadline:
        # The watchdog too, so that nothing runs on when this returns.
        if not (watchdog.held(place.data_lock) or watchdog.held(place.watchdog_lock)):
            return
        time.sleep(_POLL)
    if watchdog.held(place.data_lock):
        raise BrokerUnavailable(
            f"The embedded server{_process_of(place)} did not stop{': ' if refusal else ''}{refusal}."
            f" Its log is {place.log}."
        )


def _connected(place: _Place, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(str(place.socket))
    except BaseException:
        connection.close()
        raise
    return connection


def _probe(place: _Place, timeout: float) -> _Answer | None:
    """What the server says of itself; None if there is none, or none that answers in time."""
    try:
        with _connected(place, timeout) as connection:
            status, text = watchdog.ask(connection, "PING", "INFO server")
    except (FileNotFoundError, ConnectionError, TimeoutError, BlockingIOError):
        return None
    fields = watchdog.info(text)
    if "process_id" not in fields:
        return _Answer(None, status)
    engine = "valkey" if "valkey_version" in fields else "redis"
    version = fields[f"{engine}_version"]
    return _Answer(Server(place.socket, int(fields["process_id"]), engine, version, place.data), status)


def _all_private(place: _Place) -> bool:
    """Whether the folders are there, this user's, and closed to others."""
    for folder in {place.folder, place.socket.parent}:
        try:
            found = folder.lstat()
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            return False
    return True


def _prepare(place: _Place) -> None:
    place.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    _claim(place.folder)
    place.data.mkdir(mode=0o700, exist_ok=True)
    if place.socket.parent != place.folder:
        _claim(place.socket.parent)


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


def _writer(stamp: Path) -> binary.Engine | None:
    """Who wrote the data, as far as the stamp tells."""
    try:
        read = json.loads(stamp.read_text())
        engine = binary.Engine(str(read["engine"]), str(read["version"]))
        _ = engine.release
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # the server itself refuses what it cannot read
    return engine


def _write_stamp(stamp: Path, engine: binary.Engine | None) -> None:
    if engine is None:
        stamp.unlink(missing_ok=True)
        return
    new = stamp.with_suffix(".new")
    new.write_text(json.dumps({"engine": engine.name, "version": engine.version}) + "\n")
    new.replace(stamp)


def _process_of(place: _Place) -> str:
    try:
        return f" (process {int((place.folder / 'server.pid').read_text())})"
    except (OSError, ValueError):
        return ""


def _log_size(place: _Place) -> int:
    try:
        return place.log.stat().st_size
    except FileNotFoundError:
        return 0


def _log_tail(place: _Place, since: int) -> str:
    with place.log.open("rb") as log:
        log.seek(since if since <= _log_size(place) else 0)
        lines = log.read(_LOG_LIMIT).decode(errors="replace").splitlines()
    return "\n".join(line[:300] for line in lines[-15:]) or "(nothing)"


def _disk_full(place: _Place) -> str:
    disk = os.statvfs(place.data)
    return " FLOWCHAN_HOME is on a disk that is full." if disk.f_bavail * disk.f_frsize < _LOG_LIMIT else ""


@contextlib.contextmanager
def _home_errors(home: Path) -> Generator[None]:
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
