"""The data review: it has no process while nobody answers, and goes on in another one."""

from __future__ import annotations

import json
from collections.abc import Callable

from flowchan.run import FlowRun
from tests.cli.program import Program
from tests.support.waiting import eventually

Start = Callable[..., Program]
RunIn = Callable[..., FlowRun]


def serve(start: Start) -> Program:
    server = start("data_review.py")
    server.says("data-review/examples")
    return server


def ask_for_it(start: Start, *celsius: float) -> None:
    program = start("flowchan", "run", "data-review/examples", "-p", f"celsius={json.dumps(celsius)}")
    assert program.ends() == 0, program.screen


def test_what_is_like_the_others_needs_no_person(start: Start, run_in: RunIn) -> None:
    server = serve(start)
    ask_for_it(start, 20.1, 19.9, 20.3, 19.7)
    server.says("The mean of 4 values is 20.00 °C")

    run_in("COMPLETED")


def test_a_review_outlives_its_server_and_ends_on_another(start: Start, run_in: RunIn) -> None:
    server = serve(start)
    ask_for_it(start, 20.1, 19.9, 740, 20.0)
    server.says("1 of 4 values are to be reviewed")
    run = run_in("SUSPENDED")
    eventually(lambda: len(server.children()) <= 2, "the end of the run's process")
    server.interrupt()
    server.ends()

    person = start("flowchan", "resume", run.name, terminal=True)
    shown = person.says("Outliers")
    assert "Are these mistakes?" in shown
    assert "740.0 °C" in shown
    person.type("\r")
    person.says("Reviewer")
    person.type("trillian\r")
    person.says("goes on.")
    assert person.ends() == 0
    assert run_in("SCHEDULED").id == run.id
    server = serve(start)
    server.says("trillian says: drop")
    server.says("The mean of 3 values is 20.00 °C")

    ended = run_in("COMPLETED")
    assert ended.id == run.id
    assert ended.run_count == 2
