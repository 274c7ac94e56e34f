"""What the tests of the samples get: programs that run them, and a look at their runs from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowchan import get_client
from tests.cli.program import Program
from tests.guide import samples
from tests.support.waiting import eventually

# pydantic 2 warns of the validators of pydantic 1, which one of the documents has.
STRICT = ("-W", "error", "-W", "ignore::DeprecationWarning")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts a program from its text, or a file as it is; ends those that run when the test is over."""
    started: list[Program] = []

    def start(program: str | Path, *arguments: str, terminal: bool = False) -> Program:
        if isinstance(program, str):
            path = tmp_path / f"program_{len(started)}.py"
            path.write_text(program)
        else:
            path = program
        started.append(Program(*STRICT, str(path), *arguments, terminal=terminal))
        return started[-1]

    yield start
    for program in started:
        program.close()


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def served(start: Callable[..., Program]) -> Callable[[str], Program]:
    """Serves the ``greeter`` of a program's text as ``greeter/send-receive``; it waits for requests by then."""

    def served(program: str) -> Program:
        server = start(program)
        server.says("greeter/send-receive")
        return server

    return served


@pytest.fixture
def greeter(served: Callable[[str], Program]) -> Program:
    """The greeter that looks for an exit signal, served."""
    return served(samples.serving("001_15_look_for_an_exit_signal", "greeter"))


class Runs:
    """The runs of a test's programs, as anybody sees them."""

    def __init__(self) -> None:
        self._client: Any = get_client()

    def all(self, flow: str) -> list[Any]:
        """The runs of a flow, newest first."""
        return [run for run in self._client.read_flow_runs() if run.flow_name == flow]

    def one(self, flow: str, *states: str) -> Any:
        """The one run of a flow, when it is in one of these states."""

        def look() -> Any:
            return next((run for run in self.all(flow) if run.state and run.state.type.value in states), None)

        run = eventually(look, f"a run of {flow} that is {' or '.join(states)}")
        assert len(self.all(flow)) == 1
        return run

    def paused(self, flow: str) -> Any:
        """The one run of a flow, when it waits to be resumed."""
        return self.one(flow, "PAUSED", "SUSPENDED")

    def state(self, run: Any) -> Any:
        """The state that a run is in by now."""
        return self._client.read_flow_run(run.id).state
