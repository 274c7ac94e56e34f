"""``flowchan demo`` where nobody sits at a terminal: names come through a pipe, greetings go into one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flowchan.broker import embedded
from flowchan.settings import Settings
from tests.cli.program import FLOWCHAN, Program, run

ONE_LINE = r"flowchan: [^\n]+\n"


def test_it_greets_whoever_is_named_and_says_how_long_that_took() -> None:
    chat = run(*FLOWCHAN, "demo", given="andrew\nmarvin\nq\n")

    assert re.fullmatch(r"Hello, andrew!  \d+\.\d ms\nHello, marvin!  \d+\.\d ms\nGoodbye!\n", chat.stdout)
    assert (chat.returncode, chat.stderr) == (0, "")


def test_it_needs_no_server_that_somebody_has_started(home: Settings) -> None:
    chat = run(*FLOWCHAN, "demo", given="andrew\nq\n")

    assert chat.stdout.startswith("Hello, andrew!")
    assert embedded.running(home)


@pytest.mark.parametrize("last", ["quit\n", "", "__EXIT__\n"])
def test_it_ends_at_q_or_quit_and_at_the_end_of_the_names(last: str) -> None:
    chat = run(*FLOWCHAN, "demo", given=f"andrew\n{last}")

    assert re.sub(r"  .* ms", "", chat.stdout) == "Hello, andrew!\nGoodbye!\n"
    assert (chat.returncode, chat.stderr) == (0, "")


def test_lines_without_a_name_are_passed_over() -> None:
    chat = run(*FLOWCHAN, "demo", given="\n  \n\nandrew\n\n")

    assert re.sub(r"  .* ms", "", chat.stdout) == "Hello, andrew!\nGoodbye!\n"


def test_names_are_printed_as_they_are() -> None:
    names = ["[bold]ford[/bold]", ":smile:", "Zoë 王 🐢", "x" * 300, "1.5 'and' None"]

    chat = run(*FLOWCHAN, "demo", given="\n".join(names))

    assert re.findall("Hello, (.*)!  ", chat.stdout) == names


def test_bytes_that_are_no_text_do_no_harm() -> None:
    chat = run(*FLOWCHAN, "demo", given="\udcff\nq\n")

    assert chat.stdout.startswith("Hello, \N{REPLACEMENT CHARACTER}!")
    assert chat.returncode == 0


def test_standard_input_may_be_closed() -> None:
    closed = f"import os, sys; os.close(0); os.execv(sys.executable, [sys.executable, *{[*FLOWCHAN, 'demo']}])"

    chat = run("-c", closed)

    assert (chat.stdout, chat.returncode, chat.stderr) == ("Goodbye!\n", 0, "")


def test_it_ends_quietly_when_nobody_reads_on() -> None:
    reading, writing = os.pipe()
    os.close(reading)

    chat = run(*FLOWCHAN, "demo", given="andrew\n", stdout=writing)
    os.close(writing)

    assert (chat.returncode, chat.stderr) == (1, "")


def test_what_it_prints_comes_at_once(demo: Callable[..., Program]) -> None:
    chat = demo(terminal=False)
    chat.type("andrew\n")
    chat.says("Hello, andrew!")
    chat.type("marvin\n")
    chat.says("Hello, marvin!")
    chat.hang_up()
    chat.says("Goodbye!")

    assert chat.ends() == 0


def test_ctrl_c_ends_both_processes(demo: Callable[..., Program]) -> None:
    chat = demo(terminal=False)
    chat.type("andrew\n")
    chat.says(" ms\n")
    (greeter,) = chat.children()

    chat.interrupt()

    assert chat.ends() == 130
    assert "Traceback" not in chat.screen
    assert not greeter.is_running()


def test_a_broker_that_is_not_there_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_URL", "redis://arthur:dent@localhost:1")

    chat = run(*FLOWCHAN, "demo", given="andrew\n")

    assert (chat.stdout, chat.returncode) == ("", 1)
    assert re.fullmatch(ONE_LINE, chat.stderr)
    assert "localhost:1 cannot be reached" in chat.stderr
    assert "dent" not in chat.stderr


@pytest.mark.parametrize("setting,value", [("FLOWCHAN_URL", "http://localhost"), ("FLOWCHAN_SEND_TIMEOUT", "soon")])
def test_a_setting_that_cannot_be_used_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    monkeypatch.setenv(setting, value)

    chat = run(*FLOWCHAN, "demo", given="andrew\n")

    assert (chat.stdout, chat.returncode) == ("", 1)
    assert re.fullmatch(ONE_LINE, chat.stderr)
    assert setting in chat.stderr


def test_a_name_that_is_too_large_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_MAX_MESSAGE_BYTES", "100")

    chat = run(*FLOWCHAN, "demo", given="x" * 101)

    assert (chat.stdout, chat.returncode) == ("", 1)
    assert re.fullmatch(ONE_LINE, chat.stderr)


def test_it_may_be_run_in_a_folder_with_files_of_any_name(tmp_path: Path) -> None:
    for name in ("asyncio", "flowchan", "redis", "select"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")

    assert run(*FLOWCHAN, "demo", given="andrew\n", cwd=tmp_path).returncode == 0
