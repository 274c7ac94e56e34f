"""The squares: two runs, one of which knows the other by its ID."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.cli.program import Program

Start = Callable[..., Program]


def test_the_sender_gets_its_numbers_square(start: Start) -> None:
    squaring = start("squares_receiver.py")
    _, script, run_id = squaring.says("\n").split()
    sending = start(script.removeprefix("examples/"), run_id)

    assert sending.ends() == 0
    said = re.search(r"(\d+) squared is (\d+)\n", sending.screen)
    assert said, sending.screen
    assert int(said[1]) ** 2 == int(said[2])


def test_several_senders_get_each_their_own(start: Start) -> None:
    run_id = start("squares_receiver.py").says("\n").split()[2]
    sending = [start("squares_sender.py", run_id) for _ in range(3)]

    for each in sending:
        assert each.ends() == 0
        said = re.search(r"(\d+) squared is (\d+)\n", each.screen)
        assert said, each.screen
        assert int(said[1]) ** 2 == int(said[2])


def test_ctrl_c_ends_the_receiver(start: Start) -> None:
    squaring = start("squares_receiver.py")
    squaring.says("\n")
    squaring.interrupt()

    assert squaring.ends() == 0
    assert "Traceback" not in squaring.screen


def test_a_sender_without_a_run_id_says_how_it_is_used(start: Start) -> None:
    sending = start("squares_sender.py")
    sending.says("Usage: ")

    assert sending.ends() == 1
