"""What the tests of deployments get: servers that are programs of their own, and a look at runs from outside."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flowchan import get_client
from tests.cli.program import Program
from tests.support.waiting import eventually


class Servers:
    """Starts servers of a program's flows; all that are left are killed with the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Program] = []

    def start(self, text: str, *arguments: str, terminal: bool = False) -> Program:
        """A program from its text; the same file each time."""
        path = self._folder / "served.py"
        path.write_text(text)
        return self.start_file(path, *arguments, terminal=terminal)

    def start_file(self, path: Path, *arguments: str, terminal: bool = False) -> Program:
        self._started.append(Program("-W", "error", str(path), *arguments, terminal=terminal))
        return self._started[-1]

    def serving(self, text: str, *arguments: str, terminal: bool = False) -> Program:
        """A program that serves by now."""
        server = self.start(text, *arguments, terminal=terminal)
        server.says("$ flowchan run")
        return server

    def close(self) -> None:
        for program in self._started:
            program.close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    made = Servers(tmp_path)
    yield made
    made.close()


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> float:
    """A run's lease in this test: what happens within half a minute happens within seconds."""
    monkeypatch.setenv("FLOWCHAN_LEASE", "1.2")
    return 1.2


class Runs:
    """Runs as anybody sees them."""

    def __init__(self) -> None:
        self._client: Any = get_client()

    def known(self, run: Any) -> Any:
        return self._client.read_flow_run(run.id)

    def states(self, run: Any) -> list[str]:
        """The types of all states that a run has had."""
        return [state.type.value for state in self._client.read_flow_run_states(run.id)]

    def until(self, run: Any, *kinds: str) -> Any:
        """The run's state, when it is of one of these types."""

        def look() -> Any:
            state = self.known(run).state
            return state if state.type.value in kinds else None

        return eventually(look, f"run {run.id} being {' or '.join(kinds)}")


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A file in which flows note what they do."""
    path = tmp_path / "notes"
    path.touch()
    return path


@pytest.fixture
def noted(notes: Path) -> Callable[[int], list[str]]:
    """The lines that flows have noted, when there are as many."""

    def lines(count: int) -> list[str]:
        return eventually(lambda: found if len(found := notes.read_text().splitlines()) >= count else [], "the notes")

    return lines


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def spares(server: Program, count: int) -> list[psutil.Process]:
    """The processes that a server has started, when there are as many."""
    return eventually(lambda: found if len(found := server.children()) == count else [], "the server's processes")
