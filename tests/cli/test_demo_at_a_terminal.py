"""``flowchan demo`` as a person sees it, and what can happen to it meanwhile."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable

import psutil
import pytest

from flowchan.broker import embedded
from flowchan.settings import Settings
from tests.cli.program import Program
from tests.support.server import Server
from tests.support.waiting import eventually

QUESTION = "What is your name? "


@pytest.fixture
def chat(demo: Callable[..., Program]) -> Program:
    """A demo that has greeted somebody and asks for the next."""
    program = demo()
    program.says(QUESTION)
    program.type("andrew\r")
    program.says("Hello, andrew!")
    program.says(QUESTION)
    return program


@pytest.fixture
def greeter(chat: Program) -> psutil.Process:
    """The demo's other process."""
    (greeter,) = chat.children()
    return greeter


def gone(process: psutil.Process) -> bool:
    """Whether it has ended, though nobody may have asked yet how."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_asks_and_greets_until_q(chat: Program, greeter: psutil.Process) -> None:
    chat.type("\r")
    chat.says(QUESTION)
    chat.type("q\r")
    chat.says("Goodbye!\n")

    assert chat.ends() == 0
    assert gone(greeter)
    assert re.fullmatch(
        rf"The greeter is process {greeter.pid}\. .*\n"
        rf"{QUESTION.replace('?', '.')}andrew\nHello, andrew!  \d+\.\d ms\n"
        rf"{QUESTION.replace('?', '.')}\n{QUESTION.replace('?', '.')}q\nGoodbye!\n",
        chat.screen,
    ), chat.screen


def test_ctrl_d_ends_it_with_a_goodbye_on_a_line_of_its_own(chat: Program, greeter: psutil.Process) -> None:
    chat.type("\x04")
    chat.says("\nGoodbye!\n")

    assert chat.ends() == 0
    assert gone(greeter)


def test_ctrl_c_at_the_question_ends_both_processes(chat: Program, greeter: psutil.Process) -> None:
    chat.type("marv")
    chat.says("marv")
    chat.interrupt()

    assert chat.ends() == 130
    assert gone(greeter)
    assert "Traceback" not in chat.screen


def test_ctrl_c_while_an_answer_is_awaited_ends_both_processes(chat: Program, greeter: psutil.Process) -> None:
    greeter.suspend()
    chat.type("marvin\r")
    chat.says("marvin\n")
    chat.interrupt()

    assert chat.ends() == 130
    assert gone(greeter)
    assert "Traceback" not in chat.screen


def test_a_greeter_that_dies_is_told_at_the_question(chat: Program, greeter: psutil.Process) -> None:
    greeter.kill()
    chat.says("\nflowchan: The greeter ended unexpectedly (SIGKILL).\n")

    assert chat.ends() == 1


def test_a_greeter_that_dies_is_told_while_its_answer_is_awaited(chat: Program, greeter: psutil.Process) -> None:
    greeter.suspend()
    chat.type("marvin\r")
    chat.says("marvin\n")
    greeter.kill()
    chat.says("flowchan: The greeter ended unexpectedly (SIGKILL).\n")

    assert chat.ends() == 1


def test_a_greeter_does_not_outlive_the_sender(chat: Program, greeter: psutil.Process) -> None:
    chat.kill()

    eventually(lambda: gone(greeter), "the greeter's end")


def test_a_second_demo_knows_nothing_of_the_first(chat: Program, demo: Callable[..., Program]) -> None:
    other = demo()
    other.says(QUESTION)
    other.type("marvin\r")
    other.says("Hello, marvin!")
    other.says(QUESTION)
    chat.type("zaphod\r")
    chat.says("Hello, zaphod!")

    assert "andrew" not in other.screen
    assert "marvin" not in chat.screen


def test_it_goes_on_when_the_server_was_killed_and_came_back(server: Server, chat: Program) -> None:
    server.restart()
    chat.type("marvin\r")
    chat.says("Hello, marvin!")


def test_it_goes_on_when_the_embedded_server_was_killed(home: Settings, demo: Callable[..., Program]) -> None:
    program = demo()
    program.says(QUESTION)
    found = embedded.running(home)
    assert found
    os.kill(found.pid, signal.SIGKILL)
    program.type("marvin\r")
    program.says("Hello, marvin!")
