"""``flowchan runs``, ``show``, ``resume``, ``cancel``: runs as a person at a terminal and a script deal with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from flowchan import flow, get_client
from flowchan.run import FlowRun
from tests.cli.program import FLOWCHAN, PATIENCE, Program, run
from tests.support.waiting import eventually

ORDER = """
from typing import Literal
import pydantic
from flowchan import RunInput, flow, pause_flow_run

class ShirtOrder(RunInput):
    size: Literal["small", "large"] = "large"
    color: Literal["red", "green"]
    count: int = pydantic.Field(1, ge=1)

    @pydantic.model_validator(mode="after")
    def is_in_stock(self):
        if self.color == "green" and self.size == "small":
            raise ValueError("Green is only in stock for large.")
        return self

@flow
def order():
    asked = ShirtOrder.with_initial_data(description="# Your *shirt*", count=2)
    order = None
    while order is None:
        try:
            order = pause_flow_run(wait_for_input=asked)
        except pydantic.ValidationError:
            print("asked again")
    print("ordered", order.size, order.color, order.count)

order()
"""


def only_run() -> FlowRun:
    """The one run that there is, when it has paused."""

    def paused() -> FlowRun | None:
        found = get_client().read_flow_runs(state="PAUSED")
        return found[0] if found else None  # type: ignore[index]

    return eventually(paused, "a paused run", PATIENCE)


@pytest.fixture
def order(start: Callable[..., Program]) -> tuple[Program, FlowRun]:
    """A program whose flow has paused for an order, and its run."""
    program = start("-c", ORDER)
    return program, only_run()


def test_runs_lists_what_runs_do(order: tuple[Program, FlowRun]) -> None:
    _, paused = order

    shown = run(*FLOWCHAN, "runs")

    assert (shown.returncode, shown.stderr) == (0, "")
    heading, line = shown.stdout.splitlines()
    assert heading.split()[:3] == ["name", "flow", "state"]
    for told in (paused.name, "order", "PAUSED", "paused-1", str(paused.id)):
        assert told in line


def test_runs_as_json_are_an_object_a_line(order: tuple[Program, FlowRun]) -> None:
    _, paused = order

    (line,) = run(*FLOWCHAN, "runs", "--json").stdout.splitlines()

    told = json.loads(line)
    assert told["id"] == str(paused.id)
    assert (told["name"], told["flow"]) == (paused.name, "order")
    assert (told["state"], told["waiting_for"]) == ("PAUSED", "paused-1")


def test_runs_can_be_chosen_by_state_and_flow(order: tuple[Program, FlowRun]) -> None:
    @flow(name="other")
    def other() -> None: ...

    other()

    def names(*options: str) -> list[Any]:
        return [json.loads(line)["flow"] for line in run(*FLOWCHAN, "runs", "--json", *options).stdout.splitlines()]

    assert names() == ["other", "order"]
    assert names("--state", "paused") == ["order"]
    assert names("--state", "paused", "--state", "completed") == ["other", "order"]
    assert names("--flow", "other") == ["other"]
    assert names("--limit", "1") == ["other"]
    del order


def test_without_runs_it_says_so() -> None:
    assert run(*FLOWCHAN, "runs").stdout == "There are no runs yet.\n"
    assert run(*FLOWCHAN, "runs", "--json").stdout == ""


def test_a_state_that_is_none_is_told() -> None:
    shown = run(*FLOWCHAN, "runs", "--state", "sleeping")

    assert shown.returncode == 1
    assert "sleeping" in shown.stderr.lower()
    assert "suspended" in shown.stderr


def test_a_live_table_shows_what_changes_until_ctrl_c(
    order: tuple[Program, FlowRun], start: Callable[..., Program]
) -> None:
    program, paused = order
    table = start(*FLOWCHAN, "runs", "--watch", terminal=True)
    table.says("PAUSED")

    assert run(*FLOWCHAN, "resume", paused.name, "--json", '{"color": "red"}').returncode == 0

    table.says("COMPLETED")
    table.interrupt()
    assert table.ends() == 130
    assert program.ends() == 0


def test_show_tells_a_run_s_states_and_what_it_waits_for(order: tuple[Program, FlowRun]) -> None:
    _, paused = order

    shown = run(*FLOWCHAN, "show", paused.name).stdout

    for told in (str(paused.id), "RUNNING", "PAUSED", "Your shirt", "color", f"flowchan resume {paused.name}"):
        assert told in shown


def test_show_as_json_has_the_schema(order: tuple[Program, FlowRun]) -> None:
    _, paused = order

    told = json.loads(run(*FLOWCHAN, "show", str(paused.id), "--json").stdout)

    assert [state["type"] for state in told["states"]] == ["RUNNING", "PAUSED"]
    assert told["schema"]["properties"]["count"]["default"] == 2
    assert told["description"] == "# Your *shirt*"


def test_a_person_resumes_a_run_at_a_terminal(order: tuple[Program, FlowRun], start: Callable[..., Program]) -> None:
    program, paused = order
    form = start(*FLOWCHAN, "resume", paused.name, terminal=True)
    form.says("Your shirt")
    form.says("large")  # the default is chosen already
    form.type("\r")
    form.says("red")
    form.type("\r")
    form.says("at least 1")
    form.type("\x150\r")
    form.says("less than the minimum of 1")
    form.type("\x153\r")
    form.says("goes on")

    assert form.ends() == 0
    program.says("ordered large red 3")
    assert program.ends() == 0


def test_an_answer_that_the_flow_rejects_is_asked_for_again(
    order: tuple[Program, FlowRun], start: Callable[..., Program]
) -> None:
    program, paused = order
    assert run(*FLOWCHAN, "resume", paused.name, "--json", '{"size": "small", "color": "green"}').returncode == 0
    program.says("asked again")
    again = only_run()
    assert again.waiting_for == "paused-2"

    assert run(*FLOWCHAN, "resume", paused.name, "--json", '{"color": "green"}').returncode == 0

    program.says("ordered large green 2")
    del start


@pytest.mark.parametrize(
    "answer, told",
    [
        ("{}", "color"),
        ('{"color": "blue"}', "color"),
        ('{"color": "red", "count": "many"}', "count"),
        ('{"color": "red", "note": "please"}', "note"),
        ("[1]", "object"),
        ("{", "no JSON"),
    ],
)
def test_an_answer_that_does_not_fit_is_told_and_changes_nothing(
    order: tuple[Program, FlowRun], answer: str, told: str
) -> None:
    _, paused = order

    shown = run(*FLOWCHAN, "resume", paused.name, "--json", answer)

    assert (shown.returncode, shown.stdout) == (1, "")
    assert told in shown.stderr
    assert "Traceback" not in shown.stderr
    assert only_run().id == paused.id


def test_answers_may_be_piped_in_a_line_each(order: tuple[Program, FlowRun]) -> None:
    program, paused = order

    shown = run(*FLOWCHAN, "resume", paused.name, given="small\nred\n\n")

    assert (shown.returncode, shown.stderr) == (0, "")
    program.says("ordered small red 2")


def test_ctrl_c_in_a_form_leaves_the_run_paused(order: tuple[Program, FlowRun], start: Callable[..., Program]) -> None:
    _, paused = order
    form = start(*FLOWCHAN, "resume", paused.name, terminal=True)
    form.says("large")
    form.interrupt()

    assert form.ends() == 130
    assert only_run().id == paused.id


@pytest.mark.parametrize("command", ["show", "resume", "cancel"])
def test_a_run_that_is_not_there_is_told(command: str) -> None:
    shown = run(*FLOWCHAN, command, "nobody")

    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr.startswith("flowchan: There is no flow run 'nobody'")


def test_a_run_is_found_by_the_beginning_of_its_id(order: tuple[Program, FlowRun]) -> None:
    _, paused = order

    assert json.loads(run(*FLOWCHAN, "show", str(paused.id)[:20], "--json").stdout)["name"] == paused.name


def test_a_paused_run_is_cancelled_at_once(order: tuple[Program, FlowRun]) -> None:
    program, paused = order

    shown = run(*FLOWCHAN, "cancel", paused.name)

    assert (shown.returncode, shown.stdout) == (0, f"{paused.name} is cancelled.\n")
    program.says("RunCancelled")
    again = run(*FLOWCHAN, "cancel", paused.name)
    assert (again.returncode, again.stdout) == (1, "")
    assert "Cancelled" in again.stderr


def test_a_run_that_has_ended_cannot_be_resumed(order: tuple[Program, FlowRun]) -> None:
    program, paused = order
    assert run(*FLOWCHAN, "resume", paused.name, "--json", '{"color": "red"}').returncode == 0
    assert program.ends() == 0

    shown = run(*FLOWCHAN, "resume", paused.name, "--json", '{"color": "red"}')

    assert shown.returncode == 1
    assert "'Completed'" in shown.stderr
