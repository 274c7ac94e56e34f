"""The samples that ask for names: the greeter is served in one process, the sender runs in a terminal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.program import Program
from tests.guide.conftest import Runs
from tests.guide.samples import calling, path_of, serving

Start = Callable[..., Program]

QUESTION = "What is your name? "
COMPLETE = path_of("001_17_complete_example")


def converse(asking: Program) -> None:
    """Type names, as the guide tells its reader to, and look at the answers; end with q."""
    asking.says(QUESTION)
    asking.type("andrew\n")
    asking.says("Hello, andrew!")
    asking.says(QUESTION)
    asking.type("\n")
    asking.says(QUESTION)
    asking.type("marvin\n")
    asking.says("Hello, marvin!")
    asking.says(QUESTION)
    asking.type("q\n")
    asking.says("Goodbye!\n")
    assert asking.ends() == 0
    assert asking.screen.count("Hello, andrew!") == 1, asking.screen
    assert asking.screen.count("Hello, marvin!") == 1, asking.screen


@pytest.mark.usefixtures("greeter")
def test_a_sender_prints_the_greeting_for_each_name(start: Start, runs: Runs) -> None:
    converse(start(calling("001_16_send_what_is_typed", "sender"), terminal=True))

    assert runs.one("sender", "COMPLETED")
    assert runs.one("greeter", "COMPLETED")


def test_a_sender_ends_with_quit_too_and_takes_its_greeter_with_it(greeter: Program, start: Start, runs: Runs) -> None:
    asking = start(calling("001_16_send_what_is_typed", "sender"), terminal=True)
    asking.says(QUESTION)
    asking.type("quit\n")
    asking.says("Goodbye!\n")
    greeter.says("Goodbye!")

    assert asking.ends() == 0
    assert runs.one("greeter", "COMPLETED")


def test_a_receiver_that_outlives_a_round_of_the_loop_gets_the_newest_greeting(
    served: Callable[[str], Program], start: Start, runs: Runs
) -> None:
    served(serving("001_13_suspend_and_remember_what_was_seen", "greeter"))
    converse(start(calling("001_12_keep_the_position_in_a_loop", "sender"), terminal=True))

    assert runs.one("greeter", "COMPLETED")


def test_the_complete_example_talks_between_two_terminals(start: Start, runs: Runs) -> None:
    serving = start(COMPLETE, "greeter", terminal=True)
    serving.says("Your flow 'greeter' is being served")
    serving.says("'greeter/send-receive'")

    asking = start(COMPLETE, "sender", terminal=True)
    converse(asking)
    serving.says("Goodbye!")

    assert runs.one("sender", "COMPLETED")
    assert runs.one("greeter", "COMPLETED")
    serving.interrupt()
    serving.ends()
    assert "Traceback" not in serving.screen, serving.screen


def test_each_sender_of_the_complete_example_has_a_greeter_of_its_own(start: Start, runs: Runs) -> None:
    serving = start(COMPLETE, "greeter", terminal=True)
    serving.says("'greeter/send-receive'")
    first, second = (start(COMPLETE, "sender", terminal=True) for _ in range(2))
    for asking, name in ((first, "andrew"), (second, "marvin")):
        asking.says(QUESTION)
        asking.type(f"{name}\n")
    first.says("Hello, andrew!")
    second.says("Hello, marvin!")
    assert len(runs.all("greeter")) == 2
    for asking in (first, second):
        asking.says(QUESTION)
        asking.type("q\n")
        assert asking.ends() == 0
    assert "marvin" not in first.screen
    assert "andrew" not in second.screen


def test_a_sender_shows_which_run_it_is(start: Start) -> None:
    start(COMPLETE, "greeter", terminal=True).says("'greeter/send-receive'")
    asking = start(COMPLETE, "sender", terminal=True)
    before = asking.says(QUESTION)

    assert "Created flow run '" in before, before
    assert "for flow 'sender'" in before, before
