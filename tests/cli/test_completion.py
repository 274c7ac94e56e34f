"""Completion in the shell, and that a command is imported only when it is wanted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.program import FLOWCHAN, run

COMPLETE = """
eval "$SCRIPT"
COMP_WORDS=({words} ""); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
$(complete -p flowchan | sed 's/.*-F \\([^ ]*\\).*/\\1/') flowchan
echo "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    "words,some",
    [
        ("flowchan", {"broker", "dead-letters", "demo", "doctor"}),
        ("flowchan broker", {"path", "start", "status", "stop"}),
    ],
)
def test_bash_completes_commands(words: str, some: set[str]) -> None:
    script = run(*FLOWCHAN, "completion", "bash")
    assert (script.returncode, script.stderr) == (0, "")

    completed = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE.format(words=words)],
        env={**os.environ, "SCRIPT": script.stdout},
        capture_output=True,
        text=True,
        check=True,
    )

    assert some <= set(completed.stdout.split())


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_too(shell: str) -> None:
    script = run(*FLOWCHAN, "completion", shell)

    assert (script.returncode, script.stderr) == (0, "")
    assert "doctor" in script.stdout


def test_a_shell_that_is_not_known_is_told_with_exit_code_2() -> None:
    assert run(*FLOWCHAN, "completion", "tcl").returncode == 2


def test_it_is_installed_where_the_shell_looks_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    told = run(*FLOWCHAN, "completion", "bash", "--install")

    assert (told.returncode, told.stderr) == (0, "")
    assert any("_flowchan" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_command_is_imported_only_when_it_is_run() -> None:
    program = "import sys; sys.argv[1:] = ['broker', 'path']; from flowchan.cli import main; main()"
    shown = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    ended = run("-c", shown + program)

    imported = set(ended.stderr.split())
    assert "flowchan.cli.broker" in imported
    assert not imported & {"flowchan.cli.demo", "flowchan.cli.doctor", "questionary", "jsonschema_rs"}
