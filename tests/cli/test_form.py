"""Forms: which questions a schema makes, what an answer stands for, and answers that come through a pipe."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from flowchan.cli.form.fields import MISSING, Fixed, Group, Kind, Question, Series, form_of
from flowchan.cli.form.reading import Unreadable, cleared, read, shown
from flowchan.cli.form.schema import faults
from flowchan.errors import FlowchanError
from tests.cli.order import Everything, Node, Order, asking, schema_of
from tests.cli.program import Program, run


def fields_of(schema: dict[str, Any]) -> dict[str, Any]:
    form = form_of(schema)
    assert isinstance(form, Group)
    return {str(field.path[-1]): field for field in form.fields}


def question(annotation: Any, default: Any = ...) -> Question:
    asked = fields_of(schema_of(it=(annotation, default)))["it"]
    assert isinstance(asked, Question)
    return asked


def answered(schema: dict[str, Any], *lines: str, arguments: str = "None") -> subprocess.CompletedProcess[str]:
    return run(*asking(schema, arguments), given="".join(f"{line}\n" for line in lines))


# Which questions there are


def test_each_kind_of_field_is_asked_in_its_own_way() -> None:
    kinds = {
        name: getattr(field, "kind", type(field)) for name, field in fields_of(Everything.model_json_schema()).items()
    }

    assert kinds == {
        "kind": Fixed,
        "when": Kind.DATETIME,
        "at": Kind.TIME,
        "takes": Kind.DURATION,
        "id": Kind.UUID,
        "word": Kind.PASSWORD,
        "price": Kind.UNION,
        "either": Kind.UNION,
        "sizes": Kind.LIST,
        "numbers": Kind.LIST,
        "pair": Kind.JSON,
        "lists": Kind.JSON,
        "maybe": Kind.BOOLEAN,
        "anything": Kind.JSON,
    }


def test_a_field_says_what_it_is_and_what_it_need_not_be() -> None:
    fields = fields_of(Order.model_json_schema())

    assert (fields["name"].title, fields["name"].description) == ("Name", "Who it is for.")
    assert (fields["ship_to"].title, fields["ship_to"].required) == ("Ship to", True)
    assert (fields["size"].choices, fields["size"].default) == (("small", "large"), "small")
    assert (fields["colour"].choices, fields["colour"].nullable) == (("red", "black"), True)
    assert (fields["amount"].required, fields["amount"].default) == (True, MISSING)
    assert (type(fields["bill_to"]), fields["bill_to"].nullable) == (Group, True)
    assert [field.name for field in fields["lines"].at(1).fields] == ["lines[1].article", "lines[1].price"]


def test_a_schema_that_leads_in_a_circle_is_asked_as_json_where_it_begins_again() -> None:
    fields = fields_of(Node.model_json_schema())

    assert isinstance(fields["name"], Question)
    children = fields["children"]
    assert (children.kind if isinstance(children, Question) else type(children)) == Kind.JSON


def test_a_list_in_a_list_of_objects_knows_its_place() -> None:
    inner = {"type": "object", "properties": {"x": {"type": "integer"}}}
    outer = {"type": "object", "properties": {"inner": {"type": "array", "items": inner}}}
    series = fields_of({"type": "object", "properties": {"outer": {"type": "array", "items": outer}}})["outer"]

    (within,) = series.at(2).fields
    assert isinstance(within, Series)
    assert within.at(3).fields[0].name == "outer[2].inner[3].x"


def test_what_others_wrote_does_not_reach_the_terminal() -> None:
    asked = form_of({"title": "\x1b[2JHi\x07", "description": "a\u202eb\x9b1m", "type": "string"})

    assert (asked.title, asked.description) == ("[2JHi", "ab1m")


# What an answer stands for


@pytest.mark.parametrize(
    "annotation,text,value",
    [
        (str, " a b ", "a b"),
        (str, '""', ""),
        (int, "12", 12),
        (float, "1.5", 1.5),
        (float, "2", 2),
        (bool, "Yes", True),
        (bool, "n", False),
        (Literal["red", "Black"], "black", "Black"),
        (Literal[1, 2], "2", 2),
        (list[str], 'a, "b, c" ,d', ["a", "b, c", "d"]),
        (list[str], '["a", "b"]', ["a", "b"]),
        (list[int], "1,2, 3,", [1, 2, 3]),
        (int | str, "12", 12),
        (int | str, "12a", "12a"),
        (float | str, "1.10", "1.10"),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (str | None, "x", "x"),
    ],
)
def test_an_answer_is_read_as_what_is_asked_for(annotation: Any, text: str, value: Any) -> None:
    read_as = read(question(annotation), text)

    assert (read_as, type(read_as)) == (value, type(value))


@pytest.mark.parametrize(
    "name,text,value",
    [
        ("when", "2026-01-31 14:30", "2026-01-31T14:30:00"),
        ("at", "14:30", "14:30:00"),
        ("takes", "1:30:00", "PT1H30M"),
        ("takes", "P2DT4H", "P2DT4H"),
        ("id", "{019A0000-0000-7000-8000-000000000000}", "019a0000-0000-7000-8000-000000000000"),
        ("word", " pass word ", " pass word "),
        ("sizes", "small, LARGE", ["small", "large"]),
    ],
)
def test_an_answer_becomes_what_json_has_for_it(name: str, text: str, value: Any) -> None:
    assert read(fields_of(Everything.model_json_schema())[name], text) == value


@pytest.mark.parametrize(
    "annotation,text,reason",
    [
        (int, "1.5", "“1.5” is no whole number."),
        (int, "9" * 5000, "is no whole number."),
        (float, "nan", "“nan” is no number."),
        (float, "1,5", "“1,5” is no number."),
        (bool, "perhaps", "“perhaps” is neither yes nor no."),
        (Literal["red", "black"], "green", "“green” is none of red, black."),
        (list[int], "1, x", "2: “x” is no whole number."),
        (list[str], 'a, "b', "Its quotation marks do not match"),
        (dict[str, int], "{a}", "It is no JSON: "),
        (dict[str, int], '{"a": "b"}', 'a: "b" is not of type "integer".'),
        (dict[str, float], '{"a": NaN}', "NaN is no number"),
        (dict[str, Any], "[" * 100_000, "It is "),
        (str, "", 'An answer is needed ("" for an empty text).'),
        (int, " ", "An answer is needed."),
    ],
)
def test_what_is_no_answer_is_told_with_the_reason(annotation: Any, text: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=re.escape(reason)):
        read(question(annotation), text)


@pytest.mark.parametrize(
    "name,text",
    [
        ("when", "tomorrow"),
        ("when", "2026-02-30"),
        ("at", "25:00"),
        ("takes", "long"),
        ("id", "1"),
        ("sizes", "small, small"),
    ],
)
def test_what_is_no_time_or_the_like_is_told(name: str, text: str) -> None:
    with pytest.raises(Unreadable):
        read(fields_of(Everything.model_json_schema())[name], text)


def test_limits_are_told_in_their_own_words() -> None:
    fields = fields_of(Order.model_json_schema())

    with pytest.raises(Unreadable, match="11 is greater than the maximum of 10"):
        read(fields["amount"], "11")


def test_a_password_that_does_not_fit_is_not_repeated() -> None:
    asked = fields_of(
        {"properties": {"it": {"type": "string", "format": "password", "minLength": 9}}, "type": "object"}
    )

    with pytest.raises(Unreadable) as caught:
        read(asked["it"], "geheim")
    assert "geheim" not in str(caught.value)


def test_no_answer_is_nothing_or_the_default_or_leaves_the_field_out() -> None:
    assert read(question(int | None), "") is None
    assert read(question(int, Field(default_factory=int)), "") is MISSING
    assert read(question(int, 3), "", offered=3) == 3


def test_an_answer_that_was_deleted_is_nothing_rather_than_the_default() -> None:
    assert cleared(question(str | None, "x")) is None
    assert cleared(question(str, "x")) == ""
    assert cleared(question(list[str], ["x"])) == []
    assert cleared(question(int, 3)) == 3


_words = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(","), min_size=1)


@pytest.mark.parametrize(
    "annotation,values",
    [
        (str, _words),
        (int, st.integers()),
        (float, st.floats(allow_nan=False, allow_infinity=False)),
        (bool, st.booleans()),
        (list[str], st.lists(_words)),
        (list[int], st.lists(st.integers())),
        (list[bool], st.lists(st.booleans())),
        (dict[str, Any], st.dictionaries(st.text(), st.integers() | st.none() | st.text())),
    ],
)
def test_what_is_shown_is_read_back(annotation: Any, values: st.SearchStrategy[Any]) -> None:
    asked = question(annotation)

    @given(values)
    def there_and_back(value: Any) -> None:
        if value == '""':
            return  # what is typed for an empty text
        assert read(asked, shown(asked, value)) == value

    there_and_back()


# What fits


def test_nothing_is_fetched_to_check_a_value() -> None:
    with pytest.raises(FlowchanError, match="cannot be used"):
        faults({"$ref": "http://localhost:1/schema"}, 1)


def test_a_schema_that_is_none_is_told() -> None:
    with pytest.raises(FlowchanError, match="cannot be used"):
        faults({"type": "nonsense"}, 1)


# Through a pipe


def test_each_line_is_an_answer() -> None:
    ended = answered(
        Order.model_json_schema(),
        *("Zaphod", "LARGE", "black", "3", "y", "2026-01-31", 'a, "b, c"'),
        *("Main Street", "42"),
        *("y", "Side Street", ""),
        *("y", "shirt", "1.5", "y", "sock", "2", "n"),
        '{"x": 1}',
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == {
        "name": "Zaphod",
        "size": "large",
        "colour": "black",
        "amount": 3,
        "express": True,
        "day": "2026-01-31",
        "tags": ["a", "b, c"],
        "ship_to": {"street": "Main Street", "number": 42},
        "bill_to": {"street": "Side Street", "number": 1},
        "lines": [{"article": "shirt", "price": 1.5}, {"article": "sock", "price": 2}],
        "extra": {"x": 1},
    }


def test_an_empty_line_is_the_default_or_nothing() -> None:
    ended = answered(Order.model_json_schema(), "", "", "", "3", "", "2026-01-31", "", "Main Street", "", "", "", "")

    values = json.loads(ended.stdout)
    assert Order.model_validate(values) == Order(amount=3, day="2026-01-31", ship_to={"street": "Main Street"})
    assert (values["name"], values["colour"], values["bill_to"]) == ("Marvin", None, None)


def test_what_is_no_answer_is_told_and_the_next_line_is_taken() -> None:
    ended = answered(schema_of(amount=(int, ...)), "many", "", "3")

    assert json.loads(ended.stdout) == {"amount": 3}
    assert ended.stderr == "amount: “many” is no whole number.\namount: An answer is needed.\n"


def test_values_of_an_earlier_try_stand_for_empty_lines_and_its_problem_is_told() -> None:
    known = "None, known={'amount': 3, 'name': 'Ford'}, problem='Three is too many.'"
    ended = answered(schema_of(amount=(int, 1), name=(str, ...)), "2", "", arguments=known)

    assert json.loads(ended.stdout) == {"amount": 2, "name": "Ford"}
    assert ended.stderr == "Three is too many.\n"


def test_what_only_the_whole_shows_is_asked_again() -> None:
    schema = schema_of(a=(int | None, None), b=(int | None, None)) | {
        "if": {"properties": {"a": {"const": 1}}},
        "then": {"properties": {"b": {"const": 2}}},
    }
    ended = answered(schema, "1", "", "", "2")

    assert json.loads(ended.stdout) == {"a": 1, "b": 2}
    assert "b: " in ended.stderr


def test_the_end_of_the_answers_is_told_with_what_to_do_instead() -> None:
    ended = answered(Order.model_json_schema(), "Zaphod")

    assert (ended.stdout, ended.returncode) == ("", 1)
    assert re.fullmatch(r"Standard input ended where “size” was to be answered\. .*--json\.\n", ended.stderr)


def test_nothing_is_asked_where_there_is_nothing_to_ask() -> None:
    assert json.loads(answered(schema_of()).stdout) == {}
    assert json.loads(answered(schema_of(only=(Literal["a"], ...))).stdout) == {"only": "a"}


def test_an_object_without_named_fields_is_one_line_of_json() -> None:
    assert json.loads(answered({"type": "object"}, '{"a": 1}').stdout) == {"a": 1}


def test_what_is_no_object_cannot_be_filled_in() -> None:
    ended = answered({"type": "integer"}, "1")

    assert (ended.returncode, "--json" in ended.stderr) == (1, True)


def test_no_escape_codes_go_into_a_pipe(start: Callable[..., Program]) -> None:
    program = start(*asking(Order.model_json_schema(), "'# *Hi*', problem='No.'"))
    program.type("many\n" * 3)
    program.hang_up()
    program.says("--json.\n")

    assert program.ends() == 1
    assert b"\x1b" not in program._seen
