"""The page on the command line knows each command, each option, and each field."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from cyclopts import App
from rich.console import Console

from flowchan import sync
from flowchan.broker.dead_letters import Letter
from flowchan.cli import told
from flowchan.cli.app import app
from flowchan.cli.dead_letters import as_dict
from flowchan.run import FlowRun
from flowchan.settings import Settings
from flowchan.states import Running
from flowchan.wire.keys import EntryId

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
SECTIONS = dict(re.findall(r"^###? (flowchan .*)\n\n((?:(?!^##).*\n)+)", PAGE, re.MULTILINE))


def commands(of: App, name: str) -> list[str]:
    found = []
    for each in of:
        if not each.startswith("-"):
            found += [f"{name} {each}", *commands(of[each], f"{name} {each}")]
    return found


COMMANDS = commands(app, "flowchan")


def help_of(command: str) -> str:
    shown = io.StringIO()
    app.help_print(command.split()[1:], console=Console(file=shown, width=200))
    return shown.getvalue()


def test_the_page_has_a_section_for_each_command_and_no_other() -> None:
    assert len(COMMANDS) > 10
    assert sorted(SECTIONS) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_that_the_help_lists_stands_in_its_commands_section(command: str) -> None:
    documented = set(re.findall(r"(?<=[`\s])--?[a-z]+\b", SECTIONS[command]))
    # A row of the help that begins with a dash; others are arguments.
    rows = re.findall(r"^│ +(-.*?)(?:  |$)", help_of(command), re.MULTILINE)
    options = {option for row in rows for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", row)}
    assert options <= documented


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_in_a_table_of_the_page_is_in_the_help(command: str) -> None:
    shown = help_of(command)
    for cell in re.findall(r"^\| (`-.*?) \|", SECTIONS[command], re.MULTILINE):
        for option in re.findall(r"`(--?[a-z]+)", cell):
            assert f"{option} " in shown


def test_the_fields_of_a_run_are_on_the_page() -> None:
    run = FlowRun("a-run")
    for field in told.as_dict(run):
        assert f"`{field}`" in SECTIONS["flowchan runs"]
    for field in told.state_as_dict(Running()):
        assert f"`{field}`" in SECTIONS["flowchan show"]


def test_the_fields_of_a_dead_letter_are_on_the_page() -> None:
    letter = Letter("r", "numbers", "shop", EntryId(1, 0), "invalid", "key", 1, "", [])
    for field in as_dict(sync.DeadLetter(letter, Settings())):
        assert f"`{field}`" in SECTIONS["flowchan dead-letters"]
