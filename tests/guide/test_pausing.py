"""The samples that pause: what they ask for, what answers them, and what does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import redis
from pydantic import ValidationError

from flowchan.errors import InvalidRunInput
from flowchan.flow_runs import resume_flow_run
from flowchan.input import keyset_from_paused_state
from flowchan.wire import keys
from tests.cli.program import Program
from tests.guide.conftest import Runs
from tests.guide.samples import calling, names_of

Form = Callable[[Any], tuple[dict[str, Any], str | None]]
Start = Callable[..., Program]

GOOD = {"size": "large", "color": "green"}
BAD = {"size": "small", "color": "green"}
WHY = "Green is only in-stock for medium, large, and XL sizes."


@pytest.fixture
def form(client: redis.Redis, namespace: str) -> Form:
    """What a person sees who is to answer a paused run: the JSON Schema, and the description if there is one."""

    def look(run: Any) -> tuple[dict[str, Any], str | None]:
        keyset = keyset_from_paused_state(run.state)
        stored: Any = client.hmget(keys.inputs(namespace, str(run.id)), keyset["schema"], keyset["description"])
        schema, description = stored
        return json.loads(schema), description and description.decode()

    return look


# --- what is asked for ---------------------------------------------------------------------------------------


def test_a_builtin_type_is_asked_for_in_a_field_named_value(start: Start, runs: Runs, form: Form) -> None:
    greeting = start(calling("001_01_pause_for_a_builtin_type", "greet_user"))
    run = runs.paused("greet-user")
    schema, description = form(run)
    assert list(schema["properties"]) == ["value"]
    assert schema["properties"]["value"]["type"] == "string"
    assert description is None

    resume_flow_run(run.id, {"value": "andrew"})
    greeting.says("Hello, andrew!")
    assert greeting.ends() == 0
    assert runs.state(run).is_completed()


@pytest.mark.parametrize("sample", ["001_02_pause_for_a_base_model", "001_03_pause_for_a_run_input"])
def test_a_model_is_asked_for_field_by_field(sample: str, start: Start, runs: Runs, form: Form) -> None:
    greeting = start(calling(sample, "greet_user"))
    run = runs.paused("greet-user")
    schema, _ = form(run)
    assert {name: field["type"] for name, field in schema["properties"].items()} == {"name": "string", "age": "integer"}
    assert schema["required"] == ["name", "age"]

    with pytest.raises(InvalidRunInput) as caught:
        resume_flow_run(run.id, {"name": "andrew", "age": "old"})
    assert caught.value.field == "age"
    assert runs.state(run).is_paused()

    resume_flow_run(run.id, {"name": "andrew", "age": 42})
    greeting.says("Hello, andrew!")
    assert greeting.ends() == 0
    assert runs.state(run).is_completed()


def test_who_enters_no_name_does_not_resume_the_run(start: Start, runs: Runs) -> None:
    greeting = start(calling("003_2_pause_for_it", "greet_user"))
    run = runs.paused("greet-user")

    with pytest.raises(InvalidRunInput) as caught:
        resume_flow_run(run.id, {})
    assert caught.value.field == "name"
    assert runs.state(run).is_paused()
    assert "Hello" not in greeting.screen

    resume_flow_run(run.id, {"name": "andrew"})
    greeting.says("Hello, andrew!")
    assert greeting.ends() == 0
    assert runs.state(run).is_completed()


def test_an_input_is_a_model() -> None:
    assert names_of("003_1_define_an_input")["UserNameInput"](name="andrew").name == "andrew"


# --- initial data and descriptions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sample, others",
    [
        ("001_04_provide_initial_data", {"age": 42}),
        ("001_05_provide_a_description", {"age": 42}),
        ("003_3_provide_initial_data", {}),
    ],
)
@pytest.mark.parametrize(
    "answer, greeting", [({}, "Hello, stranger!"), ({"name": "marvin"}, "Hello, marvin!")], ids=["default", "other"]
)
def test_a_name_is_anonymous_unless_another_is_entered(
    sample: str, others: dict[str, Any], answer: dict[str, Any], greeting: str, start: Start, runs: Runs, form: Form
) -> None:
    program = start(calling(sample, "greet_user"))
    run = runs.paused("greet-user")
    schema, _ = form(run)
    assert schema["properties"]["name"]["default"] == "anonymous"
    assert schema.get("required", []) == list(others)

    resume_flow_run(run.id, {**others, **answer})
    program.says(greeting)
    assert program.ends() == 0
    assert runs.state(run).is_completed()


def test_the_description_is_shown_with_the_data_of_the_day(start: Start, runs: Runs, form: Form) -> None:
    start(calling("001_05_provide_a_description", "greet_user"))
    _, description = form(runs.paused("greet-user"))

    assert description
    assert description.startswith("\n**Welcome to the User Greeting Flow!**\nToday's Date: ")
    assert re.search(r"Date: \w+ \d\d, \d{4}\n\n", description)
    assert "\n- **Name**: What should we call you?\n" in description


# --- validation of one's own ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # one is written for pydantic 1
@pytest.mark.parametrize("sample", ["001_06_validate_an_order", "003_4_validate_an_order"])
def test_an_order_refuses_what_its_types_allow(sample: str) -> None:
    order_class = names_of(sample)["ShirtOrder"]
    assert order_class(**GOOD).size == "large"
    with pytest.raises(ValidationError, match=re.escape(WHY)):
        order_class(**BAD)


SAMPLES_THAT_FAIL = ["001_07_fail_on_an_invalid_order", "003_5_fail_on_an_invalid_order"]
SAMPLES_THAT_ASK_AGAIN = ["001_08_ask_again_for_an_invalid_order", "003_6_ask_again_for_an_invalid_order"]


@pytest.mark.parametrize("sample", SAMPLES_THAT_FAIL)
def test_a_good_order_resumes_the_run(sample: str, start: Start, runs: Runs) -> None:
    program = start(calling(sample, "get_shirt_order"))
    run = runs.paused("get-shirt-order")
    resume_flow_run(run.id, GOOD)
    assert program.ends() == 0
    assert runs.state(run).is_completed()


@pytest.mark.parametrize("sample", SAMPLES_THAT_FAIL)
def test_a_bad_order_resumes_the_run_and_fails_it_and_the_error_is_logged(
    sample: str, start: Start, runs: Runs
) -> None:
    program = start(calling(sample, "get_shirt_order"))
    run = runs.paused("get-shirt-order")
    # The types are right, and the rest is code of the flow's: whoever resumes is not told.
    resume_flow_run(run.id, BAD)

    assert program.ends() == 1
    assert runs.state(run).is_failed()
    assert re.search(r"\| ERROR +\|", program.screen), program.screen
    assert "ValidationError" in program.screen
    assert WHY in program.screen


@pytest.mark.parametrize("sample", SAMPLES_THAT_FAIL)
def test_a_size_that_there_is_not_does_not_resume_the_run(sample: str, start: Start, runs: Runs) -> None:
    start(calling(sample, "get_shirt_order"))
    run = runs.paused("get-shirt-order")
    with pytest.raises(InvalidRunInput) as caught:
        resume_flow_run(run.id, {**GOOD, "size": "tiny"})
    assert caught.value.field == "size"
    assert runs.state(run).is_paused()


@pytest.mark.parametrize("sample", SAMPLES_THAT_ASK_AGAIN)
def test_a_bad_order_has_the_run_pause_again_until_it_is_a_good_one(sample: str, start: Start, runs: Runs) -> None:
    program = start(calling(sample, "get_shirt_order"))
    asked = []
    for _ in range(2):
        run = runs.paused("get-shirt-order")
        asked.append(run.state.pause_key)
        resume_flow_run(run.id, BAD)
        program.says("Invalid size and color combination:")
        program.says(WHY)
    run = runs.paused("get-shirt-order")
    resume_flow_run(run.id, GOOD)
    program.says("Shirt order: large, green")

    assert program.ends() == 0
    assert runs.state(run).is_completed()
    assert len({*asked, run.state.pause_key}) == 3
