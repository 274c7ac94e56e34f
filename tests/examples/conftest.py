"""What the tests of the examples get: scripts to start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowchan import get_client
from flowchan.run import FlowRun
from tests.cli.program import FLOWCHAN, PATIENCE, Program
from tests.support.waiting import eventually

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    """Starts examples by their file's name, or ``flowchan``; ends those that run when the test is over."""
    started: list[Program] = []

    def start(name: str, *arguments: str, terminal: bool = False) -> Program:
        program = FLOWCHAN if name == "flowchan" else (str(EXAMPLES / name),)
        started.append(Program(*program, *arguments, terminal=terminal))
        return started[-1]

    yield start
    for program in started:
        program.close()


@pytest.fixture
def run_in() -> Callable[..., FlowRun]:
    """Waits until the newest run is in one of these states, and returns it."""
    client: Any = get_client()

    def run_in(*states: str) -> FlowRun:
        def look() -> FlowRun | None:
            return next((run for run in client.read_flow_runs(limit=1) if run.state.type in states), None)

        found = eventually(look, f"a run that is {' or '.join(states)}", PATIENCE)
        assert found is not None
        return found

    return run_in
