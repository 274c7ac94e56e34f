"""The page on states says what the engine does."""

from __future__ import annotations

import re
from pathlib import Path

from flowchan.states import FINAL_TYPES, FOLLOWS, StateType

PAGE = (Path(__file__).parents[2] / "docs" / "states.md").read_text()
TRANSITIONS = {(before, after) for after, all_before in FOLLOWS.items() for before in all_before}


def states(cell: str) -> list[StateType]:
    return [StateType(name) for name in re.findall(r"`([A-Z]+)`", cell)]


def rows(heading: str) -> list[str]:
    """The first cells of the table with this heading."""
    (table,) = re.findall(rf"^\| {heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [line.split("|")[1] for line in table.splitlines()]


def test_each_state_has_a_line_and_the_last_four_are_final() -> None:
    found = [state for row in rows("state") for state in states(row)]
    assert found == list(StateType)
    assert set(found[-4:]) == FINAL_TYPES


def test_the_table_of_transitions_has_them_all_once() -> None:
    found = []
    for row in rows("transition"):
        before, after = row.split("→")
        found += [(first, second) for first in states(before) for second in states(after)]
    assert sorted(found) == sorted(TRANSITIONS)


def test_the_diagram_shows_each_state_and_only_what_can_happen() -> None:
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", PAGE, re.DOTALL)
    arrows = re.findall(r"^ +(\S+) --> (\w+)(?:: .+)?$", diagram, re.MULTILINE)
    assert len(arrows) == len(diagram.splitlines()) - 1
    assert {state for arrow in arrows for state in arrow} == {"[*]", *(kind.value for kind in StateType)}
    between = [(StateType(before), StateType(after)) for before, after in arrows if before != "[*]"]
    assert set(between) <= TRANSITIONS
    assert len(set(between)) == len(between)
