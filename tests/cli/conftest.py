"""What the tests of the command line get: programs to talk to, and an embedded server of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowchan.broker import embedded
from flowchan.settings import Settings
from tests.cli.program import FLOWCHAN, Program


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    """Starts programs, and ends those that run when the test is over."""
    started: list[Program] = []

    def start(*arguments: str, terminal: bool = False) -> Program:
        started.append(Program(*arguments, terminal=terminal))
        return started[-1]

    yield start
    for program in started:
        program.close()


@pytest.fixture
def demo(start: Callable[..., Program]) -> Callable[..., Program]:
    """Starts ``flowchan demo``; in a terminal, unless told otherwise."""
    return lambda *, terminal=True: start(*FLOWCHAN, "demo", terminal=terminal)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Settings]:
    """A folder for an embedded server, which is what the test's programs use; stopped when the test is over."""
    monkeypatch.delenv("FLOWCHAN_URL")
    monkeypatch.setenv("FLOWCHAN_HOME", str(tmp_path))
    settings = Settings(home=tmp_path)
    yield settings
    embedded.stop(settings)
