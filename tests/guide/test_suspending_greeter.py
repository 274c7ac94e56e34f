"""The greeter that suspends itself when nobody has sent a name for a while, and what it remembers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flowchan import open_run
from flowchan.blocks.system import JSON
from flowchan.deployments import run_deployment
from flowchan.flow_runs import resume_flow_run
from flowchan.sync import receive_input, send_input
from tests.cli.program import Program
from tests.guide.conftest import Runs
from tests.guide.samples import calling, serving
from tests.support.streams import Streams
from tests.support.waiting import eventually

SAMPLE = "001_13_suspend_and_remember_what_was_seen"
CHANNEL = "strautomaticruninput-auto"
EXIT_SIGNAL = "__EXIT__"
IDLE = "Suspending greeter after 30 seconds of idle time"

Start = Callable[..., Program]


@pytest.fixture
def greeter(served: Callable[[str], Program]) -> Program:
    """The greeter, served; half a minute without a name is one second here."""
    text = serving(SAMPLE, "greeter")
    assert text.count("timeout=30,") == 1
    return served(text.replace("timeout=30,", "timeout=1,"))


@pytest.fixture
def run(greeter: Program) -> Any:
    """A run of the greeter, that was just asked for."""
    del greeter
    return run_deployment("greeter/send-receive", timeout=0, as_subflow=False)


def suspended(runs: Runs, run: Any) -> None:
    eventually(lambda: runs.state(run).type.value == "SUSPENDED", "the suspension")


def test_a_greeter_that_is_idle_suspends_itself_and_says_so(greeter: Program, run: Any, runs: Runs) -> None:
    with open_run("me"):
        send_input("andrew", run.id)
        greetings = receive_input(str, timeout=20)
        assert greetings.next() == "Hello, andrew!"
        greeter.says(IDLE)
        suspended(runs, run)

        seen: Any = JSON.load(f"{run.id}-seen-ids")
        assert len(seen.value) == 1
        assert all(key.startswith(CHANNEL) for key in seen.value)


def test_nobody_is_greeted_twice_by_a_greeter_that_was_resumed(
    greeter: Program, run: Any, runs: Runs, streams: Streams
) -> None:
    with open_run("me"):
        for name in ("andrew", "trillian"):
            send_input(name, run.id)
        suspended(runs, run)
        send_input("marvin", run.id)  # to a run without a process
        send_input(EXIT_SIGNAL, run.id)
        resume_flow_run(run.id)
        greeter.says("Goodbye!")
        eventually(lambda: runs.state(run).is_completed(), "the end")

    assert streams.values("me", CHANNEL) == ["Hello, andrew!", "Hello, trillian!", "Hello, marvin!"]


def test_a_greeter_that_was_resumed_ends_when_it_is_idle_again(
    greeter: Program, run: Any, runs: Runs, streams: Streams
) -> None:
    with open_run("me"):
        send_input("andrew", run.id)
        suspended(runs, run)
        send_input("marvin", run.id)
        resume_flow_run(run.id)
        # It is the same call of suspend_flow_run, the first of the flow, and it has been answered.
        for _ in range(2):
            greeter.says(IDLE)
        eventually(lambda: runs.state(run).is_completed(), "the end")

    assert streams.values("me", CHANNEL) == ["Hello, andrew!", "Hello, marvin!"]


def test_a_sender_at_a_terminal_does_not_see_what_happens_to_its_greeter(
    greeter: Program, start: Start, runs: Runs
) -> None:
    asking = start(calling("001_12_keep_the_position_in_a_loop", "sender"), terminal=True)
    asking.says("What is your name? ")
    asking.type("andrew\n")
    asking.says("Hello, andrew!")
    greeter.says(IDLE)
    (run,) = runs.all("greeter")
    suspended(runs, run)
    asking.type("marvin\n")  # the sender's loop stands still meanwhile: it asks
    resume_flow_run(run.id)
    asking.says("Hello, marvin!")
    asking.type("q\n")
    asking.says("Goodbye!\n")

    assert asking.ends() == 0
    assert asking.screen.count("Hello, andrew!") == 1
    assert asking.screen.count("Hello, marvin!") == 1
