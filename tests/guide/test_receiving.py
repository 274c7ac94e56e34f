"""The samples that receive and respond, each run by a program of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from flowchan import open_run
from flowchan.sync import receive_input, send_input
from tests.cli.program import Program
from tests.guide.conftest import Runs
from tests.guide.samples import calling, names_of

Start = Callable[..., Program]


# --- the reference -------------------------------------------------------------------------------------------


def test_a_number_is_squared_and_sent_back(start: Start, runs: Runs) -> None:
    start(calling("000_2_receiver_flow", "receiver_flow"))
    run = runs.one("receiver-flow", "RUNNING")
    number_class = names_of("000_2_receiver_flow")["NumberData"]

    with open_run():
        for number in (7, -3):
            send_input(number_class(number=number), run.id)
        answers = receive_input(number_class, timeout=20)
        assert [answers.next().number for _ in range(2)] == [49, 9]  # type: ignore[attr-defined]


# As printed it reads the inputs of the run that it asks, the first of which is its own question; what it is answered
# is among its own. (In Prefect it is the same.)
@pytest.mark.parametrize(
    "receives, power", [("flow_run_id=receiver_flow_run_id", 1), ("", 2)], ids=["as printed", "own"]
)
def test_a_number_is_sent_to_a_run_and_its_square_printed(receives: str, power: int, start: Start, runs: Runs) -> None:
    start(calling("000_2_receiver_flow", "receiver_flow"))
    run = runs.one("receiver-flow", "RUNNING")
    program = calling("000_1_sender_flow", "sender_flow", f"UUID({str(run.id)!r})")
    sending = start(program.replace("receive(flow_run_id=receiver_flow_run_id)", f"receive({receives})"))

    assert sending.ends() == 0
    said = re.search(r"(\d+) squared is (\d+)\n", sending.screen)
    assert said, sending.screen
    assert int(said[1]) ** power == int(said[2])
    assert runs.one("sender-flow", "COMPLETED")


# --- the guide's greeters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", ["001_09_receive_a_builtin_type", "001_10_receive_with_metadata"])
def test_each_name_that_is_sent_is_greeted(sample: str, start: Start, runs: Runs) -> None:
    greeting = start(calling(sample, "greeter_flow"))
    run = runs.one("greeter-flow", "RUNNING")
    for name in ("andrew", "marvin"):
        send_input(name, run.id)
        greeting.says(f"Hello, {name}!\n")

    assert greeting.screen == "Hello, andrew!\nHello, marvin!\n"
    assert runs.state(run).is_running()


def test_who_sends_a_text_is_not_heard_by_who_receives_a_class(start: Start, runs: Runs) -> None:
    sample = "001_11_receive_a_run_input"
    greeting = start(calling(sample, "greeter_flow"))
    run = runs.one("greeter-flow", "RUNNING")
    send_input("zaphod", run.id)
    send_input(names_of(sample)["GreeterInput"](value="andrew"), run.id)
    greeting.says("Hello, andrew!\n")

    assert "zaphod" not in greeting.screen
    # It waits, as the guide says, until the run asks for a text.
    assert receive_input(str, flow_run_id=run.id, timeout=0).next() == "zaphod"


@pytest.mark.parametrize("sample", ["001_14_respond_to_the_sender", "001_15_look_for_an_exit_signal"])
def test_each_sender_gets_the_greetings_for_its_own_names(sample: str, start: Start, runs: Runs) -> None:
    start(calling(sample, "greeter"))
    run = runs.one("greeter", "RUNNING")

    for sender in ("one", "two"):
        with open_run(sender):
            send_input(f"andrew of {sender}", run.id)
            assert receive_input(str, timeout=20).next() == f"Hello, andrew of {sender}!"
            assert list(receive_input(str, timeout=0, raise_timeout_error=False)) == [f"Hello, andrew of {sender}!"]
    assert runs.state(run).is_running()


def test_a_greeter_ends_with_the_exit_signal(start: Start, runs: Runs) -> None:
    sample = "001_15_look_for_an_exit_signal"
    greeting = start(calling(sample, "greeter"))
    run: Any = runs.one("greeter", "RUNNING")
    send_input(names_of(sample)["EXIT_SIGNAL"], run.id)

    assert greeting.ends() == 0
    assert greeting.screen == "Goodbye!\n"
    assert runs.state(run).is_completed()
