"""Payloads, passwords and secrets: in no log, at whatever level, in no error, traceback or repr."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from flowchan.deployments import run_deployment
from tests.cli.program import Program
from tests.support.server import Server
from tests.support.tls import Authority, tls_proxy

SECRET = b"CANARY, of thirty-two bytes or so"
KEYS = f"k1:{base64.b64encode(SECRET).decode()}"
PROGRAM = Path(__file__).with_name("canaries.py")


@pytest.mark.parametrize("mode", ["signed", "unsigned", "debugging"])
def test_a_program_that_meets_every_trouble_tells_nothing(
    mode: str, make_server: Callable[..., Server], tmp_path: Path
) -> None:
    server, other = make_server(), make_server(tcp=True)
    with other.client() as client:
        client.config_set("requirepass", "another")
    with tls_proxy(make_server(), *Authority(tmp_path).issue("broker.example")) as port:
        environment = {
            **os.environ,
            "FLOWCHAN_URL": f"unix://default:CANARY-password@{server.socket}",
            "FLOWCHAN_SEND_TIMEOUT": "1",
            "CANARY_RAW": server.url,
            "CANARY_KEYS": KEYS,
            "CANARY_TCP": f"redis://127.0.0.1:{other.port}",
            "CANARY_TLS": f"rediss://localhost:{port}?ssl_ca_certs={tmp_path}/ca.pem",
            "CANARY_PID": str(server.pid),
            "CANARY_FOLDER": str(tmp_path),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)]),
        }
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "default", ">CANARY-password")
            client.execute_command("ACL", "SETUSER", "default", "nopass")
        if mode != "unsigned":
            environment["FLOWCHAN_SIGNING_KEYS"] = KEYS
        ran = subprocess.run(
            [sys.executable, *(["-X", "dev"] if mode == "debugging" else []), PROGRAM],
            env=environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    assert "It has ended." in ran.stdout
    told = ran.stdout + ran.stderr
    for tell in ("CANARY", KEYS.partition(":")[2], SECRET.hex(), repr(SECRET)[2:20]):
        # Python shows lines of this very program in tracebacks; they hold the word, not what it stands for
        lines = [line for line in told.splitlines() if tell in line and not re.match(r"^    ", line)]
        assert lines == []


SERVED = """
import logging, sys
from pydantic import BaseModel
from flowchan import flow

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)

class Order(BaseModel):
    size: int

@flow
def take(order: Order, note: str = ""):
    if note:
        raise OSError("on purpose")

if __name__ == "__main__":
    take.serve(name="it")
"""


def test_neither_a_server_nor_its_processes_tell_anything(
    make_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "teller", "on", ">CANARY-password", "~*", "+@all")
    monkeypatch.setenv("FLOWCHAN_URL", f"unix://teller:CANARY-password@{server.socket}")
    monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", KEYS)
    path = tmp_path / "served.py"
    path.write_text(SERVED)
    program = Program(str(path))
    try:
        program.says("$ flowchan run")
        commands = [word for each in (psutil.Process(program.pid), *program.children()) for word in each.cmdline()]
        for given in ({"order": {"size": "CANARY"}}, {"order": {"size": 1}, "note": "CANARY"}, {"order": {"size": 1}}):
            run: Any = run_deployment("take/it", given, timeout=20)
            assert "CANARY" not in f"{run!r} {run.state}"
        assert run.state.is_completed()
    finally:
        program.close()
    for tell in ("CANARY", KEYS.partition(":")[2]):
        assert tell not in program.screen
        assert tell not in " ".join(commands)
