"""startup, before the first message: what an import takes, and what the embedded server takes to be there."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import figures, times
from benchmarks.environment import environment
from benchmarks.report import Report, Target, progress
from flowchan.broker import embedded
from flowchan.broker.embedded import binary
from flowchan.settings import Settings, current_settings

_BARE, _NAMES, _THEIRS = "import flowchan", "from flowchan import *", "import pydantic, redis.asyncio"
"""The package fetches a name when it is first used, so the bare import alone would measure next to nothing:
what is compared is a program that has all public names in hand."""
_STATEMENTS = (_BARE, _NAMES, _THEIRS)
_COLD, _ATTACH = "embedded server: cold start", "embedded server: attach"


def run(*, quick: bool = False) -> list[Report]:
    imports, starts = (3, 2) if quick else (25, 10)
    about = environment(str(next(binary.usable(current_settings().server_bin)).engine))
    found: dict[str, list[float]] = {what: [] for what in (*_STATEMENTS, _COLD, _ATTACH)}
    with progress() as bar:
        task = bar.add_task("imports", total=imports + starts)
        for statement in _STATEMENTS:
            _import_time(statement)  # writes what is compiled, if that was missing
        for _ in range(imports):
            for statement in _STATEMENTS:
                found[statement].append(_import_time(statement))
            bar.advance(task)
        bar.update(task, description="embedded server")
        for _ in range(starts):
            cold, attach = _embedded_times()
            found[_COLD].append(cold)
            found[_ATTACH].append(attach)
            bar.advance(task)
    return [
        Report(
            case="startup",
            title="startup: before the first message",
            parameters={"imports": imports, "starts": starts},
            environment=about,
            rows=[times.row(what, milliseconds) for what, milliseconds in found.items()],
            targets=[
                Target.of_ratio(f"{_NAMES} / {_THEIRS}", figures.ratio(found[_NAMES], found[_THEIRS]), 1.5),
                Target.of_ratio(f"{_BARE} / {_THEIRS} (defers its work)", figures.ratio(found[_BARE], found[_THEIRS])),
                Target(_COLD, statistics.median(found[_COLD]), 500, unit="ms"),
                Target(_ATTACH, statistics.median(found[_ATTACH]), 20, unit="ms"),
            ],
            columns=times.COLUMNS,
        )
    ]


def _import_time(statement: str) -> float:
    program = f"import time; begun = time.perf_counter(); {statement}; print(time.perf_counter() - begun)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(ended.stdout) * 1e3


def _embedded_times() -> tuple[float, float]:
    """Milliseconds to start a server in a fresh home, and then to find it running."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(home=Path(folder), server_bin=current_settings().server_bin)
        try:
            return _milliseconds(lambda: embedded.ensure(settings)), _milliseconds(lambda: embedded.ensure(settings))
        finally:
            embedded.stop(settings)


def _milliseconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1e3
