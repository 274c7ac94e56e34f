"""What can be said of a flow: its names, its version, and copies of it that say something else."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import pytest

from flowchan import flow, get_client
from flowchan.context import get_run_context, tags
from flowchan.flows import Flow
from flowchan.states import State


@flow(name="Greeter", description="It greets.", version="7", retries=2, timeout_seconds=30, log_prints=True)
def greet(name: str = "nobody") -> str:
    """Not this."""
    return f"Hello, {name}! I am {get_run_context().flow_run.name}."


def run_of(state: State) -> Any:
    """The run of which a flow's result is the ID."""
    client: Any = get_client()
    return client.read_flow_run(state.result())


# --- names ---------------------------------------------------------------------------------------------------


def test_a_run_is_known_by_the_name_that_its_template_gives_it() -> None:
    @flow(flow_run_name="of-{name}")
    def named(name: str) -> Any:
        del name
        return str(get_run_context().flow_run.id)

    assert run_of(named("andrew", return_state=True)).name == "of-andrew"  # type: ignore[call-arg]


def test_a_template_may_look_into_its_parameters() -> None:
    @flow(flow_run_name="{path.name}-{numbers[0]}")
    def named(path: Path, numbers: list[int]) -> str:
        del path, numbers
        return get_run_context().flow_run.name

    assert named(Path("/a/b"), [4, 2]) == "b-4"


def test_a_template_over_a_parameter_that_there_is_not_makes_no_run() -> None:
    @flow(flow_run_name="of-{nobody}")
    def named() -> None: ...

    with pytest.raises(KeyError, match="nobody"):
        named()
    client: Any = get_client()
    assert client.read_flow_runs() == []


def test_a_function_may_name_each_run_anew() -> None:
    numbers = iter(range(10))

    @flow(flow_run_name=lambda: f"run-{next(numbers)}")
    def named() -> str:
        return get_run_context().flow_run.name

    assert [named(), named()] == ["run-0", "run-1"]


def test_a_run_bears_the_tags_of_the_blocks_that_it_begins_in() -> None:
    @flow
    def tagged() -> str:
        return str(get_run_context().flow_run.id)

    with tags("db"), tags("blue", "db"):
        state: Any = tagged(return_state=True)  # type: ignore[call-arg]
    bare: Any = tagged(return_state=True)  # type: ignore[call-arg]

    assert run_of(state).tags == ("blue", "db")
    assert run_of(bare).tags == ()


@pytest.mark.parametrize("name", [3, None, ["a"]])
def test_a_tag_is_a_string(name: Any) -> None:
    with pytest.raises(TypeError, match="A tag is a string"), tags(name):
        pass


# --- the version ---------------------------------------------------------------------------------------------


def test_a_version_is_a_hash_of_the_file_unless_it_is_given() -> None:
    @flow
    def versionless() -> None: ...

    assert greet.version == "7"
    assert versionless.version == hashlib.md5(Path(__file__).read_bytes()).hexdigest()


def test_a_function_of_no_file_has_no_version() -> None:
    assert flow(eval("lambda: 1")).version is None
    assert flow(functools.partial(int, 3)).version is None


# --- copies --------------------------------------------------------------------------------------------------


def test_a_copy_with_options_differs_in_what_is_named() -> None:
    copy = greet.with_options(name="Other", retries=0)

    assert (copy.name, copy.retries) == ("Other", 0)
    assert (greet.name, greet.retries) == ("Greeter", 2)
    same = ("fn", "description", "version", "timeout_seconds", "log_prints", "should_validate_parameters", "is_async")
    for what in same:
        assert getattr(copy, what) == getattr(greet, what)


def test_a_copy_can_be_called_without_a_name_in_between() -> None:
    assert greet.with_options(flow_run_name="of-{name}")("andrew") == "Hello, andrew! I am of-andrew."


def test_a_copy_has_its_own_lists_of_hooks() -> None:
    def hook(*_: Any) -> None: ...

    first = flow(on_completion=[hook])(greet.fn)
    second = first.with_options()
    second.on_completion.append(hook)

    assert (len(first.on_completion), len(second.on_completion)) == (1, 2)


def test_a_copy_is_of_the_flows_own_class() -> None:
    class Special(Flow[..., Any]): ...

    assert type(Special(greet.fn).with_options(name="x")) is Special


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="cron"):
        greet.with_options(cron="* * * * *")  # type: ignore[call-arg]


# --- what cannot be used -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, error",
    [
        ({"retries": -1}, ValueError),
        ({"timeout_seconds": 0}, ValueError),
        ({"timeout_seconds": -1}, ValueError),
        ({"timeout_seconds": "1"}, TypeError),
        ({"timeout_seconds": True}, TypeError),
        ({"timeout_seconds": float("nan")}, TypeError),
        ({"retry_delay_seconds": -1}, ValueError),
        ({"retry_delay_seconds": "soon"}, TypeError),
        ({"on_failure": print}, TypeError),
        ({"on_failure": ["print"]}, TypeError),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_by_name(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        flow(**options)(greet.fn)
