"""What the tests of the examples get: scripts to start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.program import Program

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    """Starts examples by their file's name, and ends those that run when the test is over."""
    started: list[Program] = []

    def start(name: str, *arguments: str, terminal: bool = False) -> Program:
        started.append(Program(str(EXAMPLES / name), *arguments, terminal=terminal))
        return started[-1]

    yield start
    for program in started:
        program.close()
