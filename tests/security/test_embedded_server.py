"""The embedded server is its user's alone."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowchan import sync
from flowchan.broker import embedded
from flowchan.settings import Settings, chosen

STRANGER = """
import os, socket, sys

os.setgroups([])
os.setgid(65534)
os.setuid(65534)
home, deep_socket = sys.argv[1:]
server = os.path.join(home, "embedded")

def attempts():
    yield lambda: os.listdir(server)
    yield lambda: os.listdir(os.path.join(server, "data"))
    yield lambda: os.listdir(os.path.dirname(deep_socket))
    yield lambda: open(os.path.join(server, "server.log"))
    yield lambda: open(os.path.join(server, "start.lock"), "w")
    yield lambda: open(os.path.join(server, "mine"), "w")
    yield lambda: os.rename(server, server + "-mine")
    for path in (os.path.join(server, "server.sock"), deep_socket):
        yield lambda: socket.socket(socket.AF_UNIX).connect(path)

for number, attempt in enumerate(attempts()):
    try:
        attempt()
    except PermissionError:
        continue
    sys.exit(f"attempt {number} went well")
print("Nothing to be had.")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may look into, as people's homes often are; pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="fcs-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def server(folder: Path) -> Iterator[embedded.Server]:
    settings = Settings(home=folder / "home")
    before = os.umask(0)  # as careless as can be
    try:
        (folder / "home").mkdir(mode=0o755)
        with chosen(settings):
            sync.send_input("secret", "r")
        server = embedded.running(settings)
        assert server is not None
        yield server
    finally:
        os.umask(before)
        embedded.stop(settings)


def test_all_that_it_has_is_closed_to_others(server: embedded.Server, folder: Path) -> None:
    own = folder / "home" / "embedded"
    paths = [own, *own.rglob("*")]
    assert server.socket in paths
    assert len(paths) > 6
    open_to_others = {str(path.relative_to(own)): oct(path.lstat().st_mode) for path in paths if _is_open(path)}
    assert open_to_others == {}


def _is_open(path: Path) -> bool:
    mode = path.lstat().st_mode
    return bool(mode & 0o077) or path.lstat().st_uid != os.geteuid() or (stat.S_ISREG(mode) and bool(mode & 0o100))


def test_another_user_gets_nowhere(server: embedded.Server, folder: Path) -> None:
    # Given a second one whose home is so deep that its socket is in /tmp
    deep = Settings(home=folder / ("deep" * 30))
    socket = embedded.ensure(deep).socket
    try:
        assert socket.is_relative_to("/tmp")
        assert stat.S_IMODE(socket.parent.stat().st_mode) == stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
        # Where this user may become another, that one tries; else the modes must do
        if os.geteuid() == 0:
            tried = subprocess.run(
                [sys.executable, "-I", "-c", STRANGER, folder / "home", socket],
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
            assert (tried.stdout, tried.stderr) == ("Nothing to be had.\n", "")
    finally:
        embedded.stop(deep)
