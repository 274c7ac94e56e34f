"""The shop's order: it stops for the customer, and for somebody who approves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flowchan.run import FlowRun
from tests.cli.program import Program

Start = Callable[..., Program]
RunIn = Callable[..., FlowRun]
DOWN = "\x1b[B"


def resume(start: Start, name: str, answer: dict[str, Any]) -> Program:
    program = start("flowchan", "resume", name, "--json", json.dumps(answer))
    program.ends()
    return program


def test_two_people_fill_in_forms_and_each_mistake_is_asked_again(start: Start, run_in: RunIn) -> None:
    order = start("shirt_order.py", "marvin")
    order.says("Until marvin chooses a shirt: flowchan resume ")
    name = order.says("\n").strip()
    run_in("PAUSED")

    customer = start("flowchan", "resume", name, terminal=True)
    assert "A shirt for marvin" in customer.says("Size")
    customer.type("\r")
    customer.says("Color")
    customer.type(DOWN + "\r")
    customer.says("goes on.")
    order.says("Green is only in-stock for medium, large, and XL sizes.")
    order.says(f"flowchan resume {name}")
    assert run_in("PAUSED").waiting_for == "paused-2"

    customer = start("flowchan", "resume", name, terminal=True)
    assert "Green is only in-stock" in customer.says("Size")
    customer.type(DOWN + "\r")
    customer.says("Color")
    customer.type(DOWN + "\r")
    order.says("Until somebody approves: ")

    assert resume(start, name, {"by": "marvin"}).ends() == 0
    order.says("Nobody approves an order of their own.")
    order.says("Until somebody approves: ")
    other = start("flowchan", "resume", name, terminal=True)
    shown = other.says("Approved")
    assert "May marvin have this shirt?" in shown
    assert "green" in shown
    other.type("n")
    other.says("By")
    other.type("trillian\r")
    order.says("marvin's medium green shirt: trillian said no.")

    assert order.ends() == 0
    state = run_in("COMPLETED").state
    assert state
    assert state.data is False


def test_a_size_that_there_is_not_leaves_the_order_where_it_was(start: Start, run_in: RunIn) -> None:
    start("shirt_order.py")
    run = run_in("PAUSED")
    refused = resume(start, run.name, {"size": "tiny", "color": "red"})

    assert refused.ends() == 1
    assert "size: " in refused.screen
    assert run_in("PAUSED").state == run.state


def test_an_order_that_is_cancelled_ends(start: Start, run_in: RunIn) -> None:
    order = start("shirt_order.py")
    run = run_in("PAUSED")
    assert start("flowchan", "cancel", run.name).ends() == 0

    assert order.ends() == 1
    assert "cancelled" in order.screen
    run_in("CANCELLED")
