"""Forms as a person sees them, at a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import Field, SecretStr

from tests.cli.order import Order, Size, asking, schema_of
from tests.cli.program import Program

DOWN = "\x1b[B"
DELETE_LINE = "\x15"


@pytest.fixture
def ask(start: Callable[..., Program]) -> Callable[..., Program]:
    """Starts a program that has a form filled in at a terminal."""

    def ask(schema: dict[str, Any], *arguments: str) -> Program:
        return start(*asking(schema, *arguments), terminal=True)

    return ask


def result(program: Program) -> Any:
    """What the program printed in the end: the values."""
    assert program.ends() == 0, program.screen
    # Behind the last prompt, on a line of its own.
    return json.loads(re.findall(r"\{.*\}", program.screen)[-1])


def test_a_form_is_filled_in_field_by_field(ask: Callable[..., Program]) -> None:
    program = ask(Order.model_json_schema(), "'# A shirt\\n\\nFor **you**.'")
    assert "A shirt" in program.says("For you.")
    program.says("Who it is for.")
    program.says("Name Marvin")
    program.type("!\r")
    program.says("large")
    program.type(DOWN + "\r")
    program.says("(nothing)")
    program.type("\r")
    program.says("(whole number, 1 to 10)")
    program.type("3\r")
    program.says("(y/N)")
    program.type("y")
    program.says("(date, as 2026-01-31)")
    program.type("2026-01-31\r")
    program.says("(list, separated by commas, may be empty)")
    program.type("a, b\r")
    program.says("Ship to")
    program.says("Street")
    program.type("Main Street\r")
    program.says("Number")
    program.type("\r")
    program.says("Fill in bill to?")
    program.type("\r")
    program.says("Add one?")
    program.type("y")
    program.says("Lines 1")
    program.says("Article")
    program.type("shirt\r")
    program.says("Price")
    program.type("1.5\r")
    program.says("Add another one?")
    program.type("n")
    program.says("Extra")
    program.type("\r")

    assert result(program) == {
        "name": "Marvin!",
        "size": "large",
        "colour": None,
        "amount": 3,
        "express": True,
        "day": "2026-01-31",
        "tags": ["a", "b"],
        "ship_to": {"street": "Main Street", "number": 1},
        "bill_to": None,
        "lines": [{"article": "shirt", "price": 1.5}],
        "extra": {},
    }


def test_what_does_not_fit_is_asked_again_with_the_field_and_the_reason(ask: Callable[..., Program]) -> None:
    program = ask(schema_of(amount=(int, Field(le=10))))
    program.says("at most 10)")
    program.type("12\r")
    program.says("✗ Amount: 12 is greater than the maximum of 10.\n")
    program.says("Amount")
    program.says("12")
    program.type("\x7f0\r")

    assert result(program) == {"amount": 10}


def test_a_default_can_be_taken_changed_or_deleted(ask: Callable[..., Program]) -> None:
    text = (str | None, "abc")
    program = ask(schema_of(taken=text, changed=text, deleted=text))
    program.says("Taken")
    program.says("abc")
    program.type("\r")
    program.says("Changed")
    program.says("abc")
    program.type("d\r")
    program.says("Deleted")
    program.says("abc")
    program.type(DELETE_LINE + "\r")

    assert result(program) == {"taken": "abc", "changed": "abcd", "deleted": None}


def test_the_values_of_an_earlier_try_are_offered_below_why_it_was_rejected(ask: Callable[..., Program]) -> None:
    schema = schema_of(amount=(int, 1), size=(Size, Size.SMALL), sure=(bool, False))
    program = ask(schema, "None, known={'amount': 3, 'size': 'large', 'sure': True}, problem='That is too many.'")
    program.says("✗ That is too many.\n")
    program.says("3")
    program.type("\x7f2\r")
    program.says("› large")  # noqa: RUF001
    program.type("\r")
    program.says("(Y/n)")
    program.type("\r")

    assert result(program) == {"amount": 2, "size": "large", "sure": True}


def test_what_may_be_left_out_can_be_left_out(ask: Callable[..., Program]) -> None:
    program = ask(schema_of(a=(int, Field(default_factory=int)), b=(bool | None, True)))
    program.says("(whole number, may be empty)")
    program.type("\r")
    program.says("(nothing)")
    program.type(DOWN + DOWN + "\r")

    assert result(program) == {"b": None}


def test_a_password_is_not_shown(ask: Callable[..., Program]) -> None:
    program = ask(schema_of(word=(SecretStr, ...)))
    program.says("(hidden)")
    program.type("geheim\r")

    assert result(program) == {"word": "geheim"}
    assert program.screen.count("geheim") == 1


@pytest.mark.parametrize("key", ["\x03", "\x04"])
@pytest.mark.parametrize("annotation,prompt", [(str, "It"), (Size, "large"), (bool, "(y/N)")])
def test_ctrl_c_and_ctrl_d_end_it(ask: Callable[..., Program], key: str, annotation: Any, prompt: str) -> None:
    program = ask(schema_of(it=(annotation, ...)))
    program.says(prompt)
    program.type(key)

    assert program.ends() == 130
    assert "Traceback" not in program.screen


def test_no_colours_where_none_are_wanted(ask: Callable[..., Program], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    program = ask(schema_of(it=(int, ...)), "'*Hi*', problem='No.'")
    program.says("It")
    program.type("1\r")

    assert result(program) == {"it": 1}
    assert not re.findall(rb"\x1b\[[0-9;]*3[1-7]m", program._seen)


def test_a_terminal_that_can_only_print_is_asked_in_plain_lines(start: Callable[..., Program]) -> None:
    option, program_text = asking(schema_of(size=(Size, Size.LARGE), name=(str, ...)), "'About it.'")
    program = start(option, f"import os; os.environ['TERM'] = 'dumb'\n{program_text}", terminal=True)
    program.says("About it.\n")
    program.says("One of small, large.\n")
    program.says("Size [large]: ")
    program.type("\n")
    program.says("Name: ")
    program.type("Ford\n")

    assert result(program) == {"size": "large", "name": "Ford"}
    assert b"\x1b" not in program._seen
