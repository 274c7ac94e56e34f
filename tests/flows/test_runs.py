"""Runs: what a flow is, what its calls know of themselves, and runs that are no flow's."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from flowchan import Channels, flow, open_run, receive_input, send_input
from flowchan.context import FlowRun, get_run_context
from flowchan.errors import InvalidKeyError, MissingRunError

pytestmark = pytest.mark.anyio


@flow
def who() -> FlowRun:
    """Tell who is running."""
    return get_run_context().flow_run


@flow
async def who_async() -> FlowRun:
    return get_run_context().flow_run


# --- the flow --------------------------------------------------------------------------------------------------


def test_a_flow_looks_like_its_function() -> None:
    @flow
    def greet_user(name: str, times: int = 1) -> str:
        """Greet somebody."""
        return f"Hello, {name}!" * times

    assert greet_user.__name__ == "greet_user"
    assert greet_user.__doc__ == greet_user.description == "Greet somebody."
    assert inspect.signature(greet_user) == inspect.signature(greet_user.fn)
    assert greet_user("andrew", times=2) == "Hello, andrew!Hello, andrew!"
    assert greet_user.fn("andrew") == "Hello, andrew!"


def test_a_flow_is_named_after_its_function_with_dashes() -> None:
    @flow
    def greet_user() -> None: ...

    assert greet_user.name == "greet-user"
    assert repr(greet_user) == "<flow 'greet-user'>"


def test_a_flow_may_be_given_a_name_and_a_description() -> None:
    @flow(name="Greeter", description="It greets.")
    def greet_user() -> str:
        """Not this."""
        return get_run_context().flow.name  # type: ignore[union-attr]

    assert (greet_user.name, greet_user.description, greet_user()) == ("Greeter", "It greets.", "Greeter")


async def test_the_kind_of_its_function_decides_the_kind_of_a_flow() -> None:
    class Greeter:
        async def __call__(self) -> UUID | str:
            return get_run_context().flow_run.id

    partial = flow(functools.partial(who_async.fn))
    callable_object = flow(Greeter())

    assert (who.is_async, who_async.is_async) == (False, True)
    assert (partial.is_async, callable_object.is_async, callable_object.name) == (True, True, "Greeter")
    assert isinstance(await callable_object(), UUID)
    assert isinstance((await partial()).id, UUID)


def test_a_framework_that_asks_is_told_that_an_async_flow_is_one() -> None:
    # What inspect says of it from Python 3.12 on, asyncio has said before.
    is_async: Any = inspect.iscoroutinefunction if sys.version_info >= (3, 12) else asyncio.iscoroutinefunction

    assert is_async(who_async)
    assert is_async(Service("Hello").greet_async)
    assert not is_async(who)


@pytest.mark.parametrize("what", [3, "greeter", object()], ids=lambda what: type(what).__name__)
def test_what_is_no_function_can_be_no_flow(what: Any) -> None:
    with pytest.raises(TypeError, match=type(what).__name__):
        flow(what)


def test_a_generator_can_be_no_flow() -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> Any:
        yield 1

    for function in (generator, async_generator):
        with pytest.raises(TypeError, match="generator"):
            flow(function)


def test_arguments_that_do_not_fit_are_a_type_error_and_no_run() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'name'"):
        who(name="andrew")  # type: ignore[call-arg]


def test_a_flow_that_raises_raises_and_its_run_is_over() -> None:
    @flow
    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    with pytest.raises(MissingRunError):
        get_run_context()


async def test_an_async_flow_that_raises_raises_and_its_run_is_over() -> None:
    @flow
    async def fails(run: str) -> None:
        send_input("last words", run)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails("run")
    with pytest.raises(MissingRunError):
        get_run_context()
    assert await receive_input(str, flow_run_id="run", timeout=0).next() == "last words"


# --- methods ---------------------------------------------------------------------------------------------------


class Service:
    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    @flow
    def greet(self, name: str, mark: str = "!") -> str:
        return f"{self.greeting}, {name}{mark}"

    @flow(name="greeter", flow_run_name="of-{name}")
    async def greet_async(self, name: str) -> tuple[str, str, dict[str, Any]]:
        """Greet."""
        context = get_run_context()
        return f"{self.greeting}, {name}!", context.flow_run.name, context.parameters

    @staticmethod
    @flow
    def static(name: str) -> str:
        return name

    @flow
    @staticmethod
    def static_too(name: str) -> str:
        return name

    @classmethod
    @flow
    def of_class(cls, name: str) -> str:
        return f"{cls.__name__} {name}"


def test_a_method_can_be_a_flow() -> None:
    service = Service("Hello")

    assert service.greet("andrew") == "Hello, andrew!"
    assert service.greet("andrew", mark=".") == "Hello, andrew."
    assert Service.greet(service, "andrew") == "Hello, andrew!"
    assert (service.static("a"), service.static_too("a"), Service.static_too("a")) == ("a", "a", "a")
    assert (service.of_class("a"), Service.of_class("a")) == ("Service a", "Service a")


async def test_an_async_method_can_be_a_flow() -> None:
    greeting, run_name, parameters = await Service("Hello").greet_async("andrew")

    assert (greeting, run_name, parameters) == ("Hello, andrew!", "of-andrew", {"name": "andrew"})


def test_a_bound_flow_is_the_flow_of_the_class_but_for_self() -> None:
    bound = Service("Hello").greet_async

    assert (bound.name, bound.description, bound.is_async) == ("greeter", "Greet.", True)
    assert list(inspect.signature(bound).parameters) == ["name"]
    assert Service.greet_async.fn is not bound.fn


# --- the run ---------------------------------------------------------------------------------------------------


def test_each_call_is_a_run_of_its_own_with_a_uuid_that_sorts_by_time() -> None:
    runs = [who() for _ in range(50)]
    ids = [run.id for run in runs]

    assert all(isinstance(run, UUID) and run.version == 7 for run in ids)
    assert ids == sorted(ids, key=str)
    assert len(set(ids)) == 50


def test_a_run_has_a_name_that_a_person_can_remember() -> None:
    run = who()

    assert re.fullmatch(r"[a-z-]+-[a-z-]+", run.name)
    assert run.name is run.name
    assert run.flow_name == "who"
    assert str(run.id) in repr(run)


@pytest.mark.parametrize(
    "template, called, name",
    [
        ("hello-{name}", {"name": "andrew"}, "hello-andrew"),
        ("hello-{name}", {}, "hello-nobody"),
        ("{name:>4}-{times}", {"name": "a"}, "   a-1"),
        (lambda: "computed", {}, "computed"),
    ],
    ids=["a parameter", "its default", "a format", "a function"],
)
def test_a_run_may_be_named_after_its_parameters(
    template: str | Callable[[], str], called: dict[str, str], name: str
) -> None:
    @flow(flow_run_name=template)
    def greet(name: str = "nobody", times: int = 1) -> str:
        return f"{get_run_context().flow_run.name}{'' if name and times else '?'}"

    assert greet(**called) == name


def test_a_run_knows_its_flow_and_its_parameters() -> None:
    @flow
    def add(a: int, b: int = 2, *others: int, c: int = 3) -> Any:
        return get_run_context(), a + b + c + sum(others)

    context, _ = add(1, c=5)

    assert context.flow is add
    assert context.parameters == {"a": 1, "b": 2, "others": (), "c": 5}


def test_outside_any_run_there_is_no_context() -> None:
    with pytest.raises(MissingRunError, match="Must either provide a flow run ID or be within a flow run"):
        get_run_context()


# --- within one another -----------------------------------------------------------------------------------------


async def test_a_flow_in_a_flow_is_a_run_of_its_own_and_then_the_outer_one_goes_on() -> None:
    @flow
    async def outer() -> list[UUID | str]:
        mine = get_run_context().flow_run.id
        return [mine, who().id, (await who_async()).id, get_run_context().flow_run.id]

    first, sync_one, async_one, last = await outer()

    assert first == last
    assert len({first, sync_one, async_one}) == 3


async def test_concurrent_runs_of_one_flow_do_not_mix() -> None:
    @flow
    async def talks_to_itself(word: str) -> str:
        send_input(word, get_run_context().flow_run.id)
        return await receive_input(str, timeout=30).next()

    words = [str(number) for number in range(50)]

    assert await asyncio.gather(*map(talks_to_itself, words)) == words


async def test_tasks_and_threads_of_a_flow_are_within_its_run() -> None:
    @flow
    async def outer() -> set[UUID | str]:
        def current() -> UUID | str:
            return get_run_context().flow_run.id

        async def current_async() -> UUID | str:
            return current()

        task = asyncio.create_task(current_async())
        context = contextvars.copy_context()
        return {current(), await task, await asyncio.to_thread(current), context.run(current)}

    assert len(await outer()) == 1


def test_a_bare_thread_is_in_no_run() -> None:
    found: list[bool] = []

    @flow
    def outer() -> None:
        def look() -> None:
            with pytest.raises(MissingRunError):
                get_run_context()
            found.append(True)

        context = contextvars.Context()
        thread = threading.Thread(target=context.run, args=[look])
        thread.start()
        thread.join()

    outer()
    assert found == [True]


# --- runs that are no flow's -------------------------------------------------------------------------------------


def test_code_that_is_no_flow_can_be_given_a_run() -> None:
    with open_run() as run:
        assert get_run_context().flow_run is run
        assert isinstance(run.id, UUID)
        assert run.id.version == 7
        assert run.flow_name is None
    with pytest.raises(MissingRunError):
        get_run_context()


@pytest.mark.parametrize("given", ["order-4711", "a", "workflow_7.step-3", "A" * 128])
def test_a_run_may_have_the_id_that_another_orchestrator_gave_it(given: str) -> None:
    with open_run(given, name="the order") as run:
        assert (run.id, run.name) == (given, "the order")


def test_a_uuid_and_its_string_are_the_same_run() -> None:
    given = uuid4()
    with open_run(str(given)) as run:
        assert run.id == given
        send_input("x", given)
        assert next(receive_input(str, timeout=30)) == "x"


@pytest.mark.parametrize("given", ["", "a b", "a:b", "{a}", "a" * 129, 3])
def test_what_can_be_no_run_is_refused(given: Any) -> None:
    with pytest.raises(InvalidKeyError, match="flow run ID"):
        open_run(given)


def test_runs_nest_and_an_error_ends_one_like_any_other_end() -> None:
    with open_run("outer"):
        with pytest.raises(ZeroDivisionError), open_run("inner") as inner:  # noqa: PT012 - the order counts
            assert get_run_context().flow_run is inner
            raise ZeroDivisionError
        assert get_run_context().flow_run.id == "outer"


async def test_what_is_sent_within_it_names_it_and_can_be_answered() -> None:
    async with open_run("asker"):
        await send_input("question", "oracle")
    question = await receive_input(str, flow_run_id="oracle", with_metadata=True).next()
    await question.respond("42")

    async with open_run("asker"):
        assert await receive_input(str).next() == "42"


async def test_a_run_keeps_to_the_settings_that_it_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_run("run"):
        monkeypatch.setenv("FLOWCHAN_NAMESPACE", "another")
        await send_input("x", "run")
        assert await receive_input(str, timeout=30).next() == "x"


async def test_within_a_run_of_an_explicit_client_the_modules_functions_use_it() -> None:
    mine = Channels(namespace="mine")
    async with mine.open_run("run"):
        await send_input("x", "run")
        assert await receive_input(str, timeout=30).next() == "x"

    assert await mine.receive_input(str, flow_run_id="run").next() == "x"
    with pytest.raises(TimeoutError):
        await receive_input(str, flow_run_id="run", timeout=0).next()
