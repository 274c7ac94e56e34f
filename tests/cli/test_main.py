"""``flowchan`` itself: what it can do, and how it says that it cannot."""

from __future__ import annotations

import re

import pytest

import flowchan
from tests.cli.program import FLOWCHAN, run


def test_help_lists_the_commands_and_what_they_do() -> None:
    shown = run(*FLOWCHAN, "--help")

    assert re.search("demo +Talk to a greeter", shown.stdout)
    assert (shown.returncode, shown.stderr) == (0, "")


def test_without_a_command_it_shows_its_help() -> None:
    assert run(*FLOWCHAN).stdout == run(*FLOWCHAN, "--help").stdout


def test_a_commands_help_has_an_example() -> None:
    assert r"printf 'andrew\nmarvin\nq\n' | flowchan demo" in run(*FLOWCHAN, "demo", "--help").stdout


def test_it_tells_its_version() -> None:
    assert run(*FLOWCHAN, "--version").stdout == f"{flowchan.__version__}\n"


@pytest.mark.parametrize("arguments", [("dmeo",), ("demo", "--nope"), ("demo", "andrew")])
def test_arguments_that_make_no_sense_are_told_with_exit_code_2(arguments: tuple[str, ...]) -> None:
    shown = run(*FLOWCHAN, *arguments)

    assert shown.returncode == 2
    assert arguments[-1] in shown.stdout + shown.stderr
    assert "Traceback" not in shown.stdout + shown.stderr
