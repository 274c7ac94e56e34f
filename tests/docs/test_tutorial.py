"""The tutorial, done as it says: its files saved, its commands typed, and what it says is seen."""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowchan import get_client
from flowchan.run import FlowRun
from tests.cli.program import FLOWCHAN, PATIENCE, Program
from tests.cli.program import run as run_program
from tests.support.waiting import eventually

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
FILES = re.findall(r"`(\w+\.py)`[^`]*:\n\n```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
SEEN = [line for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
SOMEBODY = "pearl-gopher"


class Reader:
    """Somebody who does what the page says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs: list[Program] = []

    def save(self, name: str, number: int = 0) -> Path:
        """Save the file of this name; the page changes some of them."""
        path = self._folder / name
        path.write_text([text for file, text in FILES if file == name][number])
        return path

    def type(self, command: str, name: str = SOMEBODY, *, terminal: bool = False) -> Program:
        """Type a command of the page, with a run's name for the one that is printed there."""
        assert command in COMMANDS
        program, *arguments = shlex.split(command.replace(SOMEBODY, name))
        start = FLOWCHAN if program == "flowchan" else (str(self._folder / arguments.pop(0)),)
        self._programs.append(Program(*start, *arguments, terminal=terminal))
        return self._programs[-1]

    def sees(self, program: Program, line: str) -> None:
        """The program says what the page says that it does."""
        assert line in SEEN
        program.says(f"{line}\n")

    def close(self) -> None:
        for program in self._programs:
            program.close()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.close()


def run_in(state: str, waiting_for: str | None = None) -> FlowRun:
    """The newest run, once it is in this state."""
    client: Any = get_client()

    def look() -> FlowRun | None:
        found: list[FlowRun] = client.read_flow_runs(state=state, limit=1)
        return next((run for run in found if waiting_for in (None, run.waiting_for)), None)

    found = eventually(look, f"a run that is {state}", PATIENCE)
    assert found is not None
    return found


def test_messages(reader: Reader) -> None:
    reader.save("hello.py")
    hello = reader.type("python hello.py")
    reader.sees(hello, "Hello, andrew!")
    assert hello.ends() == 0

    reader.save("greeter.py")
    greeter = reader.type("python greeter.py")
    reader.sees(greeter, "Hello, andrew!")
    assert reader.type("flowchan send greeter marvin").ends() == 0
    reader.sees(greeter, "Hello, marvin!")

    reader.save("ask.py")
    asking = reader.type("python ask.py")
    reader.sees(asking, "The greeter says: Hello, trillian!")
    assert asking.ends() == 0


def test_a_flow_that_asks(reader: Reader) -> None:
    reader.save("order.py")
    order = reader.type("python order.py")
    order.says("What does andrew want?")
    run = run_in("PAUSED")
    shown = reader.type("flowchan runs")
    shown.ends()
    heading, line = shown.screen.splitlines()
    assert heading.split()[:6] == SEEN[3].split()
    assert [run.name, *SEEN[4].split()[1:3], "paused-1"] == [*line.split()[:3], line.split()[5]]
    form = reader.type("flowchan resume pearl-gopher", run.name, terminal=True)
    form.says("Size")
    form.type("\x1b[B\r")
    form.says("Color")
    form.type("\r")
    reader.sees(order, "A medium red shirt for andrew.")
    assert order.ends() == 0

    order = reader.type("python order.py")
    run = run_in("PAUSED")
    refused = reader.type("""flowchan resume pearl-gopher --json '{"size": "huge"}'""", run.name)
    assert refused.ends() == 1
    assert "size: " in refused.screen
    assert run_in("PAUSED").id == run.id


def test_an_answer_that_will_not_do(reader: Reader) -> None:
    reader.save("order.py", 1)
    order = reader.type("python order.py")
    run = run_in("PAUSED")
    command = """flowchan resume pearl-gopher --json '{"size": "small", "color": "green"}'"""
    assert reader.type(command, run.name).ends() == 0
    reader.sees(order, "Value error, There are no small green ones.")
    run_in("PAUSED", "paused-2")
    form = reader.type("flowchan resume pearl-gopher", run.name, terminal=True)
    assert "A shirt for andrew" in form.says("Size")
    form.says("medium")
    form.type("\r")
    form.says("Color")
    form.type("\r")
    reader.sees(order, "A medium red shirt for andrew.")


def test_served_and_suspended(reader: Reader, tmp_path: Path) -> None:
    text = reader.save("order.py", 1).read_text()
    served = text[: text.index("if __name__")] + reader.save("order.py", 2).read_text()
    (tmp_path / "order.py").write_text(served)
    server = reader.type("python order.py")
    server.says("order/shop")
    assert reader.type("flowchan run order/shop -p customer=marvin").ends() == 0
    server.says("What does marvin want?")
    assert "`What does marvin want?`" in PAGE
    run_in("PAUSED")

    buying = run_program(str(reader.save("buy.py")))
    assert buying.returncode == 0
    name = buying.stdout.strip()
    server.says("What does trillian want?")
    eventually(lambda: run_in("PAUSED").name == name, "the run that was asked for", PATIENCE)

    assert served.count("pause_flow_run") == 2
    (tmp_path / "order.py").write_text(served.replace("pause_flow_run", "suspend_flow_run"))
    assert reader.type("flowchan run order/shop -p customer=zaphod").ends() == 0
    run = run_in("SUSPENDED")
    server.interrupt()
    server.says("Ctrl-C again stops them.")
    server.interrupt()
    server.ends()
    assert reader.type("""flowchan resume pearl-gopher --json '{"color": "green"}'""", run.name).ends() == 0
    server = reader.type("python order.py")
    reader.sees(server, "What does zaphod want?")
    reader.sees(server, "A medium green shirt for zaphod.")
    assert run_in("COMPLETED").id == run.id


def test_a_process_that_dies(reader: Reader) -> None:
    reader.save("fragile.py")
    server = reader.type("python fragile.py")
    server.says("fragile/here")
    assert reader.type("flowchan run fragile/here").ends() == 0
    server.says("Process ")
    first = int(server.says(" asks for a name.").split()[0])
    run = run_in("PAUSED", "paused-1")
    assert reader.type("""flowchan resume pearl-gopher --json '{"value": "andrew"}'""", run.name).ends() == 0
    server.says(f"Process {first} asks for the age of andrew.")
    run_in("PAUSED", "paused-2")

    os.kill(first, signal.SIGKILL)
    server.says("Process ")
    second = int(server.says(" asks for a name.").split()[0])
    assert second != first
    server.says(f"Process {second} asks for the age of andrew.")
    run_in("PAUSED", "paused-2")
    shown = reader.type("flowchan show pearl-gopher", run.name)
    shown.ends()
    assert "SCHEDULED (HandedOn)" in shown.screen
    assert reader.type("""flowchan resume pearl-gopher --json '{"value": 42}'""", run.name).ends() == 0
    reader.sees(server, "andrew is 42.")


def test_every_command_of_the_page_is_typed_above() -> None:
    typed = Path(__file__).read_text()
    assert [command for command in COMMANDS if command not in typed] == []
