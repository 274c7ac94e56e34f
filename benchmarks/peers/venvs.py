"""A virtual environment a peer, with what its requirements pin: made by one command, and thrown away at will."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

_HERE = Path(__file__).parent
REQUIREMENTS = _HERE / "requirements"
FOLDER = _HERE.parent / ".peers"
"""Where they are; git does not look at it."""
_STAMP = "installed.txt"


def plan(peer: str) -> list[list[str]]:
    """The commands that make a peer's environment: from this interpreter, and from nothing."""
    return [
        [sys.executable, "-m", "venv", "--clear", str(FOLDER / peer)],
        [
            # -I: what PYTHONPATH holds is not in that environment.
            *(str(program(peer, "python")), "-I", "-m", "pip", "install", "--disable-pip-version-check"),
            *("--quiet", "--requirement", str(_requirements(peer))),
        ],
    ]


def install(peer: str) -> None:
    """Make a peer's environment, in place of one that there may be.

    Raises:
        SystemExit: a command failed, and has said why.
    """
    for command in plan(peer):
        print("$", *command, flush=True)
        if code := subprocess.run(command, check=False).returncode:
            raise SystemExit(code)
    # Written last, so what is half done does not count.
    _stamp(peer).write_text(_wanted(peer))


def is_installed(peer: str) -> bool:
    """Whether a peer's environment is there, with what is pinned now, for a Python of this version."""
    stamp = _stamp(peer)
    return stamp.exists() and stamp.read_text() == _wanted(peer) and program(peer, "python").exists()


def program(peer: str, name: str) -> Path:
    """A program of a peer's environment."""
    return FOLDER / peer / "bin" / name


def version(peer: str, package: str) -> str:
    """The version of a package in a peer's environment."""
    base = {"base": str(FOLDER / peer), "platbase": str(FOLDER / peer)}
    (found, *_) = metadata.distributions(name=package, path=[sysconfig.get_path("purelib", "venv", base)])
    return found.version


def _requirements(peer: str) -> Path:
    return REQUIREMENTS / f"{peer}.txt"


def _stamp(peer: str) -> Path:
    return FOLDER / peer / _STAMP


def _wanted(peer: str) -> str:
    return f"# Python {sys.version_info.major}.{sys.version_info.minor}\n{_requirements(peer).read_text()}"
