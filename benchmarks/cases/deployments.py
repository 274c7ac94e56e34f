"""From run_deployment to the first line of the flow: on a warm server, and when many are asked for at once."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import figures, times
from benchmarks.environment import environment
from benchmarks.report import Report, Target, progress
from benchmarks.server import Server
from flowchan.deployments import run_deployment
from flowchan.flow_runs import wait_for_flow_run
from flowchan.runner.entry import Entry
from flowchan.runner.process import Process, Setup
from flowchan.settings import current_settings

_PROGRAM = """
import time
from flowchan import flow

@flow
def sync_flow():
    return time.time_ns()

@flow
async def async_flow():
    return time.time_ns()

if __name__ == "__main__":
    import flowchan
    flowchan.serve(sync_flow.to_deployment("it"), async_flow.to_deployment("it"))
"""
_SYNC, _ASYNC, _BURST = "warm, def flow", "warm, async def flow", "ten at once, the last of them"
_COLD, _FLOOR = "a process, until it can be given a run", "python -c pass"
_REST = 1.0
"""Seconds after which a spare process has taken the place of the one that was used."""


def run(*, quick: bool = False) -> list[Report]:
    """Time from run_deployment to the first line of the flow, which another process executes."""
    rounds, bursts = (3, 1) if quick else (30, 5)
    found: dict[str, list[float]] = {what: [] for what in (_SYNC, _ASYNC, _BURST, _COLD, _FLOOR)}
    with Server() as server, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        about = environment(server.name)
        program = Path(folder) / "served.py"
        program.write_text(_PROGRAM)
        with _url(f"unix://{server.socket}"), _served(program), progress() as bar:
            task = bar.add_task("runs", total=rounds + bursts)
            for _ in range(rounds):
                found[_SYNC].append(_first_line("sync-flow/it"))
                found[_ASYNC].append(_first_line("async-flow/it"))
                found[_COLD].append(asyncio.run(_cold(program)))
                found[_FLOOR].append(_floor())
                bar.advance(task)
            for _ in range(bursts):
                found[_BURST].append(_burst("sync-flow/it", 10))
                bar.advance(task)
    report = Report(
        case="deployments",
        title="From run_deployment to the first line of the flow",
        parameters={"rounds": rounds, "bursts": bursts},
        environment=about,
        rows=[times.row(what, milliseconds) for what, milliseconds in found.items()],
        targets=[
            Target(_SYNC, statistics.median(found[_SYNC]), 100, unit="ms"),
            Target(_ASYNC, statistics.median(found[_ASYNC]), 100, unit="ms"),
            Target.of_ratio(f"{_SYNC} / {_FLOOR}", figures.ratio(found[_SYNC], found[_FLOOR])),
            Target.of_ratio(f"{_COLD} / {_FLOOR}", figures.ratio(found[_COLD], found[_FLOOR])),
        ],
        columns=times.COLUMNS,
    )
    return [report]


@contextmanager
def _url(url: str) -> Generator[None]:
    before = os.environ.get("FLOWCHAN_URL")
    os.environ["FLOWCHAN_URL"] = url
    try:
        yield
    finally:
        if before is None:
            del os.environ["FLOWCHAN_URL"]
        else:
            os.environ["FLOWCHAN_URL"] = before


@contextmanager
def _served(program: Path) -> Generator[None]:
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "sync-flow/it" in line:
                    break
            else:
                raise RuntimeError("The program does not serve.")
            yield
        finally:
            process.terminate()


def _first_line(name: str) -> float:
    time.sleep(_REST)
    begun = time.time_ns()
    return (_result(run_deployment(name)) - begun) / 1e6


def _burst(name: str, count: int) -> float:
    time.sleep(_REST)
    begun = time.time_ns()
    runs: Sequence[Any] = [run_deployment(name, timeout=0) for _ in range(count)]
    return (max(_result(wait_for_flow_run(run.id)) for run in runs) - begun) / 1e6


def _result(run: Any) -> int:
    return int(run.state.result())


async def _cold(program: Path) -> float:
    """Milliseconds until a new process has imported the code, and greeted the broker."""
    changed = asyncio.Event()
    setup = Setup(current_settings(), {"it": Entry(str(program), is_file=True, name="sync_flow")})
    begun = time.perf_counter()
    process = Process(asyncio.get_running_loop(), setup, lambda _: changed.set())
    while not process.is_ready:
        await changed.wait()
        changed.clear()
    taken = time.perf_counter() - begun
    process.end()
    while process.exit_code is None:
        await changed.wait()
        changed.clear()
    return taken * 1e3


def _floor() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return (time.perf_counter() - begun) * 1e3
